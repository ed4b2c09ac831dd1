"""What is changed when training resumes is honoured from the next sentence on, or named and recorded as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_files import checkpoint

from ner_module.model.module import NERModule

ROOT = Path(__file__).parents[2]

RunMain = Callable[..., Any]


def stopped_within(run: Path, name: str) -> None:
    """A copy of a run whose last checkpoint is its previous one, of the middle of an epoch."""
    copy = Path(shutil.copytree(run, run.parent / name))
    (copy / "checkpoints" / "previous.ckpt").replace(copy / "checkpoints" / "last.ckpt")


FIXED: list[tuple[str, Any, Any]] = [
    ("model.learning_rate", 1e-5, 1e-2),
    ("model.weight_decay", 0.5, 0.0),
    ("model.dropout", 0.3, 0.0),
    ("model.model_name_or_path", "another/model", None),
    ("model.revision", "main", None),
    ("model.warmup_ratio", 0.4, 0.1),
    ("model.lr_scheduler_type", "constant", "linear"),
    ("model.layer_decay", 0.5, 1.0),
    ("model.freeze", "embeddings", "none"),
    ("model.crf", True, False),
    ("model.distillation", True, False),
    ("data.context_size", 8, 0),
    ("data.max_seq_length", 32, 66),
    ("data.stride", 4, 16),
    ("data.documents", "file", "marked"),
    ("data.label_all_tokens", True, False),
    ("data.scheme", "bioes", "iob2"),
    ("data.batching", "grouped", "random"),
    ("data.validation_fraction", 0.5, 0.1),
    ("seed_everything", 7, 42),
]
"""Option, what is asked on resume, and what the checkpoint was made with (``None``: see there)."""


def test_what_a_checkpoint_decides_is_named_and_recorded_as_it_is(
    run_main: RunMain, trained_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    base = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["model"]["model_name_or_path"]
    resume = ["--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 21]
    outcome = run_main("fit", *resume, *(f"--{option}={given}" for option, given, _ in FIXED))
    lines = [line for line in outcome.err.splitlines() if "no effect" in line]
    last = checkpoint(tmp_path / "run", "last")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert yaml.safe_load(last["ner_module"]["config"]) == config
    assert len(lines) == len(FIXED), lines
    for option, given, made_with in FIXED:
        made_with = base if option == "model.model_name_or_path" else made_with
        told = f"warning: --{option} {given} has no effect: training resumes from a checkpoint made with {made_with}."
        assert any(line.startswith(told) for line in lines), (told, lines)
        *sections, name = option.split(".")
        assert (config[sections[0]] if sections else config)[name] == made_with
        saved = last["hyper_parameters"] if sections == ["model"] else last["datamodule_hyper_parameters"]
        assert saved[{"seed_everything": "seed"}.get(name, name)] == made_with
    assert "no effect" not in run_main("fit", *resume[:-1], 22).err, "of an unchanged command nothing is said"


def test_what_is_held_out_now_was_trained_on(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    resume = ["--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 21]
    outcome = run_main("fit", *resume, "--data.validation_file", "null")
    assert "null holds out sentences that the checkpoint learnt" in outcome.err


@pytest.mark.parametrize("name", ["max_epochs", "max_steps"])
def test_less_than_is_done_is_refused_and_recorded_nowhere(
    run_main: RunMain, trained_run: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_text()
    outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", f"--trainer.{name}", 3, check=False)
    done = {"max_epochs": "20 epochs", "max_steps": "300 steps"}[name]
    assert outcome.errors() == [f"error: --trainer.{name} 3: {done} are done before; give more, or train from scratch"]
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_an_added_label_map_is_recorded_with_the_old_one(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    run_main("fit", *fit_options, "--data.label_map", "{PER: person}", "--trainer.max_epochs", 1, "--run_dir", "run")
    resume = ["--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 2]
    run_main("fit", *resume, "--data.label_map", "{MISC: O}")
    both = {"PER": "person", "MISC": "O"}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["label_map"] == both
    assert checkpoint(tmp_path / "run", "last")["NERDataModule"]["label_map"] == both


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, ...]]]:
    """The sequences of each micro-batch, as training sees them."""
    batches: list[list[tuple[int, ...]]] = []
    training_step = NERModule.training_step

    def step(self: NERModule, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        batches.append([tuple(ids.tolist()) for ids in batch["input_ids"].split(batch["lengths"])])
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(NERModule, "training_step", step)
    return batches


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["--data.batch_size", 16], ["--data.batch_size", 8]),
        (["--data.batch_size", 8], ["--data.batch_size", 16]),
        (["--data.batch_size", 8], ["--data.batch_size", 50, "--trainer.accumulate_grad_batches", 2]),
        (["--data.batch_size", 16], ["--data.max_tokens", 150]),
        (["--data.max_tokens", 150], ["--data.max_tokens", 300]),
        (["--data.max_tokens", 300, "--data.batching", "grouped"], ["--data.max_tokens", "null"]),
        (["--trainer.accumulate_grad_batches", 2], ["--trainer.accumulate_grad_batches", 3, "--data.batch_size", 7]),
    ],
)
@pytest.mark.slow
def test_another_size_of_steps_loses_and_repeats_no_sentence(
    first: list[Any],
    then: list[Any],
    run_main: RunMain,
    fit_options: list[str],
    tmp_path: Path,
    trained_on: list[list[tuple[int, ...]]],
) -> None:
    """From the middle of the first epoch of two; of the second each sentence once, too."""
    run_main("fit", *fit_options, *first, "--trainer.max_epochs", 1, "--save_every_steps", 3, "--run_dir", "run")
    every = Counter(sequence for batch in trained_on for sequence in batch)
    assert every.total() == 120
    position = checkpoint(tmp_path / "run", "previous")["NERDataModule"]["position"]
    del trained_on[position["batches"] :]
    seen = sum(map(len, trained_on))
    assert 0 < seen == position["sequences"] < 120
    stopped_within(tmp_path / "run", "again")
    resume = ["--run_dir", "again", "--ckpt_path", "last", "--trainer.max_epochs", 2]
    outcome = run_main("fit", *resume, *then)
    assert outcome.err.count("training resumes with another step") == 1
    assert Counter(sequence for batch in trained_on for sequence in batch) == every + every
    rows = json.loads((tmp_path / "again" / "results.json").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2], "each epoch was validated"
    last = checkpoint(tmp_path / "again", "last")
    rates = [group["lr"] for group in last["optimizer_states"][0]["param_groups"]]
    assert max(rates) < 0.15 * 3e-3, "the schedule ends with the training"
    assert last["global_step"] == rows[-1]["step"]


@pytest.mark.slow
def test_between_epochs_the_size_of_steps_changes_too(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, trained_on: list[list[tuple[int, ...]]]
) -> None:
    run_main("fit", *fit_options, "--trainer.max_epochs", 1, "--run_dir", "run")
    resume = ["--run_dir", "run", "--ckpt_path", "last"]
    for batch_size, checkpoint_name in ((8, "last"), (24, "best")):
        done = len(trained_on)
        epochs = checkpoint(tmp_path / "run", checkpoint_name)["NERDataModule"]["position"]["epoch"] + 1
        resume[-1] = checkpoint_name
        run_main("fit", *resume, "--data.batch_size", batch_size, "--trainer.max_epochs", epochs)
        assert sum(map(len, trained_on[done:])) == 120
        assert len(trained_on) - done == 120 // batch_size


RECORDER = """
import json, os, sys
from ner_module.model.module import NERModule
training_step = NERModule.training_step
def step(self, batch, batch_idx):
    ids_and_labels = [batch[name].split(batch["lengths"]) for name in ("input_ids", "labels")]
    with open(f"seen-{self.global_rank}.jsonl", "a") as file:
        for ids, labels in zip(*ids_and_labels):
            if (labels >= 0).any():  # else it stands in for a process that has no sentence
                file.write(json.dumps([self.trainer.current_epoch, ids.tolist()]) + "\\n")
    return training_step(self, batch, batch_idx)
NERModule.training_step = step
from ner_module.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_loses_and_repeats_no_sentence(
    before: int, after: int, fit_options: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recorder.py").write_text(RECORDER)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def fit(processes: int, *options: object) -> Counter[tuple[int, ...]]:
        for path in tmp_path.glob("seen-*"):
            path.unlink()
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *launch, "recorder.py", "fit", *map(str, options)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for path in tmp_path.glob("seen-*") for line in path.read_text().splitlines()]
        return Counter(tuple(ids) for epoch, ids in lines if epoch == 0)

    options = ["--data.batch_size", 7, "--trainer.max_epochs", 1, "--save_every_steps", 3]
    every = fit(before, *fit_options, *options, "--run_dir", "run")
    position = checkpoint(tmp_path / "run", "previous")["NERDataModule"]["position"]
    stopped_within(tmp_path / "run", "again")
    rest = fit(after, "--run_dir", "again", "--ckpt_path", "last")
    assert every.total() == 120
    assert rest <= every
    assert rest.total() == 120 - position["sequences"]
