"""A validation split made from training data: whole documents, the asked share, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ner_module.data.preparation import ReadingOptions, choose_held_out, store_files
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError

Store = Callable[..., StoredSplit]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """``store([3, 2])`` stores two documents of three and two sentences; ``store(5)`` five sentences."""

    def make(sizes: list[int] | int, separator: str = "-DOCSTART- O\n\n") -> StoredSplit:
        path = tmp_path / "train.conll"
        if isinstance(sizes, int):
            text = "".join(f"word{index} O\n\n" for index in range(sizes))
        else:
            text = "".join(
                separator + "".join(f"d{document}s{index} O\n\n" for index in range(size))
                for document, size in enumerate(sizes)
            )
        path.write_text(text, encoding="utf-8")
        return store_files(tmp_path / "cache", [path], ReadingOptions())

    return make


@pytest.mark.parametrize(
    ("sentences", "fraction", "expected"),
    [(100, 0.1, 10), (101, 0.1, 11), (15, 0.1, 2), (2, 0.1, 1), (3, 0.5, 2), (9, 0.99, None), (1, 0.1, None)],
)
def test_single_sentences_where_documents_are_unknown(
    sentences: int, fraction: float, expected: int | None, store: Store
) -> None:
    stored = store(sentences)
    if expected is None:
        with pytest.raises(DataError, match=rf"train.conll: it holds {sentences} sentences?, too few to hold some out"):
            choose_held_out(stored, fraction, seed=0)
        return
    chosen = choose_held_out(stored, fraction, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == expected
    assert np.array_equal(chosen, np.sort(chosen))
    assert 0 <= chosen.min() <= chosen.max() < sentences


def test_whole_documents_where_there_are_ten(store: Store) -> None:
    sizes = [1, 9, 3, 4, 5, 2, 7, 8, 3, 6, 1, 1]
    stored = store(sizes)
    assert len(stored) == sum(sizes) == 50
    document_of = np.repeat(np.arange(len(sizes)), sizes)
    seen = set()
    for seed in range(20):
        chosen = choose_held_out(stored, 0.2, seed)
        documents = set(document_of[chosen].tolist())
        assert len(chosen) == sum(sizes[document] for document in documents), "no document is torn apart"
        # The share is reached, and would not be without the last document.
        assert len(chosen) >= 10
        assert any(len(chosen) - sizes[document] < 10 for document in documents)
        seen.add(tuple(chosen.tolist()))
    assert len(seen) > 10


def test_single_sentences_where_documents_are_few(store: Store) -> None:
    stored = store([20] * 9)
    chosen = choose_held_out(stored, 0.1, seed=3)
    assert len(chosen) == 18
    assert len(set((chosen // 20).tolist())) > 1
    assert len(choose_held_out(store([20] * 10), 0.1, seed=3)) == 20


@pytest.mark.parametrize("sizes", [60, [5] * 12])
def test_the_seed_decides_and_nothing_else(sizes: list[int] | int, store: Store) -> None:
    stored = store(sizes)
    state = np.random.get_state()[1].tolist()
    chosen = choose_held_out(stored, 0.2, seed=1).tolist()
    np.random.seed(5)
    assert choose_held_out(stored, 0.2, seed=1).tolist() == chosen
    assert choose_held_out(stored, 0.2, seed=2).tolist() != chosen
    np.random.seed(5)
    after = np.random.get_state()[1].tolist()
    choose_held_out(stored, 0.2, seed=1)
    assert np.random.get_state()[1].tolist() == after
    assert state is not None


def test_one_large_document_can_leave_nothing_to_train_on(store: Store) -> None:
    # Eleven documents, the share asked for is passed only by the last one.
    stored = store([1] * 11)
    with pytest.raises(DataError, match=r"give --data.validation_file"):
        choose_held_out(stored, 0.95, seed=0)
