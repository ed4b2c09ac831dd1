"""A configuration that a run saved is taken by the commands that resume or evaluate it."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import yaml

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
