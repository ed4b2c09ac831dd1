"""What is searched, and how long."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import write_config

from ner_module.errors import DataError, RunError
from ner_module.extras.tune.command import seconds
from ner_module.extras.tune.space import Range, around, as_flag, default_space, draw, read_space

OPTIONS: dict[str, Any] = {
    "model": {"learning_rate": 5e-5, "head_learning_rate": None, "warmup_ratio": 0.5, "dropout": None},
    "data": {"batch_size": 16, "max_tokens": None},
    "trainer": {"max_epochs": 3, "max_steps": -1},
}


def test_a_file_holds_ranges_and_choices(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "s.yaml",
        {"model.learning_rate": {"low": "1e-5", "high": 1e-4, "log": True}, "model.freeze": ["none", 2], "x": [None]},
    )
    assert read_space(path) == {
        "model.learning_rate": Range(low=1e-5, high=1e-4, log=True),
        "model.freeze": ["none", 2],
        "x": [None],
    }


@pytest.mark.parametrize(
    "entry", [{"low": 1}, {"low": 1, "high": 2, "ratio": True}, [], 3, {"low": "few", "high": 2}, [{"low": 1}]]
)
def test_any_other_entry_is_named(tmp_path: Path, entry: object) -> None:
    path = write_config(tmp_path / "s.yaml", {"data.batch_size": entry})
    with pytest.raises(DataError, match=r"s\.yaml: data\.batch_size is neither a range nor choices; give"):
        read_space(path)


def test_the_recipe_is_within_the_space() -> None:
    found = around(default_space(OPTIONS), OPTIONS)
    assert found["model.head_learning_rate"] == Range(low=5e-5, high=1e-2, log=True)  # null: as the rest
    assert found["model.warmup_ratio"] == Range(low=0.0, high=0.5)
    assert found["trainer.max_epochs"] == Range(low=2, high=6)
    assert around({"data.batch_size": [8, 32]}, OPTIONS) == {"data.batch_size": [16, 8, 32]}
    assert "trainer.max_epochs" not in default_space(OPTIONS | {"trainer": {"max_epochs": 3, "max_steps": 100}})


@pytest.mark.parametrize(
    ("name", "wanted", "problem"),
    [
        ("data.max_tokens", Range(low=100, high=200), "data.max_tokens is None in the recipe"),
        ("model.learning_rate", Range(low=0.0, high=1.0, log=True), "nor any be 0"),
        ("data.batch_size", Range(low=32, high=8), "low must not exceed high"),
    ],
)
def test_a_range_that_cannot_be_is_refused(name: str, wanted: Range, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        around({name: wanted}, OPTIONS)


def test_trials_draw_from_it() -> None:
    optuna = pytest.importorskip("optuna", reason="pip install -e '.[tune]'")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {"rate": Range(low=1e-5, high=1e-3, log=True), "epochs": Range(low=2, high=4), "how": ["a", None]}
    drawn = [draw(space, study.ask()) for _ in range(200)]
    assert {values["epochs"] for values in drawn} == {2, 3, 4}
    assert {values["how"] for values in drawn} == {"a", None}
    rates = sorted(math.log10(float(str(values["rate"]))) for values in drawn)
    assert -5 <= rates[0] < -4.9
    assert abs(rates[100] + 4) < 0.2  # half of them below the geometric mean


@pytest.mark.parametrize(
    ("value", "flag"),
    [(None, "--a.b=null"), (True, "--a.b=true"), ("x", "--a.b=x"), (2, "--a.b=2"), (1e-05, "--a.b=1e-05")],
)
def test_values_are_flags(value: Any, flag: str) -> None:
    assert as_flag("a.b", value) == flag


def test_a_budget_is_a_time() -> None:
    assert [seconds(text) for text in ("90s", "30m", "1.5h", "1d")] == [90, 1800, 5400, 86400]
    for text in ("30", "m", "-3m", "0m", "3 m"):
        with pytest.raises(ArgumentTypeError, match="no time"):
            seconds(text)


def test_what_is_missing_or_wrong_is_said(run_main: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="pip install -e '.[tune]'")
    assert "give --budget TIME, --trials N or both" in run_main("tune", check=False).err
    assert "--budget: '30' is no time such as 30m" in run_main("tune", "--budget", "30", check=False).err
    wrong = write_config(tmp_path / "s.yaml", {"model.learning_rat": [1e-4]})
    done = run_main(
        "tune", "--model.model_name_or_path", "x", "--space", wrong, "--trials", 1, "--run_dir", "s", check=False
    )
    assert done.code == 2
    assert "there is no option --model.learning_rat; did you mean" in done.err
