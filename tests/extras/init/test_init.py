"""The recipe that `init` prints is one that `fit` takes, and it fits the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


def _corpus(path: Path, sentences: int, entity: str = "Rome") -> Path:
    path.write_text(
        "".join(f"{entity} B-LOC\nis O\nbig{number} O\n\n" for number in range(sentences)), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("sentences", "entity", "model", "epochs"),
    [
        (30, "Rome", "google-bert/bert-base-cased", 50),
        (300, "rome", "google-bert/bert-base-uncased", 20),
        (6_000, "東京", "FacebookAI/xlm-roberta-base", 3),
    ],
)
def test_it_fits_the_data(
    tmp_path: Path, run_main: Callable[..., Any], sentences: int, entity: str, model: str, epochs: int
) -> None:
    outcome = run_main("init", _corpus(tmp_path / "my: train.conll", sentences, entity))
    found = yaml.safe_load(outcome.out)
    assert found["model"]["model_name_or_path"] == model
    assert found["trainer"]["max_epochs"] == epochs
    assert found["data"]["train_file"] == str(tmp_path / "my: train.conll")
    assert f"{sentences:,} training sentences" in outcome.out
    assert f"LOC {sentences:,}" in outcome.out


def test_fit_takes_it(tmp_path: Path, run_main: Callable[..., Any], tiny_model: Callable[..., Path]) -> None:
    train, test = _corpus(tmp_path / "train.conll", 40), _corpus(tmp_path / "test.conll", 20)
    outcome = run_main("init", train, "--test_file", test, "--model_name_or_path", tiny_model())
    (tmp_path / "my.yaml").write_text(outcome.out, encoding="utf-8")
    run_main("fit", "--config", "my.yaml", "--run_dir", "run", "--trainer.max_steps", "2")
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert saved["data"]["test_file"] == str(test)
    assert saved["model"]["head_learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("microsoft/MiniLM-L12-H384-uncased", 1e-4),
        ("google/electra-small-discriminator", 1e-4),
        ("answerdotai/ModernBERT-base", 2e-5),
        ("FacebookAI/xlm-roberta-large", 1e-5),
    ],
)
def test_the_learning_rate_fits_the_size(tmp_path: Path, run_main: Callable[..., Any], model: str, rate: float) -> None:
    outcome = run_main("init", _corpus(tmp_path / "train.conll", 40), "--model_name_or_path", model)
    assert yaml.safe_load(outcome.out)["model"]["learning_rate"] == rate


def test_the_size_is_that_of_the_config(tmp_path: Path, run_main: Callable[..., Any]) -> None:
    folder = tmp_path / "my-small-data" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"hidden_size": 1024}', encoding="utf-8")
    outcome = run_main("init", _corpus(tmp_path / "train.conll", 40), "--model_name_or_path", folder)
    assert yaml.safe_load(outcome.out)["model"]["learning_rate"] == 1e-5


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, run_main: Callable[..., Any]) -> None:
    outcome = run_main("init", tmp_path / "nowhere.conll", check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1
