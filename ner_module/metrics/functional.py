"""Entity spans and their counts from label ids, as tensor operations: no loop over words, rows or types.

The order of work: rules of an inventory (:func:`~ner_module.metrics.rules.span_rules`) -> :func:`label_spans` for the
spans themselves, or :func:`span_counts` for how many there are and how many agree -> :func:`scores`. All run on the
device of their inputs. :func:`span_counts` and :func:`word_counts` never wait for the device: every shape follows from
the inputs' shapes, so a training step may call them. :func:`label_spans` has to wait, for the number of spans.

**Masked words** (:data:`~ner_module.tagging.IGNORE_INDEX` in the target, ``False`` in a mask) do not exist: they are
taken out of their row and their neighbours become adjacent, exactly as if the row had been written without them. So a
row may hold subword tokens of which only the first of each word counts, and padding anywhere. Positions of spans count
the words that remain.

Not here: the rule itself (`rules.py`), state over batches and ranks (`entity_scores.py`).

Shapes: B rows, K tag sequences of the same words (prediction and gold), N positions on the line that all rows form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ner_module.metrics.rules import CONTINUES, OPEN, TYPE_SHIFT, SpanRules
from ner_module.tagging import IGNORE_INDEX


class LabelSpans(NamedTuple):
    """The spans of a batch, ordered by row and position; each field has the shape ``[spans]``."""

    row: Tensor
    start: Tensor
    """First word, counted among the row's unmasked words."""
    end: Tensor
    """One past the last word."""
    entity_type: Tensor
    """Index into :attr:`SpanRules.entity_types`."""


class SpanCounts(NamedTuple):
    """Counts of spans by entity type; each field is int64 of shape ``[types]``."""

    true_positives: Tensor
    num_predicted: Tensor
    num_gold: Tensor


