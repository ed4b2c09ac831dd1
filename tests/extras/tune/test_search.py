"""A search without trainings: what its workers leave each other, and its table."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

optuna = pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from optuna.trial import TrialState, create_trial  # noqa: E402

from ner_module.errors import RunError  # noqa: E402
from ner_module.extras.tune.search import Search, run_of  # noqa: E402
from ner_module.options import parse_fit_options  # noqa: E402

RECIPE = ["--model.model_name_or_path", "some/model", "--model.head_learning_rate", "1e-3", "--data.train_file", "x"]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path / "search", RECIPE, None)


def _add(search: Search, value: float, minutes: float, rate: float, state: Any = TrialState.COMPLETE) -> None:
    values = search.study.trials[0].system_attrs["fixed_params"] | {"model.learning_rate": rate}
    trial: Any = create_trial(state=state, value=value, params=values, distributions=search.space)
    trial.datetime_complete = trial.datetime_start + timedelta(minutes=minutes)
    search.study.add_trial(trial)


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
    class KilledError(Exception):
        pass

    def die(trial: Any) -> None:
        taken.append((run_of(trial), trial.params))
        raise KilledError

    taken: list[tuple[str, dict[str, Any]]] = []
    search._run = die  # type: ignore[method-assign]
    for _ in range(12):
        with pytest.raises(KilledError):
            search.run(12, None, 0)
    assert [run for run, _ in taken] == ["0000"] * 11 + ["0011"]
    assert taken[0] == taken[10] != taken[11]


def test_a_trial_of_a_worker_that_lives_is_left_to_it(search: Search) -> None:
    trial = search.study.ask(search.space)
    hold = "import sys, time; from pathlib import Path; from ner_module.training.runs import run_lock\n"
    hold += "with run_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", hold, str(search.folder / "workers" / run_of(trial))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline()
            search.run(1, None, 0)
            assert [trial.state.name for trial in search.study.trials] == ["RUNNING"]
            _add(search, 0.9, 1, 2e-5)
            assert search.summarise() is None, "the last worker compares"
        finally:
            other.kill()


def test_only_the_seed_may_differ_between_workers(search: Search, tmp_path: Path) -> None:
    other = Search(search.folder, [*RECIPE, "--seed_everything", "3"], None)
    assert other.recipe["seed_everything"] == 42
    with pytest.raises(RunError, match=r"recipe\.yaml is of another search"):
        Search(search.folder, [*RECIPE, "--data.batch_size", "4"], None)
    (tmp_path / "space.yaml").write_text("model.freeze: [none, encoder]", encoding="utf-8")
    with pytest.raises(RunError, match=r"space\.yaml is of another search"):
        Search(search.folder, [], tmp_path / "space.yaml")


def test_the_table_has_the_best_beside_the_recipe(search: Search) -> None:
    for value, minutes, rate in ((0.5, 1, 2e-5), (0.9, 3, 4e-5), (0.7, 2, 1e-4), (0.8, 7, 6e-5), (0.6, 5, 3e-5)):
        _add(search, value, minutes, rate)
    # One more of three minutes, then the best one's three for each seed, in half of the time at most.
    cases = [(6, 99, 1), (5.9, 99, 1), (9, 99, 2), (8.9, 99, 2), (11, 16, 9), (10.9, 16, 9)]
    times = [search.has_time(60 * left, 60 * budget, seeds) for left, budget, seeds in cases]
    assert times == [True, False] * 3
    _add(search, 0.99, 1, 3e-5, TrialState.PRUNED)
    table = search.table(search.ranked())
    assert "5 trials were trained to the end" in table.note
    rows = {row[0]: row[1:] for row in table.cells()}
    assert rows["val/f1"] == ["0.9000", "0.8000", "0.7000", ""]
    assert rows["minutes"] == ["3.0", "7.0", "2.0", ""]
    assert rows["model.learning_rate"][:3] == ["4e-05", "6e-05", "0.0001"]
    assert rows["model.dropout"][:3] == ["null"] * 3
    assert sum(float(cells[-1] or 0) for name, cells in rows.items() if "." in name) == pytest.approx(1, abs=0.05)


def test_the_best_is_written_as_a_recipe(search: Search, capsys: pytest.CaptureFixture[str]) -> None:
    _add(search, 0.5, 1, 2e-5)
    assert search.summarise() is not None
    options, best = (
        parse_fit_options(["--config", str(search.folder / f"{name}.yaml")]) for name in ("recipe", "best")
    )
    assert best["model"] == options["model"] | {"learning_rate": 2e-5}
    assert best["data"] == options["data"]
    assert "best.yaml" in capsys.readouterr().out
