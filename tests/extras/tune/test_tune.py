"""`tune` from the command line: killed, resumed, compared, pruned; what it leaves is what other commands take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_files import results, write_config

optuna = pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from ner_module.extras.tune.search import Search, run_of  # noqa: E402

ROOT = Path(__file__).parents[3]
EPOCHS = 40

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Callable[..., Path], corpus: Path) -> Path:
    """A recipe that learns nothing, for want of a learning rate."""
    files = {"train_file": str(corpus / "train.conll"), "validation_file": str(corpus / "train.conll")}
    model = {"model_name_or_path": str(tiny_model()), "learning_rate": 1e-6, "dropout": 0.0}
    return write_config(tmp_path / "my.yaml", {"model": model, "data": files, "trainer": {"max_epochs": EPOCHS}})


@pytest.fixture
def space(tmp_path: Path) -> Path:
    return write_config(tmp_path / "space.yaml", {"model.learning_rate": {"low": 8e-3, "high": 1e-2}})


def _start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ner_module", "tune", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def _tune(folder: Path, *arguments: object) -> list[str]:
    """The lines that it prints."""
    process = _start(folder, *arguments)
    out, err = process.communicate(timeout=1700)
    assert process.returncode == 0, err
    return out.splitlines()


def _trials(folder: Path) -> list[Any]:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return list(optuna.load_study(study_name="tune", storage=optuna.storages.JournalStorage(backend)).trials)


def test_a_search_that_is_killed_resumes_and_ends_with_a_better_recipe(
    tmp_path: Path, recipe: Path, space: Path, corpus: Path, run_main: Callable[..., Any]
) -> None:
    study = tmp_path / "study"
    first, options = study / "trials" / "0000", ["--run_dir", study, "--trials", 2, "--seeds"]
    process = _start(tmp_path, "--config", recipe, "--space", space, *options, 1)
    deadline = time.monotonic() + 300
    while not (first / "results.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    lines = _tune(tmp_path, *options, 1)
    assert "resuming from" in (first / "output.txt").read_text(encoding="utf-8")
    assert [row["epoch"] for row in results(first)["epochs"]] == list(range(1, EPOCHS + 1))
    states = [(run_of(trial), trial.state.name) for trial in _trials(study)]
    assert states == [("0000", "FAIL"), ("0000", "COMPLETE"), ("0002", "COMPLETE")]
    assert sum(line.startswith("trial ") for line in lines) == 2
    (gain,) = (float(line.split()[1]) for line in lines if line.startswith("gain "))
    assert gain > 0.1
    assert {path.name for path in (study / "seeds").iterdir()} == {"0000-seed-43", "0002-seed-43"}

    # What it leaves is a recipe, and a run like any other.
    rate = yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))["model"]["learning_rate"]
    assert rate == _trials(study)[-1].params["model.learning_rate"]
    run_main("fit", "--config", study / "best.yaml", "--run_dir", "again", "--trainer.max_steps", 2)
    saved = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["learning_rate"] == rate
    run_main("test", "--run_dir", study / "trials" / "0002", "--data.test_file", corpus / "test.conll")
    assert "test/f1" in results(study / "trials" / "0002")["test"]


def test_a_trial_that_falls_behind_is_stopped_as_on_ctrl_c(tmp_path: Path, recipe: Path, space: Path) -> None:
    search = Search(tmp_path / "study", ["--config", str(recipe)], space)
    for _ in range(5):  # as if five had been perfect from the first quarter on
        trial = search.study.ask()
        trial.suggest_float("model.learning_rate", 1e-6, 1e-2)
        for quarter in (1, 2, 3):
            trial.report(1.0, quarter)
        search.study.tell(trial, 1.0)
    lines = _tune(tmp_path, "--run_dir", search.folder, "--trials", 6)
    assert any(line.startswith("trial 5 ") and "falling behind: stopped" in line for line in lines)
    assert _trials(search.folder)[-1].state.name == "PRUNED"
    run = search.folder / "trials" / "0005"
    assert EPOCHS / 2 <= len(results(run)["epochs"]) < EPOCHS
    assert "Stopped after step" in (run / "output.txt").read_text(encoding="utf-8")
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_recipe_that_does_not_train_ends_it_with_the_reason(tmp_path: Path, recipe: Path) -> None:
    process = _start(tmp_path, "--config", recipe, "--data.train_file", "nowhere.conll", "--trials", 2)
    _, err = process.communicate(timeout=1700)
    assert process.returncode == 1
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "the recipe as it is failed: nowhere.conll" in line
    [path] = tmp_path.glob("runs/my-tune/*")
    assert [trial.state.name for trial in _trials(path)] == ["RUNNING"], "to be taken up again, once that is mended"
