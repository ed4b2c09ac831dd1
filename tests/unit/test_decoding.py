"""Logits to labels of words: at first subwords, in float32, a label for what the model cannot see, legal sequences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from ner_module.model.decoding import decode_words
from ner_module.tagging import PREFIXES, LabelSet, complete_label_set, illegal_words, join_tag

FLAT = LabelSet(("a", "b", "c", "d", "e", "f", "g", "h", "i"), "flat", None)


def flat(count: int, outside: int) -> LabelSet:
    """Flat labels, one of them outside."""
    return LabelSet(FLAT.names[:count], "flat", FLAT.names[outside])


def label_set(scheme: str, *types: str) -> LabelSet:
    """A closed inventory; the outside label is not the first."""
    tags = [join_tag(prefix, name) for name in types for prefix in PREFIXES[scheme]]
    return LabelSet(tuple(complete_label_set([tags[0], "O", *tags[1:]], scheme)), scheme)


def test_the_label_at_the_first_subword_over_rows_worked_by_hand() -> None:
    # Two rows of three subwords, three labels; the best label of each place is written in.
    best = torch.tensor([[0, 1, 2], [2, 2, 0]])
    logits = torch.nn.functional.one_hot(best.flatten(), 3).float() * 10
    positions = torch.tensor([[1, 2, 4], [5, -1, -1]])
    words = decode_words(logits, positions, flat(3, 1), "viterbi")
    assert words.label_ids.tolist() == [[1, 2, 2], [0, 1, 1]]
    expected = torch.tensor([10.0, 0, 0]).softmax(0)[0].item()
    assert words.scores[0].tolist() == pytest.approx([expected] * 3)
    assert words.scores[1].tolist() == pytest.approx([expected, 0, 0])


@pytest.mark.parametrize("fallback_id", [0, 3])
def test_a_word_without_subword_takes_the_outside_label_and_shifts_nothing(fallback_id: int) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    whole = decode_words(logits, torch.tensor([[1, 2, 3]]), flat(4, fallback_id), "viterbi")
    holed = decode_words(logits, torch.tensor([[-1, 1, -1, 2, 3, -1]]), flat(4, fallback_id), "viterbi")
    assert holed.label_ids[0, [1, 3, 4]].tolist() == whole.label_ids[0].tolist()
    assert holed.scores[0, [1, 3, 4]].tolist() == whole.scores[0].tolist()
    assert holed.label_ids[0, [0, 2, 5]].tolist() == [fallback_id] * 3
    assert holed.scores[0, [0, 2, 5]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_probabilities_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(35, 9, generator=torch.Generator().manual_seed(1)).to(dtype) * 4
    positions = torch.arange(35).reshape(7, 5)
    words = decode_words(logits, positions, label_set("bioes", "A", "B"), "greedy")
    reference = logits.float().softmax(-1).max(-1)
    assert words.scores.dtype == torch.float32
    assert torch.equal(words.scores.flatten(), reference.values)
    assert torch.equal(words.label_ids.flatten(), reference.indices)


@pytest.mark.parametrize("decoding", ["greedy", "viterbi"])
@pytest.mark.parametrize("labels", [flat(3, 2), LabelSet(("B-A", "I-A", "O"))])
def test_sentences_without_words(labels: LabelSet, decoding: Any) -> None:
    words = decode_words(torch.randn(4, 3), torch.full((2, 1), -1), labels, decoding)
    assert words.label_ids.tolist() == [[2], [2]]
    assert words.scores.tolist() == [[0], [0]]
    none = decode_words(torch.randn(0, 3), torch.full((0, 1), -1), labels, decoding)
    assert none.label_ids.shape == none.scores.shape == (0, 1)


@pytest.mark.parametrize("scheme", [scheme for scheme in PREFIXES if scheme != "flat"])
def test_viterbi_is_the_best_of_all_legal_sequences(scheme: str) -> None:
    # Sentences of 4, 3, 2 and 1 words, and one with a word that the model cannot see, by trying every sequence.
    labels = label_set(scheme, "A", "B")
    logits = torch.randn(60, len(labels.names), generator=torch.Generator().manual_seed(0)) * 3
    positions = torch.full((10, 4), -1)
    for row in range(10):
        seen = [2] if row % 5 == 4 else []
        for word in range(4 if seen else 4 - row % 5):
            if word not in seen:
                positions[row, word] = (7 * row + word) % 60
    words = decode_words(logits, positions, labels, "viterbi")
    for row in range(10):
        length = 4 if row % 5 == 4 else 4 - row % 5
        probabilities = logits[positions[row, :length].clamp(min=0)].double().softmax(-1)
        best: tuple[float, tuple[int, ...]] = (0.0, ())
        for ids in itertools.product(range(len(labels.names)), repeat=length):
            if illegal_words([labels.names[index] for index in ids], scheme):
                continue
            chosen = list(zip(ids, positions[row].tolist(), probabilities, strict=False))
            if all(at >= 0 or index == labels.outside_id for index, at, _ in chosen):
                best = max(best, (math.prod(float(p[index]) for index, at, p in chosen if at >= 0), ids))
        assert words.label_ids[row, :length].tolist() == list(best[1])
        own = probabilities[range(length), best[1]].float()
        torch.testing.assert_close(words.scores[row, :length], torch.where(positions[row, :length] < 0, 0.0, own))


@pytest.mark.parametrize("decoding", ["greedy", "viterbi"])
def test_types_that_are_not_annotated_count_as_outside(decoding: Any) -> None:
    # As of a model without them, in which what they have is the outside label's.
    labels, known = LabelSet(("O", "B-A", "I-A", "B-B", "I-B")), LabelSet(("O", "B-A", "I-A"))
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 3
    positions = torch.arange(60).view(12, 5)
    positions[::4, 2] = -1
    merged = torch.stack([logits[:, [0, 3, 4]].exp().sum(1).log(), logits[:, 1], logits[:, 2]], 1)
    alone = decode_words(merged, positions, known, decoding)
    lacks = torch.zeros(12, 5, dtype=torch.bool)
    lacks[:6, 3:] = True
    found = decode_words(logits, positions, labels, decoding, unannotated_NC=lacks)
    everything = decode_words(logits, positions, labels, decoding)
    for mine, short, whole in zip(found, alone, everything, strict=True):
        torch.testing.assert_close(mine[:6][..., :3] if mine.ndim > 2 else mine[:6], short[:6])
        assert torch.equal(mine[6:], whole[6:])
    assert everything.label_ids[:6].ge(3).any()
    assert not found.probabilities[:6, :, 3:].any()


@pytest.mark.parametrize("size", [1.0, 300.0, float("inf")])
@pytest.mark.parametrize("scheme", ["iob1", "iob2", "ioe1", "ioe2", "bioes", "bilou"])
def test_no_sequence_is_illegal_whatever_the_model_says(scheme: str, size: float) -> None:
    labels = label_set(scheme, "A", "B", "C")
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(400, len(labels.names), generator=generator) * min(size, 1e4)
    if size == float("inf"):  # a broken model
        logits[::7, 1] = float("nan")
        logits[::5, 2] = float("inf")
    positions = torch.randint(-1, 400, (50, 30), generator=generator)
    words = decode_words(logits, positions, labels, "viterbi")
    for ids in words.label_ids.tolist():
        assert illegal_words([labels.names[index] for index in ids], scheme) == []
    assert ((words.scores >= 0) & (words.scores <= 1 + 1e-6)).all()
    assert words.scores[positions < 0].eq(0).all()


def test_a_legal_greedy_sequence_is_the_best() -> None:
    labels = label_set("iob2", "A")
    logits = torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 0, 2, 2]), 3) * 4.0
    greedy, best = (decode_words(logits, torch.arange(6)[None], labels, how) for how in ("greedy", "viterbi"))
    assert torch.equal(greedy.label_ids, best.label_ids)
    # Without the outside label no sequence is known to be legal.
    bare = LabelSet(("I-A", "B-A"))
    found = [decode_words(logits[:, :2], torch.arange(6)[None], bare, how) for how in ("greedy", "viterbi")]
    assert torch.equal(found[0].label_ids, found[1].label_ids)
