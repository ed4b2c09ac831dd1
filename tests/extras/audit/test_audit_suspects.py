"""Ranking annotations: which words make a case, and which sentences are judged together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_corpora import column_file

from ner_module.data.datamodule import NERDataModule
from ner_module.data.preparation import ReadingOptions, store_files
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.suspects import cases, choose_folds, kind_of, rank_suspects
from ner_module.model.module import NERModule
from ner_module.tagging import Span


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ([], [], []),
        ([(0, 2)], [], [(0, 2, 1, 0)]),
        ([(0, 2)], [(2, 3)], [(0, 2, 1, 0), (2, 3, 0, 1)]),  # neighbours do not overlap
        ([(0, 2), (3, 5)], [(1, 4)], [(0, 5, 2, 1)]),  # one prediction ties two annotations together
        ([(0, 1)], [(0, 1)], [(0, 1, 1, 1)]),
        ([(1, 4)], [(0, 2), (3, 6)], [(0, 6, 1, 2)]),
    ],
)
def test_cases_are_groups_of_overlapping_entities(
    gold: list[tuple[int, int]], predicted: list[tuple[int, int]], expected: list[tuple[int, int, int, int]]
) -> None:
    found = cases([Span(*span, "X") for span in gold], [Span(*span, "X") for span in predicted])
    assert [(start, end, len(a), len(b)) for start, end, a, b in found] == expected


def test_kinds() -> None:
    one, longer, other = Span(0, 1, "X"), Span(0, 2, "X"), Span(0, 1, "Y")
    assert kind_of([one], [one]) == "agreed"
    assert kind_of([one], []) == "only annotated"
    assert kind_of([one], [longer]) == "boundary"
    assert kind_of([one], [other]) == "type"


def stored(folder: Path, sentences: list[str]) -> StoredSplit:
    path = column_file(folder / "train.conll", sentences)
    return store_files(folder / "cache", [path], ReadingOptions())


def test_folds_hold_each_sentence_once_and_equal_ones_together(tmp_path: Path) -> None:
    split = stored(tmp_path, [f"w{number % 7}/O" for number in range(30)])
    parts = choose_folds(split, 3, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    assert all(len(part) for part in parts)
    for part in parts:
        words = {int(index) % 7 for index in part}
        assert all(number in part for number in range(30) if number % 7 in words)
    assert [part.tolist() for part in choose_folds(split, 3, seed=1)] == [part.tolist() for part in parts]
    with pytest.raises(DataError, match="7 different sentences"):
        choose_folds(split, 8, seed=1)


def test_the_score_is_the_lowest_probability_of_a_gold_tag(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    """Against the transformers model called on its own, one unpadded sentence at a time."""
    path = column_file(tmp_path / "train.conll", ["Anna/B-PER Lee/I-PER sleeps/O", "Rome/B-PER", "no/O name/O"] * 8)
    data = NERDataModule(str(tiny_model()), train_file=str(path), cache_dir=str(tmp_path), validation_fraction=0.01)
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    module = NERModule(str(tiny_model()))
    module.set_labels(data.labels)
    module.build()
    with torch.no_grad():
        module.model.classifier.weight.mul_(30)  # not all the same
    suspects = rank_suspects(data, module, "train", np.arange(3))
    module.cpu()
    assert {suspect["sentence"] for suspect in suspects if suspect["gold"]} == {0, 1}
    tokens = [["Anna", "Lee", "sleeps"], ["Rome"], ["no", "name"]]
    gold = [["B-PER", "I-PER", "O"], ["B-PER"], ["O", "O"]]
    for suspect in suspects:
        encoded = data.tokenizer(tokens[suspect["sentence"]], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            logits = module.model.eval()(**{k: encoded[k] for k in ("input_ids", "attention_mask")}).logits[0]
        firsts = [encoded.word_ids().index(word) for word in range(len(tokens[suspect["sentence"]]))]
        expected = min(
            float(logits[firsts[word]].softmax(-1)[data.labels.names.index(gold[suspect["sentence"]][word])])
            for word in range(suspect["start"], suspect["end"])
        )
        assert suspect["score"] == pytest.approx(expected, abs=1e-5)
        assert suspect["line"] == [1, 5, 7][suspect["sentence"]] + suspect["start"]
