"""The same command on 1, 2 and 3 processes: the same scores, the same predictions files, the same losses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

Program = Callable[..., None]


@pytest.fixture
def on_processes(tmp_path: Path, cache: Path) -> Program:
    """``on_processes(2, "test", …)`` runs a command under torchrun, as a user would."""

    def run(count: int, *arguments: object) -> None:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
        done = subprocess.run(
            [sys.executable, *launcher, "-m", "ner_module", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")

    return run


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_evaluation_is_identical(on_processes: Program, trained_run: Path, tmp_path: Path) -> None:
    """Bytes of predictions and digits of scores; 100 sentences in batches of 7 are 15 batches, dealt out unevenly."""
    found = {}
    for count in (1, 2, 3):
        run = Path(shutil.copytree(trained_run, tmp_path / f"run-{count}"))
        on_processes(count, "test", "--run_dir", run, "--ckpt_path", "best", "--data.eval_batch_size", 7)
        found[count] = (
            json.loads((run / "results.json").read_text())["test"],
            (run / "predictions" / "test.jsonl").read_bytes(),
        )
    sentences = found[1][1].count(b"\n")
    assert sentences > 60
    assert sentences % 2 == 0
    for count in (2, 3):
        assert found[count][1] == found[1][1]
        scores = [dict(found[number][0]) for number in (1, count)]
        losses = [score.pop("test/loss") for score in scores]
        assert scores[0] == scores[1]
        assert losses[1] == pytest.approx(losses[0], abs=2e-6), "a mean: summed in another order"


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["plain", "crf", "distillation"])
def test_training_has_the_same_losses(
    kind: str, on_processes: Program, fit_options: list[str], trained_run: Path, corpus: Path, tmp_path: Path
) -> None:
    """12 sentences a step whatever the number of processes; without dropout only the order of sums differs."""
    losses, more = {}, ["--model.crf", "true"] if kind == "crf" else []
    if kind == "distillation":
        placeless = re.sub("(?m) .-LOC$", " O", (corpus / "train.conll").read_text(encoding="utf-8"))
        (tmp_path / "placeless.conll").write_text(placeless, encoding="utf-8")
        more = ["--model.distillation", "true", "--model.model_name_or_path", str(trained_run), "--data.train_file"]
        more += ["placeless.conll", "--data.annotated_types", '{"placeless.conll": ["MISC", "ORG", "PER"]}']
    for count in (1, 2, 3):
        options = ["--data.batch_size", 12 // count, "--model.dropout", 0, "--trainer.max_epochs", 2]
        options += ["--trainer.val_check_interval", 1, "--trainer.check_val_every_n_epoch", "null"]
        on_processes(count, "fit", *fit_options, *options, *more, "--run_dir", f"run-{count}")
        epochs = json.loads((tmp_path / f"run-{count}" / "results.json").read_text())["epochs"]
        losses[count] = [(row["step"], row["train/loss"], row["val/loss"]) for row in epochs]
    assert len(losses[1]) == 20, "a row for each step"
    for count in (2, 3):
        for found, expected in zip(losses[count], losses[1], strict=True):
            assert found[0] == expected[0]
            assert found[1:] == pytest.approx(expected[1:], rel=2e-4, abs=2e-6)


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_and_resumed_on_two_processes(on_processes: Program, fit_options: list[str], tmp_path: Path) -> None:
    """Each process has its own stream of dropout, and continues it."""
    options = [*fit_options, "--model.dropout", "0.1", "--data.batch_size", "8", "--save_every_steps", "3"]
    on_processes(2, "fit", *options, "--run_dir", "whole")
    weights = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    states = weights["callbacks"]["RandomState"]["ranks"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    (tmp_path / "again" / "checkpoints" / "last.ckpt").unlink()
    assert torch.load(tmp_path / "again" / "checkpoints" / "previous.ckpt", weights_only=True)["global_step"] % 8 != 0
    on_processes(2, "fit", "--run_dir", "again", "--ckpt_path", "last")
    again = torch.load(tmp_path / "again" / "checkpoints" / "last.ckpt", weights_only=True)
    assert again["global_step"] == weights["global_step"]
    for name, tensor in weights["state_dict"].items():
        assert torch.equal(again["state_dict"][name], tensor), name
    rows = [json.loads((tmp_path / run / "results.json").read_text())["epochs"] for run in ("whole", "again")]
    assert rows[0] == rows[1]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_resuming_with_fewer_processes(on_processes: Program, fit_options: list[str], tmp_path: Path) -> None:
    """From the middle of an epoch, which one process finishes with twice the steps."""
    options = [*fit_options, "--data.batch_size", "8", "--save_every_steps", "3", "--save_every_minutes", "0"]
    on_processes(2, "fit", *options, "--run_dir", "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    previous = torch.load(checkpoints / "previous.ckpt", weights_only=True)
    position = previous["NERDataModule"]["position"]
    finished = position["batches"]
    assert (position["epoch"], position["sequences"]) == (1, 16 * finished)
    (checkpoints / "last.ckpt").unlink()
    on_processes(1, "fit", "--run_dir", "run", "--ckpt_path", "last")
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert (last["NERDataModule"]["position"]["epoch"], last["NERDataModule"]["position"]["batches"]) == (2, 0)
    assert last["global_step"] - previous["global_step"] == 15 - 2 * finished, "15 micro-batches of 8 sentences"
    assert len(json.loads((tmp_path / "run" / "results.json").read_text())["epochs"]) == 2
