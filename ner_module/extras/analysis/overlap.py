"""Scores for partly right spans: the strict, exact, partial and type matching of MUC and SemEval-2013.

Definitions: Chinchor and Sundheim, "MUC-5 Evaluation Metrics" (1993, https://aclanthology.org/M93-1007), for the five
outcomes; Segura-Bedmar et al., "SemEval-2013 Task 9" (https://aclanthology.org/S13-2056), for the four ways to match.
Neither says which gold span a prediction is compared with when several overlap; nervaluate 1.2 does
(``nervaluate/strategies.py``), and its choice is kept, so that the counts here equal its counts:

* predictions are taken in order, and each gold span serves one prediction only;
* a prediction gets the first free gold span that it overlaps; with ``"type"`` matching the one with the same type and
  the closest boundaries, if there is one;
* an overlap of less than one hundredth of the gold span does not count.

That order of events is a chain: whether a gold span is still free depends on the prediction before. But spans of one
sequence never overlap each other, so a prediction can lose at most its *first* gold span to the prediction before, and
the chain carries one bit per prediction. It is computed for all predictions at once as a prefix scan of functions of
that bit.

Not here: the exact counts that are usually published (`functional.py`, and `entity_scores.py` over batches).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ner_module.metrics.functional import LabelSpans, Scores

Matching = Literal["strict", "exact", "partial", "type"]
"""What a right prediction must share with the gold span that it overlaps.

