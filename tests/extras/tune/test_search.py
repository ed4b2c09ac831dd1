"""A search without trainings: what its workers leave each other, and its table."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

optuna = pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from ner_module.errors import RunError  # noqa: E402
from ner_module.extras.tune.search import Search  # noqa: E402

RECIPE = ["--model.model_name_or_path", "some/model", "--model.head_learning_rate", "1e-3", "--data.train_file", "x"]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path / "search", RECIPE, None)


def _add(search: Search, value: float, minutes: float, **values: Any) -> None:
    trial = search.study.ask()
    for name, wanted in search.space.items():
        drawn = values.get(name.rpartition(".")[2])
        if isinstance(wanted, list):
            trial.suggest_categorical(name, wanted)
        elif isinstance(wanted.low, int):
            trial.suggest_int(name, wanted.low, wanted.high)
        else:
            low, high = (wanted.low, wanted.high) if drawn is None else (drawn, drawn)
            trial.suggest_float(name, low, high, log=wanted.log)
    search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    frozen = search.study.trials[trial.number]
    frozen.state, frozen.values = optuna.trial.TrialState.COMPLETE, [value]
    frozen.datetime_complete = frozen.datetime_start + timedelta(minutes=minutes)
    search.study.add_trial(frozen)


def test_the_first_trial_is_the_recipe(search: Search) -> None:
    [first] = search.study.trials
    values = first.system_attrs["fixed_params"]
    assert values["model.learning_rate"] == 5e-5
    assert values["model.head_learning_rate"] == 1e-3
    assert values["trainer.max_epochs"] == 3
    assert search.arguments("0000", values) == ["--config", str(search.folder / "recipe.yaml")]
    recipe = yaml.safe_load((search.folder / "recipe.yaml").read_text(encoding="utf-8"))
    model = {"model_name_or_path": "some/model", "head_learning_rate": 1e-3}
    assert recipe == {"model": model, "data": {"train_file": "x"}, "seed_everything": 42}


def test_a_trial_of_a_dead_worker_is_taken_up_again_but_not_for_ever(search: Search) -> None:
    trial = search.study.ask()  # a lock does not hold against the process that has it: to itself it looks dead
    trial.set_user_attr("run", "0000")
    trial.set_user_attr("worker", search.worker)
    for killed in range(1, 5):
        waiting = Search(search.folder, [], None).study.trials[-1]
        if killed == 4:
            break
        assert waiting.state.name == "WAITING"
        assert waiting.user_attrs == {"run": "0000", "killed": killed}
        assert waiting.system_attrs["fixed_params"] == search.study.trials[0].system_attrs["fixed_params"]
        search.study.ask()
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"] * 4


def test_only_the_seed_may_differ_between_workers(search: Search, tmp_path: Path) -> None:
    other = Search(search.folder, [*RECIPE, "--seed_everything", "3"], None)
    assert other.recipe["seed_everything"] == 42
    assert other.worker != search.worker
    with pytest.raises(RunError, match=r"recipe\.yaml is of another search"):
        Search(search.folder, [*RECIPE, "--data.batch_size", "4"], None)
    (tmp_path / "space.yaml").write_text("model.freeze: [none, encoder]", encoding="utf-8")
    with pytest.raises(RunError, match=r"space\.yaml is of another search"):
        Search(search.folder, [], tmp_path / "space.yaml")


def test_the_table_has_the_best_beside_the_recipe(search: Search) -> None:
    search.study.ask()  # the recipe, by a worker that has it
    for value, minutes, rate in ((0.5, 1, 2e-5), (0.9, 3, 4e-5), (0.7, 2, 1e-4), (0.8, 7, 6e-5), (0.6, 5, 3e-5)):
        _add(search, value, minutes, learning_rate=rate)
    # One more of three minutes, then the best one's three for each seed, in half of the time at most.
    minutes = [(6, 99, 1), (5.9, 99, 1), (9, 99, 2), (8.9, 99, 2), (11, 16, 9), (10.9, 16, 9)]
    times = [search.has_time(60 * left, 60 * budget, seeds) for left, budget, seeds in minutes]
    assert times == [True, False] * 3
    stopped = search.study.ask()
    stopped.report(0.99, 1)
    search.study.tell(stopped, state=optuna.trial.TrialState.PRUNED)  # Optuna gives it a value, the last reported
    table = search.table(search.ranked())
    assert "5 trials trained to the end; stopped: 1; failed or interrupted: 5" in table.note
    rows = {row[0]: row[1:] for row in table.cells()}
    assert rows["val/f1"] == ["0.9000", "0.8000", "0.7000", ""]
    assert rows["minutes"] == ["3.0", "7.0", "2.0", ""]
    assert rows["model.learning_rate"][:3] == ["4e-05", "6e-05", "0.0001"]
    assert sum(float(cells[-1]) for name, cells in rows.items() if "." in name) == pytest.approx(1, abs=0.05)


def test_the_best_is_written_as_a_recipe(search: Search, capsys: pytest.CaptureFixture[str]) -> None:
    search.study.ask()
    _add(search, 0.5, 1, learning_rate=2e-5)
    best = search.summarise()
    assert best is not None
    written = yaml.safe_load((search.folder / "best.yaml").read_text(encoding="utf-8"))
    assert written["model"]["learning_rate"] == 2e-5
    assert written["model"]["model_name_or_path"] == "some/model"
    assert written["data"] == {"train_file": "x", "batching": best.params["data.batching"]}
    assert written["trainer"]["max_epochs"] == best.params["trainer.max_epochs"]
    assert "best.yaml" in capsys.readouterr().out
