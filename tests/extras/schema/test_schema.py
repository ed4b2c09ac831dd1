"""The schema takes every shipped configuration, and nothing that `fit` refuses as unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    from ner_module.extras.schema import schema

    found = json.loads(json.dumps(schema()))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path, validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"modle": {}},
        {"model": {"learning_rat": 1e-5}},
        {"model": {"learning_rate": "fast"}},
        {"data": {"batching": "sorted"}},
        {"trainer": {"max_epoch": 3}},
        {"seed_everything": "x"},
    ],
)
def test_what_no_configuration_may_hold_is_invalid(wrong: dict[str, Any], validator: Draft202012Validator) -> None:
    assert list(validator.iter_errors(wrong))


def test_options_are_explained(validator: Draft202012Validator, run_main: Callable[..., Any]) -> None:
    model = validator.schema["properties"]["model"]["properties"]
    assert "2e-5 to 5e-5" in model["learning_rate"]["description"]
    assert model["learning_rate"]["default"] == pytest.approx(5e-5, rel=1)
    assert json.loads(run_main("schema").out) == validator.schema