* ``"strict"``: boundaries and type. Else it is incorrect.
* ``"exact"``: boundaries, whatever the type (the boundary-only score). Else it is incorrect.
* ``"partial"``: boundaries, whatever the type. Else it is partial, and counts half.
* ``"type"``: the type, whatever the boundaries (the type-only score). Else it is incorrect.
"""


class OverlapCounts(NamedTuple):
    """The outcomes of MUC; int64 tensors of one shape."""

    correct: Tensor
    incorrect: Tensor
    partial: Tensor
    missed: Tensor
    spurious: Tensor


class _Choices(NamedTuple):
    """What each prediction would take, as gold index or -1, while its first overlapping gold span is free or taken."""

    if_free: Tensor
    if_taken: Tensor


def overlap_counts(predicted: LabelSpans, gold: LabelSpans, matching: Matching) -> OverlapCounts:
    """Count the outcomes over all types, as nervaluate's ``overall`` results; each field is a scalar.

    Args:
        predicted: from :func:`~ner_module.metrics.functional.label_spans`: ordered, not overlapping.
        gold: likewise, of the same rows.
        matching: see :data:`Matching`.

    >>> from ner_module.metrics.functional import label_spans
    >>> from ner_module.metrics.rules import span_rules
    >>> rules = span_rules(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    >>> gold = label_spans(torch.tensor([[1, 2, 2, 0, 3, 0, 1]]), rules)  # PER 0-3, LOC 4-5, PER 6-7
    >>> predicted = label_spans(torch.tensor([[1, 2, 0, 0, 1, 0, 0]]), rules)  # PER 0-2, PER 4-5
    >>> for matching in ("strict", "exact", "partial", "type"):
    ...     print(matching, [int(count) for count in overlap_counts(predicted, gold, matching)])
    strict [0, 2, 0, 1, 0]
    exact [1, 1, 0, 1, 0]
    partial [1, 0, 1, 1, 0]
    type [1, 1, 0, 1, 0]
    """
    groups = torch.zeros_like(predicted.row), torch.zeros_like(gold.row)
    counts = _count(predicted, gold, matching, *groups, 1)
    return OverlapCounts(*(count[0] for count in counts))


def overlap_counts_by_type(
    predicted: LabelSpans, gold: LabelSpans, matching: Matching, num_types: int
) -> OverlapCounts:
    """Count the outcomes among the spans of each type alone, as nervaluate's ``entities`` results.

    Here a wrong type shows as one span missed and one spurious: each type sees its own spans only. So the counts do
    not add up to those of :func:`overlap_counts`.

    Args:
        predicted: as for :func:`overlap_counts`.
        gold: likewise.
        matching: see :data:`Matching`.
        num_types: how many types there are; each field of the result has the shape ``[num_types]``.
    """
    apart = [_one_type_after_another(spans, num_types, predicted, gold) for spans in (predicted, gold)]
    return _count(apart[0], apart[1], matching, apart[0].entity_type, apart[1].entity_type, num_types)


def overlap_scores(counts: OverlapCounts) -> Scores:
    """Precision, recall and F1 from the outcomes; a partial match counts half, a zero denominator gives 0.

    >>> one = torch.tensor(1)
    >>> precision, recall, f1 = overlap_scores(OverlapCounts(one, one, one, 2 * one, 0 * one))
    >>> float(precision), round(float(recall), 4), float(f1)
    (0.5, 0.3, 0.375)
    """
    attempted = counts.correct + counts.incorrect + counts.partial
    num_predicted, num_gold = attempted + counts.spurious, attempted + counts.missed
    credit = counts.correct + 0.5 * counts.partial
    return Scores(
        credit / num_predicted.clamp(min=1),
        credit / num_gold.clamp(min=1),
        2 * credit / (num_predicted + num_gold).clamp(min=1),
    )


def _one_type_after_another(spans: LabelSpans, num_types: int, *both: LabelSpans) -> LabelSpans:
    """Reorder by type, each type with rows of its own, so that spans of two types never meet."""
    num_sequences = 1 + max((int(side.row.max()) for side in both if len(side.row)), default=0)
    order = spans.entity_type.argsort(stable=True)
    row, start, end, entity_type = (field[order] for field in spans)
    return LabelSpans(entity_type * num_sequences + row, start, end, entity_type)


def _count(
    predicted: LabelSpans, gold: LabelSpans, matching: Matching, predicted_group: Tensor, gold_group: Tensor, size: int
) -> OverlapCounts:
    """The outcomes, each counted by the group of its prediction (missed: of its gold span)."""
    chosen = _assign(predicted, gold, matching)
    taken = chosen >= 0
    # One more entry, which the index -1 of a prediction without a gold span finds and nothing equals.
    start, end, entity_type = (torch.nn.functional.pad(field, (0, 1), value=-1)[chosen] for field in gold[1:])
    same_type = predicted.entity_type == entity_type
    same_words = (predicted.start == start) & (predicted.end == end)
    right = {"strict": same_type & same_words, "exact": same_words, "partial": same_words, "type": same_type}[matching]
    missed = torch.ones_like(gold.row, dtype=torch.bool)
    missed[chosen[taken]] = False

    def count(outcome: Tensor, group: Tensor) -> Tensor:
        return torch.zeros(size, dtype=torch.int64, device=group.device).index_add_(0, group, outcome.long())

    close = count(taken & ~right, predicted_group)
    none = torch.zeros_like(close)
    return OverlapCounts(
        correct=count(taken & right, predicted_group),
        incorrect=none if matching == "partial" else close,
        partial=close if matching == "partial" else none,
        missed=count(missed, gold_group),
        spurious=count(~taken, predicted_group),
    )


def _assign(predicted: LabelSpans, gold: LabelSpans, matching: Matching) -> Tensor:
    """The gold span that each prediction gets, as an index, or -1."""
    chosen = torch.full_like(predicted.row, -1)
    if not len(predicted.row) or not len(gold.row):
        return chosen
    stride = 1 + max(int(side.end.max()) for side in (predicted, gold))
    p_start, p_end = predicted.row * stride + predicted.start, predicted.row * stride + predicted.end
    g_start, g_end = gold.row * stride + gold.start, gold.row * stride + gold.end
    first = torch.searchsorted(g_end, p_start, right=True)
    last = torch.searchsorted(g_start, p_end) - 1
    # Only at the two ends can an overlap be too small: what lies between is covered whole.
    for edge, step in ((first, 1), (last, -1)):
        at = edge.clamp(0, len(gold.row) - 1)
        shared = torch.minimum(p_end, g_end[at]) - torch.maximum(p_start, g_start[at])
        edge += step * ((last >= first) & (100 * shared < g_end[at] - g_start[at]))
    overlapping = (last >= first).nonzero().squeeze(1)
    first, last = first[overlapping], last[overlapping]
    choices = _first_free(first, last)
    if matching == "type":
        choices = _closest_of_type(LabelSpans(*(field[overlapping] for field in predicted)), gold, first, last, choices)
    free = _first_is_free(first, last, choices)
    chosen[overlapping] = torch.where(free, choices.if_free, choices.if_taken)
    return chosen


def _first_free(first: Tensor, last: Tensor) -> _Choices:
    """Take the first overlapping gold span, else the second: no earlier prediction reaches as far as that one."""
    return _Choices(first, torch.where(last > first, first + 1, -1))


def _closest_of_type(
    predicted: LabelSpans, gold: LabelSpans, first: Tensor, last: Tensor, otherwise: _Choices
) -> _Choices:
    """Of the gold spans ``first`` to ``last`` take that of the same type with the closest boundaries.

    Of equals it takes the first, and where no type is the same, what ``otherwise`` says.
    """
    # All overlapping pairs: at most one more than there are spans, since neither side overlaps itself.
    sizes = last - first + 1
    pair_p = torch.repeat_interleave(torch.arange(len(first), device=first.device), sizes)
    offset = torch.arange(len(pair_p), device=first.device) - (sizes.cumsum(0) - sizes)[pair_p]
    pair_g = first[pair_p] + offset
    distance = (predicted.start[pair_p] - gold.start[pair_g]).abs() + (predicted.end[pair_p] - gold.end[pair_g]).abs()
    same_type = predicted.entity_type[pair_p] == gold.entity_type[pair_g]
    radix = len(gold.row) + 1
    nothing = torch.iinfo(torch.int64).max
    rank = torch.where(same_type, distance * radix + pair_g, nothing)

    def best(rank: Tensor, fallback: Tensor) -> Tensor:
        least = torch.full_like(first, nothing).scatter_reduce_(0, pair_p, rank, "amin")
        return torch.where(least < nothing, least % radix, fallback)

    return _Choices(best(rank, otherwise.if_free), best(torch.where(offset > 0, rank, nothing), otherwise.if_taken))


def _first_is_free(first: Tensor, last: Tensor, choices: _Choices) -> Tensor:
    """Whether each prediction finds its first gold span free, when all take theirs in order.

    If the prediction before does not overlap that gold span, it is free. If it overlaps nothing else, it is taken, by
    that prediction or an earlier one. Otherwise it is the last of several for the prediction before, and its fate is a
    function of whether that one found *its* first gold span free: constant, the same, or the opposite.
    """
    alone = (first == last)[:-1]
    left_if_free = (choices.if_free != last)[:-1] & ~alone
    left_if_taken = (choices.if_taken != last)[:-1] & ~alone
    fresh = torch.ones_like(first, dtype=torch.bool)
    fresh[1:] = first[1:] != last[:-1]
    constant, value, opposite = fresh.clone(), fresh.clone(), torch.zeros_like(fresh)
    constant[1:] |= left_if_free == left_if_taken
    value[1:] |= left_if_free
    opposite[1:] = ~left_if_free & left_if_taken & ~fresh[1:]
    # The last constant before decides, turned over once for each opposite since.
    index = torch.arange(len(first), device=first.device)
    origin = (index * constant).cummax(0).values
    turns = opposite.cumsum(0)
    return value[origin] ^ ((turns - turns[origin]) % 2).bool()
