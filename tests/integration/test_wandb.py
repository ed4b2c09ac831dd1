"""Weights & Biases, offline: configuration, metrics and the per-type table, in the run directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from run_files import RUN_FILES, files_in, results, write_config

pytestmark = pytest.mark.slow  # its service takes seconds to start

RunMain = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_run_of_another_test() -> Iterator[None]:
    """A process of its own ends its run when it exits; here that is done by hand."""
    wandb.finish()
    yield
    wandb.finish()


def test_everything_is_logged_into_the_run_directory(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "ner"}}
    config = write_config(tmp_path / "logger.yaml", {"trainer": {"logger": logger}})
    for name in ("run", "again"):  # a second run does not die on the first one's files
        run_main("fit", "--config", config, *fit_options, "--run_dir", name)
        files = files_in(tmp_path / name)
        wandb.finish()
        assert files >= RUN_FILES
        assert all(file in RUN_FILES or file.startswith("wandb/") for file in files)
    assert not (tmp_path / "wandb").exists()
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (history,) = folder.glob("*.wandb")
    logged = history.read_bytes()
    for text in ("train/loss", "val/f1", "val/f1/PER", "val/loss", '"learning_rate":0.003', '"train_file":', "lr"):
        assert text.encode() in logged
    (table,) = folder.rglob("*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    rows = {row[0]: dict(zip(content["columns"], row, strict=True)) for row in content["data"]}
    best = max(results(tmp_path / "run")["epochs"], key=lambda row: row["val/f1"])
    for name in ("LOC", "MISC", "ORG", "PER"):
        assert rows[name]["F1"] == pytest.approx(best[f"val/f1/{name}"], abs=1e-4)
        assert rows[name]["Support"] == best[f"val/support/{name}"]


def test_evaluation_and_prediction_start_no_logger(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "ner"}}
    config = write_config(tmp_path / "logger.yaml", {"trainer": {"logger": logger}})
    run_main("fit", "--config", config, *fit_options, "--trainer.max_epochs", 1, "--run_dir", "run")
    before = {file for file in files_in(tmp_path) if "wandb" in file}
    run_main("test", "--run_dir", "run", "--ckpt_path", "best")
    run_main("predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "-", stdin=b"Anna\n")
    assert {file for file in files_in(tmp_path) if "wandb" in file} == before
