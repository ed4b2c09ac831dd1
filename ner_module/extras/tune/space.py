"""What is searched: options of ``fit``, each with a range (``{low: 1.0e-5, high: 1.0e-4, log: true}``) or choices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ner_module.errors import DataError
from ner_module.training.saved_config import read_config

_HEAD_RATE = "model.head_learning_rate"
_ADVICE = (
    "give a list of choices, or `{low: …, high: …}` with numbers, the lower one first and with `log: true` none of "
    "them 0; a range needs a number in the recipe, too"
)


def default_space(options: Mapping[str, Any]) -> dict[str, Any]:
    """What is searched unless a file says otherwise, around the values of the recipe; as such a file has it."""
    rate, epochs = value_of(options, "model.learning_rate"), value_of(options, "trainer.max_epochs") or 0
    space = {
        "model.learning_rate": {"low": rate / 4, "high": rate * 4, "log": True},
        _HEAD_RATE: {"low": 1e-4, "high": 1e-2, "log": True},
        "model.warmup_ratio": {"low": 0.0, "high": 0.3},
        "model.dropout": [None, 0.0, 0.2],
        "model.decoding": ["viterbi", "greedy"],
        "data.batching": ["random", "grouped"],
    }
    if epochs > 0 and value_of(options, "trainer.max_steps") == -1:
        space["trainer.max_epochs"] = {"low": (epochs + 1) // 2, "high": 2 * epochs}
    return space


def read_space(path: Path, options: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The space in a YAML file, with the recipe's own values in it: the first trial is the recipe.

    Raises:
        DataError: an entry is neither a range nor a list of choices.
    """
    space: dict[str, BaseDistribution] = {}
    for name, wanted in read_config(path).items():
        value = value_of(options, name)
        try:
            if isinstance(wanted, list):
                space[name] = CategoricalDistribution(list(dict.fromkeys([value, *wanted])))
                continue
            # YAML takes 1e-5 for a text.
            low, high = (float(end) if isinstance(end, str) else end for end in (wanted["low"], wanted["high"]))
            kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
            kind(**wanted | {"low": low, "high": high})  # whether it is a range without the recipe's value, too
            space[name] = kind(**wanted | {"low": min(low, value), "high": max(high, value)})
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{name}, in the recipe {shown(value)}, has neither a range nor choices"
            raise DataError(path, None, problem, _ADVICE) from error
    return space


def value_of(options: Mapping[str, Any], name: str) -> Any:
    """What the options of ``fit`` say of ``section.name``; the rate of a head without one is that of the rest."""
    value: Any = options
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return options["model"]["learning_rate"] if value is None and name == _HEAD_RATE else value


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Values as options of a command line."""
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]


def shown(value: Any) -> str:
    """A value in few characters.

    >>> shown(3.1234e-05), shown(0.25), shown(None), shown(4)
    ('3.12e-05', '0.25', 'null', '4')
    """
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
