"""Scores for partial matches: the exact, partial and type matching of MUC and SemEval-2013.

Definitions: Chinchor and Sundheim, "MUC-5 Evaluation Metrics" (1993, https://aclanthology.org/M93-1007), and
Segura-Bedmar et al., "SemEval-2013 Task 9" (https://aclanthology.org/S13-2056). Neither says which gold span a
prediction is compared with when several overlap; nervaluate 1.2 does, and its choice is used, so that the scores here
equal its scores:

* predictions are taken in order, and each gold span serves one prediction only;
* a prediction gets the first free gold span that it overlaps; with ``"type"`` matching the one with the same type and
  the closest boundaries, if there is one;
* an overlap of less than one hundredth of the gold span does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from ner_module.extras.analysis.sentences import Counts
from ner_module.tagging import Span

MATCHING = {
    "exact": "boundaries",
    "partial": "boundaries; an overlap counts half",
    "type": "type, and some word",
}
"""Each way to match: what a prediction must share with the gold span that it overlaps, whatever the rest."""


def overlap_counts(predicted: Sequence[Sequence[Span]], gold: Sequence[Sequence[Span]], matching: str) -> Counts:
    """Count over all types, as nervaluate's ``overall`` results, from the spans of each sentence in order.

    >>> gold = [[Span(0, 3, "PER"), Span(4, 5, "LOC"), Span(6, 7, "PER")]]
    >>> overlap_counts([[Span(0, 2, "PER"), Span(4, 5, "PER")]], gold, "partial")
    Counts(true_positives=1.5, num_predicted=2, num_gold=3)
    """
    correct = 0.0
    for predictions, free in zip(predicted, map(list, gold), strict=True):
        for span in predictions:
            partner = _partner(span, free, matching)
            if partner is None:
                continue
            free.remove(partner)
            if span[2] == partner[2] if matching == "type" else span[:2] == partner[:2]:
                correct += 1
            elif matching == "partial":
                correct += 0.5
    return Counts(correct, sum(map(len, predicted)), sum(map(len, gold)))


def _partner(span: Span, free: Sequence[Span], matching: str) -> Span | None:
    """The gold span that a prediction is compared with."""
    overlapping = [
        other
        for other in free
        if 100 * (min(span.end, other.end) - max(span.start, other.start)) >= other.end - other.start
    ]
    same_type = [other for other in overlapping if other.entity_type == span.entity_type]
    if matching == "type" and same_type:
        return min(same_type, key=lambda other: abs(span.start - other.start) + abs(span.end - other.end))
    return overlapping[0] if overlapping else None
