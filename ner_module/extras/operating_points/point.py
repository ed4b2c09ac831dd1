"""An operating point applied to the entities of a sentence: calibrated scores, thresholds, candidates.

Thresholds drop entities and nothing else: a word of a dropped entity is not given another label.

Shapes: W words of a sentence, C labels, T entity types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.tagging import OUTSIDE, LabelSet, Span, split_tag

LONGEST = 16
"""Words of the longest candidate; a longer entity is among no candidates, and counted as one that is missed."""

NEAREST = 1e-6
"""How near a score comes to 0 or 1 when it is calibrated."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ChosenPoint:
    """How entities are chosen and scored; see :class:`~ner_module.data.entities.OperatingPoint`.

    Attributes:
        calibration: temperature and offset of :func:`calibrated`.
        thresholds: type -> the lowest score that is written; all are of types without one.
        candidates: type -> the lowest score of a candidate; types without one have none.
    """

    calibration: tuple[float, float] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    candidates: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_candidates(self) -> bool:
        """Whether there are candidates."""
        return bool(self.candidates)

    def score(self, entity_type: str, mean: float) -> float | None:
        """The score of an entity as it is written, from the mean of its words; ``None`` if it is dropped."""
        score = round(mean if self.calibration is None else calibrated(mean, *self.calibration), 4)
        return score if score >= self.thresholds.get(entity_type, 0.0) else None

    def find_candidates(
        self, probabilities: Any, scores: Sequence[float], labels: LabelSet
    ) -> list[tuple[Span, float]]:
        """The candidates of a sentence and their scores, in the order of their words; arguments as below."""
        types = labels.entity_types
        bounds = np.array([self.candidates.get(name, math.inf) for name in types])
        found = candidate_scores(probabilities, scores, labels)
        starts, lengths, of_types = np.nonzero((found >= bounds).swapaxes(0, 1))
        spans = [
            Span(start, start + length + 1, types[index])
            for start, length, index in zip(starts.tolist(), lengths.tolist(), of_types.tolist(), strict=True)
        ]
        return list(zip(spans, found[lengths, starts, of_types].tolist(), strict=True))


def calibrated(score: float, temperature: float, offset: float) -> float:
    """A probability whose log-odds are divided by a temperature and moved by an offset.

    Platt, "Probabilistic outputs for support vector machines" (1999); without the offset, temperature scaling of a
    binary decision (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    >>> round(calibrated(0.75, 1.0, 0.0), 4), round(calibrated(0.9, 2.0, 0.0), 4)
    (0.75, 0.75)
    """
    score = min(max(score, NEAREST), 1 - NEAREST)
    return (1 + math.tanh((math.log(score / (1 - score)) / temperature + offset) / 2)) / 2


def candidate_scores(
    probabilities_WC: Any, scores_W: Sequence[float], labels: LabelSet, longest: int = LONGEST
) -> Array:
    """How likely each span of a sentence is an entity of each type.

    The lowest probability of what must hold for its words (an entity begins at the first one and goes on at each
    further one), times that of its end: the next word does not continue it. The lowest does not fall with the length,
    as the product would, by which there are more candidates for the same recall (`docs/results.md`).

    Args:
        probabilities_WC: of all labels of each word.
        scores_W: of the predicted labels; 0 where the model saw nothing of a word.
        labels: what the C stand for.
        longest: words of the longest span.

    Returns:
        ``[longest, W, T]`` at the number of words less one, the first word, and the type; 0 past the sentence's end.
    """
    shape = len(scores_W), len(labels.names)
    known_WC = np.nan_to_num(np.asarray(probabilities_WC, np.float32).reshape(shape))
    known_WC = known_WC * (np.asarray(scores_W)[:, None] > 0)
    begins_CT, continues_CT = _roles(labels)
    weakest_WT = np.minimum(known_WC @ begins_CT, 1.0)
    continues_WT = np.minimum(known_WC @ continues_CT, 1.0)
    found = np.zeros((longest, *weakest_WT.shape), np.float32)
    for length in range(min(longest, len(weakest_WT))):
        weakest_WT = weakest_WT[: len(known_WC) - length]  # of the spans that end within the sentence
        next_WT = np.concatenate([continues_WT[length + 1 :], np.zeros_like(continues_WT[:1])])
        found[length, : len(weakest_WT)] = weakest_WT * (1.0 - next_WT)
        weakest_WT = np.minimum(weakest_WT, next_WT)
    return found


@lru_cache(maxsize=8)
def _roles(labels: LabelSet) -> tuple[Array, Array]:
    """Which labels begin an entity of each type, and which continue one: two matrices of 0 and 1, ``[C, T]``."""
    types = labels.entity_types
    begins, continues = (np.zeros((len(labels.names), len(types)), np.float32) for _ in range(2))
    for row, name in enumerate(labels.names):
        if name == (labels.outside if labels.scheme == "flat" else OUTSIDE):
            continue
        prefix, entity_type = ("U", name) if labels.scheme == "flat" else split_tag(name)
        either = labels.scheme in ("iob1", "ioe1", "ioe2")  # their B- or E- only part neighbours
        begins[row, types.index(entity_type)] = either or prefix in "BSU"
        continues[row, types.index(entity_type)] = either or prefix in "IEL"
    return begins, continues
