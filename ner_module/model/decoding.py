"""Logits -> one label per word. The only place where predictions of subword tokens become those of words.

Shapes: T subword tokens of all sequences, C labels, N sentences, W words of the longest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class WordPredictions(NamedTuple):
    """The chosen label of each word and its probability: both ``[N, W]``; past a sentence's end they mean nothing."""

    label_ids: Tensor
    scores: Tensor


def decode_words(logits_TC: Tensor, word_positions_NW: Tensor, fallback_id: int) -> WordPredictions:
    """Take the most probable label at each word's first subword token.

    Args:
        logits_TC: of all sequences of the sentences, one after the other.
        word_positions_NW: place of a word's first subword token among them; negative where it has none.
        fallback_id: the label of a word without subword tokens, which the model cannot see; its score is 0.
    """
    logits_NWC = logits_TC[word_positions_NW.clamp(min=0)].float()
    scores, label_ids = logits_NWC.softmax(dim=-1).max(dim=-1)
    unseen = word_positions_NW < 0
    return WordPredictions(
        torch.where(unseen, fallback_id, label_ids),
        torch.where(unseen, torch.zeros_like(scores), scores.nan_to_num(0.0)),  # a broken model has no confidence
    )
