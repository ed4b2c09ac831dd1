"""A configuration that a run saved is taken by the commands that resume or evaluate it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import pytest
import yaml

from ner_module.errors import RunError
from ner_module.training.saved_config import _CLASSES, plain_config

_OPTIONS = {"loggers": "logger", "callbacks": "callbacks", "strategies": "strategy"}


@pytest.mark.parametrize("name", sorted(_CLASSES))
def test_the_defaults_of_each_known_class_are_taken(name: str) -> None:
    """`config.yaml` holds all arguments of a class, those that were not given too."""
    module, _, kind = name.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), kind)).parameters.values()
    plain = {each.name: each.default for each in parameters if isinstance(each.default, (str, float, int))}
    plain |= {"save_dir": "."} if "save_dir" in plain else {}  # as `save_run.py` writes it
    saved = {_OPTIONS[module.rpartition(".")[2]]: {"class_path": name, "init_args": plain}}
    text = plain_config(yaml.safe_dump({"trainer": saved}), "config.yaml", keep_all=True)
    assert yaml.safe_load(text)["trainer"] == saved


EVIL_OPTIONS: dict[str, Any] = {
    "a callback of the library": {
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                "init_args": {"setup": {"class_path": "executed.Executed"}},
            }
        ]
    },
    "a callback of its own": {"callbacks": [{"class_path": "executed.Executed"}]},
    "a callback as text": {"callbacks": ["executed.Executed"]},
    "a single class": {"callbacks": {"class_path": "executed.Executed"}},
    "an argument of a known class": {
        "logger": {
            "class_path": "lightning.pytorch.loggers.WandbLogger",
            "init_args": {"name": {"class_path": "executed.Executed"}},
        }
    },
    "an unknown argument": {
        "logger": {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": "/"}}
    },
    "a strategy": {"strategy": "executed.Executed"},
    "a plugin": {"plugins": [{"class_path": "executed.Executed"}]},
    "a profiler": {"profiler": {"class_path": "executed.Executed"}},
    "callbacks that are added": {"callbacks+": ["executed.Executed"]},
    "a class by a dotted name": {"logger.class_path": "executed.Executed"},
    "a class in a plain option": {"max_epochs": {"class_path": "executed.Executed"}},
}


@pytest.mark.parametrize("options", EVIL_OPTIONS.values(), ids=EVIL_OPTIONS)
def test_no_other_class_is_taken(options: dict[str, Any]) -> None:
    text = yaml.safe_dump({"trainer": {"max_steps": 3, **options}})
    assert yaml.safe_load(plain_config(text, "config.yaml", keep_all=False))["trainer"] == {"max_steps": 3}
    with pytest.raises(RunError, match=rf"config.yaml: trainer.{re.escape(next(iter(options)))} .* FILE"):
        plain_config(text, "config.yaml", keep_all=True)
