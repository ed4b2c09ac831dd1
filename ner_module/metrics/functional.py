"""Entity counts and scores from label ids, as tensor operations without loops over words, rows or types.

The rule is that of :mod:`ner_module.tagging`, encoded as two bits and a type per label. It depends on two adjacent
words: the second *continues* the span of the first if it is tagged ``I-`` or ``E-``, the first is tagged ``B-`` or
``I-``, and both have the same type. Any other word that is not outside begins a span. On IOB tags the results equal
those of the CoNLL-2000 script; on IOBES that script differs, because it does not know ``S-``.

**Masked words** (:data:`~ner_module.tagging.IGNORE_INDEX` in the target) are removed: their neighbours become adjacent.
So a row may contain subword tokens of which only the first per word counts, and padding anywhere.

Shapes: K tag sequences of the same words (prediction and gold), N rows, W words of the longest row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ner_module.errors import SchemeError
from ner_module.tagging import IGNORE_INDEX, OUTSIDE, check_scheme, split_tag

# The bits of a label: a word with it may continue the span before; a span may continue after a word with it.
_CONTINUES, _OPEN = 1, 2
_BITS = {"B": _OPEN, "I": _OPEN | _CONTINUES, "E": _CONTINUES, "S": 0, "L": _CONTINUES, "U": 0}

# A label's code is its type's index + 1, shifted by this many bits, plus its bits; 0 is outside.
_TYPE_SHIFT = 2


class SpanRules(NamedTuple):
    """A label inventory in tensor form; built by :func:`span_rules`."""

    entity_types: tuple[str, ...]
    """The type names by index."""
    codes: Tensor
    """int32 of shape ``[labels]``: type index and bits of each label id in one integer."""


class Scores(NamedTuple):
    """Precision, recall and F1, as floats."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def span_rules(label_names: Sequence[str], scheme: str = "iob2", outside_label: str | None = OUTSIDE) -> SpanRules:
    """Compile a label inventory for :func:`span_counts`.

    ``flat`` labels except ``outside_label`` are read as if prefixed by ``S-``.

    Raises:
        SchemeError: an unknown scheme, a repeated label, or a label without a prefix.

    >>> span_rules(["O", "B-PER", "I-PER", "B-creative-work", "I-creative-work"]).entity_types
    ('PER', 'creative-work')
    """
    check_scheme(scheme)
    repeated = [name for name, count in Counter(label_names).items() if count > 1]
    if repeated:
        raise SchemeError(f"the label {repeated[0]!r} is listed twice; each label needs one id")
    if scheme == "flat":
        parts = [(OUTSIDE, "") if name == outside_label else ("S", name) for name in label_names]
    else:
        parts = [split_tag(name) for name in label_names]
    types = tuple(dict.fromkeys(name for prefix, name in parts if prefix != OUTSIDE))
    index = {name: number for number, name in enumerate(types, 1)}
    codes = [0 if prefix == OUTSIDE else (index[name] << _TYPE_SHIFT) + _BITS[prefix] for prefix, name in parts]
    return SpanRules(types, torch.tensor(codes, dtype=torch.int32))


def span_counts(preds: Tensor, target: Tensor, rules: SpanRules) -> tuple[Tensor, Tensor, Tensor]:
    """Count agreeing (same row, words and type), predicted and gold spans of a batch, without waiting for the device.

    Label ids are ``[N, W]``; ``preds`` is ignored where ``target`` masks. The rules are on the same device.

    Returns:
        True positives, predicted and gold spans by entity type: int64 of shape ``[types]`` each.

    Raises:
        ValueError: wrong shapes or types; on CPU also a label id outside the inventory.

    >>> rules = span_rules(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    >>> counts = span_counts(torch.tensor([[1, 2, 0, 3]]), torch.tensor([[1, 2, 0, 1]]), rules)
    >>> [count.tolist() for count in counts]
    [[1, 0], [1, 1], [2, 0]]
    """
    if target.ndim != 2 or preds.shape != target.shape:
        raise ValueError(
            f"label ids and target must have one shape [rows, words], not {list(preds.shape)} and {list(target.shape)}"
        )
    for ids in (preds, target):
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"label ids must be integers, not {ids.dtype}")
    entity_type, start, closes = _read([preds, target], target != IGNORE_INDEX, rules)
    agrees = closes[0] & closes[1] & (start[0] == start[1]) & (entity_type[0] == entity_type[1])

    def count(which: Tensor, types: Tensor) -> Tensor:
        histogram = types.new_zeros(len(rules.entity_types) + 1, dtype=torch.int64)
        return histogram.index_add_(0, types.flatten(), which.flatten().long())[1:]

    return count(agrees, entity_type[1]), count(closes[0], entity_type[0]), count(closes[1], entity_type[1])


def scores(true_positives: Tensor, num_predicted: Tensor, num_gold: Tensor) -> Scores:
    """Precision, recall and F1 from counts of any common shape; 0 if a denominator is 0, as in seqeval."""
    # If a denominator is 0, so is the numerator.
    return Scores(
        true_positives / num_predicted.clamp(min=1),
        true_positives / num_gold.clamp(min=1),
        2 * true_positives / (num_predicted + num_gold).clamp(min=1),
    )


def _read(label_ids: Sequence[Tensor], mask: Tensor, rules: SpanRules) -> tuple[Tensor, Tensor, Tensor]:
    """Apply the rule to every pair of adjacent words in K tag sequences ``[N, W]`` under one mask.

    A word starts a *segment* unless it continues the previous one; a segment is a span unless it is an outside word.

    Returns:
        For each word, with masked words moved to the end of their row, ``[K, N, W]`` each: its type, from 1, or 0 for
        outside; the start of its segment; whether a span ends with it.
    """
    order = (~mask).int().argsort(dim=1, stable=True)
    is_word = mask.gather(1, order)
    ids_KNW = torch.stack([ids.long().gather(1, order).masked_fill(~is_word, 0) for ids in label_ids])
    try:
        codes_KNW = rules.codes.index_select(0, ids_KNW.flatten()).view_as(ids_KNW) * is_word
    except IndexError as error:
        raise ValueError(
            f"a label id is not in the inventory of {len(rules.codes)} labels (ids 0 to {len(rules.codes) - 1}, or "
            f"{IGNORE_INDEX} in the target for what is no word)"
        ) from error
    # Pairs of adjacent words, with outside words before the first and after the last.
    codes = F.pad(codes_KNW, (1, 1))
    before, after = codes[..., :-1], codes[..., 1:]
    same_type = before >> _TYPE_SHIFT == after >> _TYPE_SHIFT
    begins = ~(same_type & (before & _OPEN).bool() & (after & _CONTINUES).bool())
    # A word's segment is the last one that began: its start is the running maximum of start positions.
    positions = torch.arange(begins.shape[-1], dtype=torch.int32, device=begins.device)
    start = (positions * begins).cummax(-1).values[..., :-1]
    entity_type = codes_KNW >> _TYPE_SHIFT
    return entity_type, start, begins[..., 1:] & (entity_type > 0)
