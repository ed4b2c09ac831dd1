"""What is searched: options of ``fit``, each with a range (``{low: 1.0e-5, high: 1.0e-4, log: true}``) or choices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ner_module.errors import DataError, RunError
from ner_module.training.saved_config import read_config

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str | None
_HEAD_RATE = "model.head_learning_rate"


class Range(BaseModel, extra="forbid"):
    """Numbers from ``low`` to ``high``, both included; whole ones if both are; ``log``: evenly by ratio."""

    low: int | float
    high: int | float
    log: bool = False


Space = dict[str, Range | Annotated[list[Value], Field(min_length=1)]]
SPACE: TypeAdapter[Space] = TypeAdapter(Space)


def default_space(options: Mapping[str, Any]) -> Space:
    """What is searched unless a file says otherwise, around the values of the recipe."""
    rate, epochs = value_of(options, "model.learning_rate"), value_of(options, "trainer.max_epochs") or 0
    space: Space = {
        "model.learning_rate": Range(low=rate / 4, high=rate * 4, log=True),
        _HEAD_RATE: Range(low=1e-4, high=1e-2, log=True),
        "model.warmup_ratio": Range(low=0.0, high=0.3),
        "model.dropout": [None, 0.0, 0.2],
        "model.decoding": ["viterbi", "greedy"],
        "data.batching": ["random", "grouped"],
    }
    if epochs > 0 and value_of(options, "trainer.max_steps") == -1:
        space["trainer.max_epochs"] = Range(low=(epochs + 1) // 2, high=2 * epochs)
    return space


def read_space(path: Path) -> Space:
    """The space in a YAML file; raises :class:`DataError` where an entry is neither a range nor a list of choices."""
    try:
        return SPACE.validate_python(read_config(path))
    except ValidationError as error:
        name = error.errors()[0]["loc"][0]
        advice = "give `{low: …, high: …}` with numbers, `log: true` for rates, or a list of choices"
        raise DataError(path, None, f"{name} is neither a range nor choices", advice) from error


def around(space: Space, options: Mapping[str, Any]) -> Space:
    """The same with the recipe's own values in it: the first trial is the recipe.

    Raises:
        RunError: a range is empty, holds no logarithm, or the recipe has no number to compare it with.
    """
    found: Space = {}
    for name, wanted in space.items():
        value = value_of(options, name)
        if isinstance(wanted, list):
            found[name] = wanted if value in wanted else [value, *wanted]
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise RunError(f"--space: {name} is {value} in the recipe, where a range needs a number: give it one there")
        elif wanted.low > wanted.high or (wanted.log and min(wanted.low, value) <= 0):
            problem = f"from {shown(wanted.low)} to {shown(wanted.high)}, and {shown(value)} in the recipe"
            raise RunError(f"--space: {name} is {problem}: low must not exceed high, nor any be 0 with `log: true`")
        else:
            found[name] = Range(low=min(wanted.low, value), high=max(wanted.high, value), log=wanted.log)
    return found


def value_of(options: Mapping[str, Any], name: str) -> Any:
    """What the options of ``fit`` say of ``section.name``; the rate of a head without one is that of the rest."""
    value: Any = options
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return options["model"]["learning_rate"] if value is None and name == _HEAD_RATE else value


def draw(space: Space, trial: Trial) -> dict[str, Value]:
    """What a trial tries."""
    values: dict[str, Value] = {}
    for name, wanted in space.items():
        if isinstance(wanted, list):
            values[name] = trial.suggest_categorical(name, wanted)
        elif isinstance(wanted.low, int) and isinstance(wanted.high, int):
            values[name] = trial.suggest_int(name, wanted.low, wanted.high, log=wanted.log)
        else:
            values[name] = trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
    return values


def as_flag(name: str, value: Value) -> str:
    """A value as an option of a command line."""
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def shown(value: Value) -> str:
    """A value in few characters.

    >>> shown(3.1234e-05), shown(0.25), shown(None), shown(4)
    ('3.12e-05', '0.25', 'null', '4')
    """
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
