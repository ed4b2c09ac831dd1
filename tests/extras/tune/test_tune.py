"""`tune` from the command line: killed, resumed, pruned, compared; what it leaves is what other commands take."""

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

ROOT = Path(__file__).parents[3]
EPOCHS = 40


def _study(folder: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return optuna.load_study(study_name="tune", storage=optuna.storages.JournalStorage(backend))


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Callable[..., Path], corpus: Path) -> Path:
    """A recipe that learns nothing, for want of a learning rate."""
    files = {"train_file": str(corpus / "train.conll"), "validation_file": str(corpus / "train.conll")}
    model = {"model_name_or_path": str(tiny_model()), "learning_rate": 1e-6, "dropout": 0.0}
    trainer = {"max_epochs": EPOCHS}
    return write_config(tmp_path / "my.yaml", {"model": model, "data": files, "trainer": trainer})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_that_is_killed_resumes_and_ends_with_a_better_recipe(
    tmp_path: Path,
    recipe: Path,
    corpus: Path,
    program: Callable[..., subprocess.CompletedProcess[str]],
    run_main: Callable[..., Any],
) -> None:
    study, space = tmp_path / "study", tmp_path / "space.yaml"
    space.write_text("model.learning_rate: {low: 8.0e-3, high: 1.0e-2}\n", encoding="utf-8")
    options = ["--trials", "2", "--seeds", "0", "--run_dir", str(study)]
    command = [sys.executable, "-m", "ner_module", "tune", "--config", str(recipe), "--space", str(space), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    first, deadline = study / "trials" / "0000", time.monotonic() + 200
    while not (first / "results.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    done = program("tune", *options)
    assert "resuming from" in (first / "output.txt").read_text(encoding="utf-8")
    assert [row["epoch"] for row in results(first)["epochs"]] == list(range(1, EPOCHS + 1))
    states = [(trial.user_attrs["run"], trial.state.name) for trial in _study(study).trials]
    assert states == [("0000", "FAIL"), ("0000", "COMPLETE"), ("0002", "COMPLETE")]
    assert sum(line.startswith("trial ") for line in done.stdout.splitlines()) == 2
    compared = program("tune", "--trials", "0", "--seeds", "1", "--run_dir", study)
    lines = compared.stdout.splitlines()
    (gain,) = (float(line.split()[1]) for line in lines if line.startswith("gain "))
    assert gain > 0.1
    assert {path.name for path in (study / "seeds").iterdir()} == {"0000-seed-43", "0002-seed-43"}
    assert "Test data were not scored" in compared.stdout

    # What it leaves is a recipe, and runs like any other.
    best = yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))
    rate = best["model"]["learning_rate"]
    assert rate == _study(study).best_params["model.learning_rate"]
    assert results(study / "trials" / "0002")["epochs"][-1]["val/f1"] > 0.1
    run_main("fit", "--config", study / "best.yaml", "--run_dir", "again", "--trainer.max_steps", 2)
    assert (
        yaml.safe_load((tmp_path / "again" / "config.yaml").read_text(encoding="utf-8"))["model"]["learning_rate"]
        == rate
    )
    run_main("test", "--run_dir", study / "trials" / "0002", "--data.test_file", corpus / "test.conll")

    # A trial far behind five others at half of its training is stopped, as on Ctrl-C.
    known = _study(study)
    [done_trial] = [trial for trial in known.trials if trial.user_attrs["run"] == "0002"]
    for _ in range(5):
        values: dict[str, Any] = {"params": done_trial.params, "distributions": done_trial.distributions}
        known.add_trial(optuna.create_trial(value=1.0, intermediate_values={1: 1.0, 2: 1.0, 3: 1.0}, **values))
    stopped = program("tune", "--run_dir", study, "--trials", 8, "--seeds", 0)
    assert "falling behind: stopped" in stopped.stdout
    last = _study(study).trials[-1]
    assert last.state.name == "PRUNED"
    run = study / "trials" / last.user_attrs["run"]
    assert EPOCHS / 2 <= len(results(run)["epochs"]) < EPOCHS
    assert "Stopped after step" in (run / "output.txt").read_text(encoding="utf-8")

    # The directory belongs to this recipe.
    refused = run_main("tune", "--config", recipe, "--data.batch_size", 4, *options, check=False)
    assert refused.code == 1
    assert "is of another search" in refused.err


@pytest.mark.slow
def test_a_recipe_that_does_not_train_ends_it_with_the_reason(
    tmp_path: Path, recipe: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = program("tune", "--config", recipe, "--data.train_file", "nowhere.conll", "--trials", 2, check=False)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the recipe as it is failed: nowhere.conll" in line
