"""Scores for partial matches: the exact, partial and type matching of MUC and SemEval-2013.

Definitions: Chinchor and Sundheim, "MUC-5 Evaluation Metrics" (1993, https://aclanthology.org/M93-1007), for the five
outcomes; Segura-Bedmar et al., "SemEval-2013 Task 9" (https://aclanthology.org/S13-2056), for the ways to match.
Neither says which gold span a prediction is compared with when several overlap; nervaluate 1.2 does, and its choice is
used, so that the counts here equal its counts:

* predictions are taken in order, and each gold span serves one prediction only;
* a prediction gets the first free gold span that it overlaps; with ``"type"`` matching the one with the same type and
  the closest boundaries, if there is one;
* an overlap of less than one hundredth of the gold span does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ner_module.extras.analysis.sentences import Counts
from ner_module.tagging import Span

Matching = Literal["exact", "partial", "type"]
"""What a correct prediction must share with the gold span that it overlaps; else it is incorrect.

* ``"exact"``: boundaries, whatever the type (the boundary-only score).
* ``"partial"``: boundaries, whatever the type. Else it is partial, and counts half.
* ``"type"``: the type, whatever the boundaries (the type-only score).
"""


@dataclass
class OverlapCounts:
    """The outcomes of MUC."""

    correct: int = 0
    incorrect: int = 0
    partial: int = 0
    missed: int = 0
    spurious: int = 0

    @property
    def scores(self) -> tuple[float, float, float]:
        """Precision, recall and F1; a partial match counts half."""
        attempted = self.correct + self.incorrect + self.partial
        return Counts(self.correct + 0.5 * self.partial, attempted + self.spurious, attempted + self.missed).scores


def overlap_counts(
    predicted: Sequence[Sequence[Span]], gold: Sequence[Sequence[Span]], matching: Matching
) -> OverlapCounts:
    """Count the outcomes over all types, as nervaluate's ``overall`` results, from the spans of each sentence in order.

    >>> gold = [[Span(0, 3, "PER"), Span(4, 5, "LOC"), Span(6, 7, "PER")]]
    >>> overlap_counts([[Span(0, 2, "PER"), Span(4, 5, "PER")]], gold, "partial")
    OverlapCounts(correct=1, incorrect=0, partial=1, missed=1, spurious=0)
    """
    counts = OverlapCounts()
    for predictions, free in zip(predicted, map(list, gold), strict=True):
        for span in predictions:
            partner = _partner(span, free, matching)
            if partner is None:
                counts.spurious += 1
                continue
            free.remove(partner)
            if span[2] == partner[2] if matching == "type" else span[:2] == partner[:2]:
                counts.correct += 1
            elif matching == "partial":
                counts.partial += 1
            else:
                counts.incorrect += 1
        counts.missed += len(free)
    return counts


def _partner(span: Span, free: Sequence[Span], matching: Matching) -> Span | None:
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
