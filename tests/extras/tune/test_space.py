"""What is searched, and how long."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import write_config

pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ner_module.errors import DataError
from ner_module.extras.tune import seconds
from ner_module.extras.tune.space import as_flags, default_space, read_space

OPTIONS: dict[str, Any] = {
    "model": {"learning_rate": 5e-5, "head_learning_rate": None, "warmup_ratio": 0.5, "dropout": None},
    "data": {"batch_size": 16, "max_tokens": None},
    "trainer": {"max_epochs": 3, "max_steps": -1},
}


def space_of(folder: Path, content: dict[str, Any]) -> Any:
    return read_space(write_config(folder / "s.yaml", content), OPTIONS)


def test_a_file_holds_ranges_and_choices_with_the_recipe_among_them(tmp_path: Path) -> None:
    rates = {"low": "1e-4", "high": 1e-3, "log": True}
    assert space_of(tmp_path, {"model.learning_rate": rates, "data.batch_size": [8, 32], "model.dropout": [0.1]}) == {
        "model.learning_rate": FloatDistribution(5e-5, 1e-3, log=True),
        "data.batch_size": CategoricalDistribution([16, 8, 32]),
        "model.dropout": CategoricalDistribution([None, 0.1]),
    }


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        *(("data.batch_size", entry) for entry in ({"low": 1}, {"low": 1, "high": 2, "ratio": True}, 3, [{"low": 1}])),
        ("data.batch_size", {"low": "few", "high": 2}),
        ("data.batch_size", {"low": 32, "high": 8}),
        ("data.max_tokens", {"low": 100, "high": 200}),
        ("model.learning_rate", {"low": 0.0, "high": 1.0, "log": True}),
    ],
)
def test_any_other_entry_is_named(tmp_path: Path, name: str, entry: object) -> None:
    with pytest.raises(DataError, match=rf"s\.yaml: {name}, in the recipe .*, has neither a range nor choices; give"):
        space_of(tmp_path, {name: entry})


def test_the_default_space(tmp_path: Path) -> None:
    found = space_of(tmp_path, default_space(OPTIONS))
    assert found["model.head_learning_rate"] == FloatDistribution(5e-5, 1e-2, log=True)  # null: as the rest
    assert found["model.warmup_ratio"] == FloatDistribution(0.0, 0.5)
    assert found["trainer.max_epochs"] == IntDistribution(2, 6)
    assert "trainer.max_epochs" not in default_space(OPTIONS | {"trainer": {"max_epochs": 3, "max_steps": 100}})


@pytest.mark.parametrize(
    ("value", "flag"),
    [(None, "--a.b=null"), (True, "--a.b=true"), ("x", "--a.b=x"), (2, "--a.b=2"), (1e-05, "--a.b=1e-05")],
)
def test_values_are_flags(value: Any, flag: str) -> None:
    assert as_flags({"a.b": value}) == [flag]


def test_a_budget_is_a_time() -> None:
    assert [seconds(text) for text in ("90s", "30m", "1.5h", "1d")] == [90, 1800, 5400, 86400]
    for text in ("30", "m", "-3m", "0m", "3 m"):
        with pytest.raises(ArgumentTypeError, match="no time"):
            seconds(text)


def test_what_is_missing_or_wrong_is_said(run_main: Callable[..., Any], tmp_path: Path) -> None:
    assert "give --budget TIME, --trials N or both" in run_main("tune", check=False).err
    assert "--budget: '30' is no time such as 30m" in run_main("tune", "--budget", "30", check=False).err
    wrong = write_config(tmp_path / "s.yaml", {"model.learning_rat": [1e-4]})
    done = run_main(
        "tune", "--model.model_name_or_path", "x", "--space", wrong, "--trials", 1, "--run_dir", "s", check=False
    )
    assert done.code == 2
    assert "there is no option --model.learning_rat; did you mean" in done.err
