"""What is said of a gain, from runs whose scores are known by construction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="pip install -e '.[tune]'")

from ner_module.extras.tune.search import Search, compare_recipes  # noqa: E402


def _run(folder: Path, found: int, word: str) -> None:
    """A run that found so many of 100 entities, one a sentence, and predicted no other."""
    (folder / "predictions").mkdir(parents=True)
    lines = [
        {"tokens": [word, str(number)], "gold_tags": ["B-PER", "O"], "predicted_tags": [tag, "O"]}
        for number, tag in enumerate(["B-PER"] * found + ["O"] * (100 - found))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "predictions" / "validation.jsonl").write_text(text, encoding="utf-8")
    content = {"validate": {"val/f1": 2 * found / (100 + found)}, "scheme": "iob2", "outside_label": "O"}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(("words", "is_paired"), [("aaa", True), ("abc", False)])
def test_the_gain_and_how_sure_it_is(
    words: str, is_paired: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``abc``: each seed has held out sentences of its own."""
    search = Search(tmp_path / "s", ["--model.model_name_or_path", "m"], None)
    for trial, scores in (("0000", (50, 52, 51)), ("0007", (90, 92, 91))):
        for seed, (found, word) in enumerate(zip(scores, words, strict=True), 43):
            _run(search.folder / "seeds" / f"{trial}-seed-{seed}", found, word)
    best = optuna.trial.create_trial(value=1.0)
    best.number = 7
    compare_recipes(search, best, 3, None)
    said = capsys.readouterr().out
    # The mean of 2 found / (100 + found) is .9529 for one and .6755 for the other.
    assert "gain       +0.2774 F1 on validation data, p 0.0000 over seeds" in said
    assert ("paired bootstrap" in said) is is_paired
    assert ("no test over sentences" in said) is not is_paired


def test_no_time_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = Search(tmp_path / "s", ["--model.model_name_or_path", "m"], None)
    best = optuna.trial.create_trial(value=1.0)
    best.number = 7
    compare_recipes(search, best, 3, 0.0)
    assert "gain       not measured" in capsys.readouterr().out
