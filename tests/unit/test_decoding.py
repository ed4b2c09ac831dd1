"""Logits to labels of words: at first subwords, in float32, and a label for what the model cannot see."""

from __future__ import annotations

import pytest
import torch

from ner_module.model.module import decode_words


def test_the_label_at_the_first_subword_over_rows_worked_by_hand() -> None:
    # Two rows of three subwords, three labels; the best label of each place is written in.
    best = torch.tensor([[0, 1, 2], [2, 2, 0]])
    logits = torch.nn.functional.one_hot(best.flatten(), 3).float() * 10
    positions = torch.tensor([[1, 2, 4], [5, -1, -1]])
    words = decode_words(logits, positions, fallback_id=1)
    assert words.label_ids.tolist() == [[1, 2, 2], [0, 1, 1]]
    expected = torch.tensor([10.0, 0, 0]).softmax(0)[0].item()
    assert words.scores[0].tolist() == pytest.approx([expected] * 3)
    assert words.scores[1].tolist() == pytest.approx([expected, 0, 0])


@pytest.mark.parametrize("fallback_id", [0, 3])
def test_a_word_without_subword_takes_the_outside_label_and_shifts_nothing(fallback_id: int) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    whole = decode_words(logits, torch.tensor([[1, 2, 3]]), fallback_id)
    holed = decode_words(logits, torch.tensor([[-1, 1, -1, 2, 3, -1]]), fallback_id)
    assert holed.label_ids[0, [1, 3, 4]].tolist() == whole.label_ids[0].tolist()
    assert holed.scores[0, [1, 3, 4]].tolist() == whole.scores[0].tolist()
    assert holed.label_ids[0, [0, 2, 5]].tolist() == [fallback_id] * 3
    assert holed.scores[0, [0, 2, 5]].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_probabilities_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(35, 9, generator=torch.Generator().manual_seed(1)).to(dtype) * 4
    positions = torch.arange(35).reshape(7, 5)
    words = decode_words(logits, positions, 0)
    reference = logits.float().softmax(-1).max(-1)
    assert words.scores.dtype == torch.float32
    assert torch.equal(words.scores.flatten(), reference.values)
    assert torch.equal(words.label_ids.flatten(), reference.indices)


def test_sentences_without_words() -> None:
    words = decode_words(torch.randn(4, 3), torch.full((2, 1), -1), 2)
    assert words.label_ids.tolist() == [[2], [2]]
    assert words.scores.tolist() == [[0], [0]]
