"""Every shipped YAML runs, and none escapes this test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ner_module.__main__ import main

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = ("bert_cased", "binary", "distilbert_conll2003", "few_shot", "quickstart", "small")
OVERLAYS = ("bf16", "cpu", "csv", "ddp", "debug", "early_stopping", "ema", "mlflow", "tensorboard", "wandb")


def test_none_is_missing_here() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(RECIPES)
    assert sorted(path.stem for path in CONFIGS.glob("overlays/*.yaml")) == sorted(OVERLAYS)
    assert {path.suffix for path in CONFIGS.rglob("*") if path.is_file()} == {".yaml"}


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_each_opens_with_its_launch_command(path: Path) -> None:
    first, *rest = path.read_text().splitlines()
    assert first.startswith("# python -m ner_module fit --config configs/")
    assert str(path.relative_to(CONFIGS)) in first
    if path.parent.name == "overlays":
        assert len(rest) < 15


def _no_hub(corpus: Path, model: Path, config: dict[str, object]) -> list[str]:
    """Options that put a tiny model and small files in the place of what a recipe would download."""
    files = ["--data.dataset_name", "null"]
    for split in ("train", "validation", "test"):
        source = corpus / f"{split}.conll"
        if config.get("data", {}).get("source_scheme") == "flat":  # type: ignore[attr-defined]
            source = corpus / f"{split}.flat"
            text = (corpus / f"{split}.conll").read_text()
            source.write_text(
                "\n".join(line.replace(" B-", " ").replace(" I-", " ") for line in text.splitlines()) + "\n"
            )
        files += [f"--data.{split}_file", str(source)]
    return ["--model.model_name_or_path", str(model), *files]


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_runs(
    name: str, corpus: Path, tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = CONFIGS / f"{name}.yaml"
    options = _no_hub(corpus, tiny_model(), yaml.safe_load(path.read_text()))
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(path), *options, "--trainer.fast_dev_run", "true"]) == 0
    assert not (tmp_path / "runs").exists(), "a fast_dev_run leaves nothing behind"


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name != "ddp"])
def test_overlay_runs(
    name: str,
    corpus: Path,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name == "mlflow":  # no dependency of this project
        pytest.importorskip("mlflow")
    path = CONFIGS / "quickstart.yaml"
    options = _no_hub(corpus, tiny_model(), {})
    monkeypatch.chdir(tmp_path)
    overlay = CONFIGS / "overlays" / f"{name}.yaml"
    common = [*options, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run_dir", "run"]
    assert main(["fit", "--config", str(path), "--config", str(overlay), *common]) == 0
    assert len(json.loads((tmp_path / "run" / "results.json").read_text())["epochs"]) == 1
    trainer = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]
    asked = yaml.safe_load(overlay.read_text())["trainer"]
    for key, value in asked.items():
        if key not in ("callbacks+", "logger", "max_epochs", "limit_train_batches"):
            assert trainer[key] == value
    if name == "early_stopping":
        assert trainer["callbacks"][0]["class_path"].endswith("EarlyStopping")
    if name == "csv":
        assert (tmp_path / "run" / "csv" / "hparams.yaml").is_file()
    if name == "mlflow":
        assert {path.name for path in (tmp_path / "run" / "mlruns").rglob("val/*")} > {"f1", "f1.PER", "f1_macro"}
    if name == "wandb":
        assert list((tmp_path / "run" / "wandb").glob("offline-run-*")), "W&B writes into the run directory"
        assert not (tmp_path / "wandb").exists()


@pytest.mark.ddp
def test_ddp_overlay_runs(
    corpus: Path, tiny_model: Callable[..., Path], tmp_path: Path, program: Callable[..., Any]
) -> None:
    """Two processes train; one evaluation batch leaves the second without any; the scores are those of one process."""
    options = _no_hub(corpus, tiny_model(), {})
    configs = ["--config", CONFIGS / "quickstart.yaml", "--config", CONFIGS / "overlays" / "ddp.yaml"]
    devices = ["--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    done = program("fit", *configs, *options, *devices, "--model.learning_rate", "3e-3", "--run_dir", "run")
    assert "Seed set" not in done.stderr, "nothing of the libraries that says nothing"
    assert "deprecated" not in done.stderr
    assert len(json.loads((tmp_path / "run" / "results.json").read_text())["epochs"]) == 4
    scores, files = [], []
    for count, batch in ((2, 32), (2, 4), (1, 32)):
        found = ["--trainer.devices", count, "--data.eval_batch_size", batch]
        program("test", "--run_dir", "run", "--ckpt_path", "best", *found)
        scores.append(json.loads((tmp_path / "run" / "results.json").read_text())["test"])
        files.append((tmp_path / "run" / "predictions" / "test.jsonl").read_text())
    assert files[0] == files[1] == files[2]
    for key in scores[0]:
        assert scores[0][key] == pytest.approx(scores[2][key], abs=2e-6), key
        assert scores[1][key] == pytest.approx(scores[2][key], abs=2e-6), key
