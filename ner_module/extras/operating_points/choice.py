"""From what is asked for to an operating point, by what was measured on validation data."""

from __future__ import annotations

import logging
import math
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ner_module.errors import RunError
from ner_module.extras.operating_points.point import ChosenPoint
from ner_module.tagging import LabelSet
from ner_module.training.runs import launch_command

log = logging.getLogger(__name__)

_FEWEST = 10
"""Predicted entities on which a precision can rest."""
_NOTHING: Mapping[str, Any] = {"gold": 0, "right": [], "wrong": [], "candidates": []}


class Reached(NamedTuple):
    """What one threshold reaches: ``kept`` predicted entities, of which ``correct`` are among ``gold`` ones."""

    threshold: float
    kept: int
    correct: int
    gold: int

    def shares(self) -> list[str]:
        """Precision and recall with their 95 % intervals, as text."""
        return ["{:.2f} ({:.2f} to {:.2f})".format(*share(self.correct, of)) for of in (self.kept, self.gold)]


def share(part: int, whole: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    >>> [round(float(value), 3) for value in share(38, 42)]
    [0.905, 0.779, 0.962]
    """
    from scipy.stats import binomtest

    return (part / whole, *binomtest(part, whole).proportion_ci(method="wilson")) if whole else (0.0, 0.0, 1.0)


def reached(
    of_type: Mapping[str, Any], precision: float | None = None, recall: float | None = None, f_beta: float = 1.0
) -> Reached | None:
    """The threshold for what is wanted of a type, and what it reaches on validation data; ``None`` where none does.

    For a precision the lowest one that reaches it with ten entities or more, for a recall the highest, else the one
    with the best F-beta.
    """
    right, wrong = np.sort(of_type["right"]), np.sort(of_type["wrong"])
    thresholds = np.unique(np.concatenate([right, wrong]))[::-1]  # the highest first
    correct = len(right) - np.searchsorted(right, thresholds)
    kept = correct + len(wrong) - np.searchsorted(wrong, thresholds)
    gold, fits = of_type["gold"], np.full(len(kept), True)
    order = np.arange(len(kept))  # the wanted one is the last of those that fit
    if precision is not None:
        fits = (kept >= _FEWEST) & (correct >= precision * kept)
    elif recall is not None:
        fits, order = correct >= max(recall * gold, 1), order[::-1]
    else:
        order = np.argsort((1 + f_beta**2) * correct / (kept + f_beta**2 * gold), kind="stable")
    found = order[fits[order]][-1:].tolist()
    return Reached(float(thresholds[found[0]]), int(kept[found[0]]), int(correct[found[0]]), gold) if found else None


def candidate_threshold(scores: Sequence[Sequence[float]], recall: float) -> float:
    """The lowest score of a candidate with which at least ``recall`` of all entities are among the candidates.

    Split-conformal prediction that can be checked: in a text with as many entities, of the same kind, it holds with a
    probability of 95 %, over validation data and text. With ``k`` of n scores below the threshold, the misses there are
    beta-binomial with ``k + 1`` and ``n - k`` (Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511, section
    3.2). The plain rule, ``k = floor((n + 1) (1 - recall)) - 1``, holds on average over such texts, and fails for about
    half of them. Entities of one sentence are missed together: n and k are divided by the design effect, the variance
    of the share of misses between sentences over that of independent entities (Kish 1965), where it is above 1.

    Args:
        scores: those of the annotated entities as candidates, by sentence.
        recall: the wanted share, above 0 and below 1.

    Returns:
        Infinity where there are too few entities, or too many that are no candidate at all.

    >>> candidate_threshold([[0.5]] * 80, 0.95), candidate_threshold([[0.5]] * 79, 0.95)
    (0.5, inf)
    """
    from scipy.stats import betabinom

    ranked = sorted((score, row) for row, of_sentence in enumerate(scores) for score in of_sentence)
    count, sizes = len(ranked), list(map(len, scores))

    def holds(below: int) -> bool:
        misses = Counter(row for _, row in ranked[:below])
        rate = below / count
        spread = sum((misses[row] - rate * size) ** 2 for row, size in enumerate(sizes))
        effect = max(spread / (below * (1 - rate)), 1.0) if below else 1.0
        of, missed = round(count / effect), below / effect
        return bool(betabinom.cdf(math.floor((1 - recall) * of + 1e-9), of, missed + 1, of - missed) >= 0.95)

    bearable = math.floor((1 - recall) * count + 1e-9)
    allowed = bisect(range(min(bearable + 1, count)), False, key=lambda below: not holds(below))
    return (ranked[allowed - 1][0] if allowed else 0.0) or math.inf


def choose(
    read: Callable[[], Mapping[str, Any] | None], labels: LabelSet, decoding: str, asked: Mapping[str, Any]
) -> ChosenPoint:
    """The operating point for what is asked; what it reaches on validation data, or cannot, is logged.

    Args:
        read: gives the model's points, if they were measured.
        labels: the model's.
        decoding: as the model decodes now.
        asked: any of ``threshold``, the lowest score of an entity, of all types, by type or as ``PER=0.8,ORG=0.7``;
            one of ``precision``, ``recall`` and ``f_beta``, for types without such a threshold; ``candidates``, the
            share of all entities among them; ``calibrated``.

    Raises:
        RunError: what is asked was not measured, or contradicts itself.
    """
    goals = {name: asked[name] for name in ("precision", "recall", "f_beta") if name in asked}
    if len(goals) > 1:
        raise RunError(f"{' and '.join(goals)} cannot be combined: choose one")
    by_type = _by_type(asked.get("threshold", {}), labels.entity_types)
    shares = [*by_type.values(), *(asked[name] for name in ("precision", "recall", "candidates") if name in asked)]
    if not all(0 < value < 1 for value in shares) or not 0 < goals.get("f_beta", 1) < math.inf:
        raise RunError("threshold, precision, recall and candidates lie between 0 and 1, and f_beta above 0")
    if asked.keys() == {"threshold"}:
        return ChosenPoint(thresholds=by_type)
    points = read()
    if points is None or points["decoding"] != decoding:
        advice = f"`{launch_command()} validate --model.decoding {decoding}` measures them on validation data"
        raise RunError(f"the model has no operating points of this decoding, which all but a threshold needs: {advice}")
    chosen, listed = {}, {}
    for name in labels.entity_types:
        of_type = points["types"].get(name, _NOTHING)
        if goals and name not in by_type:
            found = reached(of_type, **goals)
            chosen[name] = found.threshold if found else math.inf if "precision" in goals else 0.0
            if found:
                text = "threshold  %s %.4f: precision %s, recall %s on validation data"
                log.info(text, name, found.threshold, *found.shares())
            else:
                [(goal, value)] = goals.items()
                few, kept = (f" with {_FEWEST} entities", "none") if goal == "precision" else ("", "all")
                text = "%s: no threshold reaches %s %s%s on validation data; %s is kept"
                log.warning(text, name, goal, value, few, kept)
        if "candidates" in asked:
            listed[name] = candidate_threshold(of_type["candidates"], asked["candidates"])
            if listed[name] == math.inf:
                why = f"of {of_type['gold']} entities in the validation data too few are found, or there are too few"
                log.warning("%s: no candidates, since %s cannot be guaranteed: %s", name, asked["candidates"], why)
    calibration = (points["temperature"], points["offset"]) if goals or "calibrated" in asked else None
    return ChosenPoint(calibration, chosen | by_type, listed)


def _by_type(threshold: Any, entity_types: Sequence[str]) -> dict[str, float]:
    """Thresholds as they may be given."""
    if isinstance(threshold, str) and "=" in threshold:
        pairs = (part.rpartition("=") for part in threshold.split(","))
        threshold = {name.strip(): value for name, _, value in pairs}
    by_type = threshold if isinstance(threshold, Mapping) else dict.fromkeys(entity_types, threshold)
    for name in by_type.keys() - set(entity_types):
        raise RunError(f"threshold: there is no type {name!r}: it is one of {', '.join(entity_types)}")
    try:
        return {name: float(value) for name, value in by_type.items()}
    except ValueError:
        raise RunError(f"threshold {threshold}: give a number, or numbers by type such as PER=0.8,ORG=0.7") from None