class Scores(NamedTuple):
    """Precision, recall and F1, floating point."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


class _Steps(NamedTuple):
    """What the rule makes of each step from a position to the next, ``[K, N]`` each; see :func:`_read`."""

    entity_type: Tensor
    """The type of the word before the step, counted from 1; 0 outside."""
    start: Tensor
    """The position at which the segment of that word starts."""
    closes: Tensor
    """Whether a span ends with that word."""


def label_spans(label_ids: Tensor, rules: SpanRules, mask: Tensor | None = None) -> LabelSpans:
    """The spans of each row.

    Args:
        label_ids: integers of shape ``[rows, words]``. What stands at masked words does not matter.
        rules: from :func:`span_rules`, on the same device.
        mask: booleans of the same shape, ``False`` where there is no word. Without it, the words labelled
            :data:`IGNORE_INDEX` are masked.

    Raises:
        ValueError: shapes or types that do not fit; on CPU also a label id outside the inventory.

    >>> from ner_module.metrics.rules import span_rules
    >>> rules = span_rules(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    >>> row, start, end, entity_type = label_spans(torch.tensor([[1, 2, 0, 4], [4, -100, 4, -100]]), rules)
    >>> [(r, s, e, rules.entity_types[t]) for r, s, e, t in torch.stack((row, start, end, entity_type), 1).tolist()]
    [(0, 0, 2, 'PER'), (0, 3, 4, 'LOC'), (1, 0, 2, 'LOC')]
    """
    mask = label_ids != IGNORE_INDEX if mask is None else mask.bool()
    _check(label_ids, mask, "mask")
    entity_type, start, closes = (field[0] for field in _read([label_ids], mask, rules))
    last = closes.nonzero().squeeze(1)
    first = start[last].long()
    # Before a row come the words of the rows before it, and one outside position for each of them.
    words_B = mask.sum(1)
    row_start_B = words_B.cumsum(0) - words_B + torch.arange(len(words_B), device=mask.device)
    row = torch.searchsorted(row_start_B, first, right=True) - 1
    offset = row_start_B[row]
    return LabelSpans(row, first - offset, last + 1 - offset, entity_type[last].long() - 1)


def span_counts(preds: Tensor, target: Tensor, rules: SpanRules) -> SpanCounts:
    """Count predicted, gold and agreeing spans of a batch, by type. Agreeing: same row, same words, same type.

    Args:
        preds: label ids, ``[rows, words]``; anything where ``target`` masks.
        target: label ids, ``[rows, words]``; :data:`IGNORE_INDEX` masks.
        rules: from :func:`span_rules`, on the same device.

    Raises:
        ValueError: shapes or types that do not fit; on CPU also a label id outside the inventory.

    >>> from ner_module.metrics.rules import span_rules
    >>> rules = span_rules(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    >>> counts = span_counts(torch.tensor([[1, 2, 0, 3]]), torch.tensor([[1, 2, 0, 1]]), rules)
    >>> counts.true_positives.tolist(), counts.num_predicted.tolist(), counts.num_gold.tolist()
    ([1, 0], [1, 1], [2, 0])
    """
    mask = target != IGNORE_INDEX
    _check(preds, target, "target")
    _check(target, mask, "mask")
    entity_type, start, closes = _read([preds, target], mask, rules)
    agrees = closes[0] & closes[1] & (start[0] == start[1]) & (entity_type[0] == entity_type[1])
    # One histogram for all three counts; type 0 is "no span ends here". A gold span that was found goes to the third
    # part instead of the second.
    size = len(rules.entity_types) + 1
    types = entity_type * closes
    types[1].add_(size).add_(agrees, alpha=size)
    histogram = types.new_zeros(3 * size, dtype=torch.int64)
    histogram.index_add_(0, types.flatten(), histogram.new_ones(1).expand(types.numel()))
    predicted, missed, found = histogram.view(3, size)[:, 1:]
    return SpanCounts(found, predicted, missed + found)


def word_counts(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How many unmasked words have the right label, and how many there are; two int64 scalars.

    >>> correct, total = word_counts(torch.tensor([[1, 2, 0]]), torch.tensor([[1, 0, -100]]))
    >>> int(correct), int(total)
    (1, 2)
    """
    mask = target != IGNORE_INDEX
    return ((preds == target) & mask).count_nonzero(), mask.count_nonzero()


def scores(true_positives: Tensor, num_predicted: Tensor, num_gold: Tensor) -> Scores:
    """Precision, recall and F1 (harmonic mean) from counts of any one shape; 0 where a denominator is 0, as in seqeval.

    >>> precision, recall, f1 = scores(torch.tensor([2, 0]), torch.tensor([4, 0]), torch.tensor([3, 0]))
    >>> precision, recall, f1
    (tensor([0.5000, 0.0000]), tensor([0.6667, 0.0000]), tensor([0.5714, 0.0000]))
    """
    # Where a denominator is 0, so is the numerator.
    return Scores(
        true_positives / num_predicted.clamp(min=1),
        true_positives / num_gold.clamp(min=1),
        2 * true_positives / (num_predicted + num_gold).clamp(min=1),
    )


def _read(label_ids: Sequence[Tensor], mask: Tensor, rules: SpanRules) -> _Steps:
    """Apply the rule to every pair of neighbours in K tag sequences ``[rows, words]`` under one mask.

    The rows are laid out one after another without their masked words, with one outside position before each row and
    one after the last. A word starts a *segment* unless it continues the one before; a segment is a span unless it is
    an outside word.
    """
    line_KN = _lay_out(label_ids, mask, rules)
    before, after = line_KN[:, :-1], line_KN[:, 1:]
    type_KN = line_KN >> TYPE_SHIFT
    same_type = type_KN[:, :-1] == type_KN[:, 1:]
    begins = ~(same_type & (before & OPEN).bool() & (after & CONTINUES).bool())
    # A word's segment is the last one that began, so a running maximum of the positions finds its start.
    positions = torch.arange(begins.shape[1], dtype=torch.int32, device=begins.device)
    start = (positions * begins).cummax(1).values[:, :-1]
    entity_type = type_KN[:, 1:-1]
    return _Steps(entity_type, start, begins[:, 1:] & (entity_type > 0))


def _lay_out(label_ids: Sequence[Tensor], mask: Tensor, rules: SpanRules) -> Tensor:
    """Codes of the labels on one line per tag sequence, ``[K, N]``; what is left over at its end is outside."""
    keep = mask.long()
    row = torch.arange(len(mask), device=mask.device).unsqueeze(1)
    # Selecting by the mask would make a shape of its values. Instead all masked words go to position 0.
    slots = keep.flatten().cumsum(0).view_as(keep).add_(row).mul_(keep).flatten()
    # Only on the CPU does it cost nothing to know how many words there are.
    num_words = int(mask.count_nonzero()) if mask.device.type == "cpu" else mask.numel()
    line_KN = keep.new_zeros(len(label_ids), num_words + len(mask) + 1)
    for line, ids in zip(line_KN, label_ids, strict=True):
        line.scatter_(0, slots, ids.flatten().long())
    line_KN[:, 0] = 0
    is_word_N = torch.zeros_like(line_KN[0], dtype=torch.int32).scatter_(0, slots, 1)
    is_word_N[0] = 0
    try:
        codes_KN = rules.codes.index_select(0, line_KN.flatten()).view_as(line_KN)
    except IndexError as error:
        raise ValueError(
            f"a label id is not in the inventory of {len(rules.codes)} labels (ids 0 to {len(rules.codes) - 1}, or "
            f"{IGNORE_INDEX} in the target for what is no word)"
        ) from error
    return codes_KN.mul_(is_word_N)


def _check(label_ids: Tensor, other: Tensor, name: str) -> None:
    """Raise for what cannot be a batch of label ids."""
    if label_ids.ndim != 2 or label_ids.shape != other.shape:
        raise ValueError(
            f"label ids and {name} must have one shape [rows, words], not {list(label_ids.shape)} and "
            f"{list(other.shape)}"
        )
    if label_ids.is_floating_point() or label_ids.dtype == torch.bool:
        raise ValueError(f"label ids must be integers, not {label_ids.dtype}")
