"""What is said of a gain, from runs whose scores are known by construction."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from ner_module.extras.tune.comparison import gain


def _run(folder: Path, found: int, word: str = "Ada") -> Path:
    """A run that found so many of 100 entities, one a sentence, and predicted no other."""
    (folder / "predictions").mkdir(parents=True)
    lines = [
        {"tokens": [word, str(number)], "gold_tags": ["B-PER", "O"], "predicted_tags": [tag, "O"]}
        for number, tag in enumerate(["B-PER"] * found + ["O"] * (100 - found))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "predictions" / "validation.jsonl").write_text(text, encoding="utf-8")
    f1 = 2 * found / (100 + found)
    content = {"validate": {"val/f1": f1}, "scheme": "iob2", "outside_label": "O"}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _gain(tmp_path: Path, ours: list[int], theirs: list[int]) -> str:
    sides = {"a": ours, "b": theirs}
    runs = [[_run(tmp_path / f"{name}{n}", found) for n, found in enumerate(side)] for name, side in sides.items()]
    return gain(*runs)


def test_a_clear_gain(tmp_path: Path) -> None:
    said = _gain(tmp_path, [90, 92, 91], [50, 52, 51])
    # Means of 2 found / (100 + found): .9529 and .6755.
    assert "+0.2774 F1 on validation data: 0.9529, the recipe as it is 0.6755" in said
    assert max(map(len, said.splitlines())) <= 80
    low, high = map(float, re.search(r"interval ([+-][\d.]+) to ([+-][\d.]+)", said).groups())
    assert 0 < low < 0.2774 < high
    assert "more than chance" in said
    assert "with 3 seeds" in said


def test_a_gain_within_noise(tmp_path: Path) -> None:
    assert "it may be chance" in _gain(tmp_path, [60, 52, 58], [50, 59, 55])


def test_one_seed_says_nothing_about_seeds(tmp_path: Path) -> None:
    said = _gain(tmp_path, [90], [50])
    assert "no p over seeds" in said
    assert "it may be chance" in said


def test_no_gain(tmp_path: Path) -> None:
    assert "no gain: stay with the recipe as it is" in _gain(tmp_path, [50, 51], [90, 91])


def test_sentences_that_differ_by_seed_are_not_paired(tmp_path: Path) -> None:
    runs = [
        _run(tmp_path / str(n), found, word)
        for n, (found, word) in enumerate([(90, "a"), (91, "b"), (50, "a"), (51, "b")])
    ]
    said = gain(runs[:2], runs[2:])
    assert "over sentences" not in said
    assert "held out anew with each seed" in said
    assert "more than chance" in said
