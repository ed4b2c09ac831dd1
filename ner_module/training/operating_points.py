"""Operating points: what thresholds reach on validation data, and which are taken for what is asked.

``validate`` measures them (`extras/operating_points`) and writes ``RUN/operating_points.json``; ``export`` puts them
into ``ner_module.json``. They lie beside the checkpoint, not in it: a checkpoint is resumed from bit by bit, and its
SHA-256 is how the points know the model that they are of.

    checkpoint              SHA-256 of the model's checkpoint
    decoding, data          how it was decoded, and on which files
    temperature, offset     of the scores; see `data/operating_point.py`
    calibration_error       of entities without and with these
    types: TYPE: gold       how many entities are annotated
                 right      the calibrated scores of predicted entities that are correct
                 wrong      of those that are not
                 candidates the score of each annotated entity as a candidate
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ner_module.data.operating_point import OperatingPoint
from ner_module.errors import RunError
from ner_module.files import read_json_object, sha256_of
from ner_module.tagging import LabelSet
from ner_module.training.checkpoint_schema import points_problem
from ner_module.training.runs import launch_command, run_dir_of

log = logging.getLogger(__name__)

POINTS = "operating_points.json"
POINT_OPTIONS = ("threshold", "precision", "recall", "f_beta", "candidates", "calibrated")
"""What :func:`choose_point` is asked for, by the names of the options of ``predict``."""

CONFIDENCE = 0.95
"""Of intervals, and of the guarantee of candidates."""
_Z = 1.959964
_FEWEST = 10
"""Predicted entities on which a precision can rest."""


_NOTHING: Mapping[str, Any] = {"gold": 0, "right": [], "wrong": [], "candidates": []}


class Reached(NamedTuple):
    """What one threshold reaches: ``kept`` predicted entities, of which ``correct`` are among ``gold`` ones."""

    threshold: float
    kept: int
    correct: int
    gold: int

    def f_beta(self, beta: float = 1.0) -> float:
        """Precision and recall in one number; recall counts ``beta`` times as much."""
        return (1 + beta**2) * self.correct / max(self.kept + beta**2 * self.gold, 1)

    def shares(self) -> list[str]:
        """Precision and recall with their intervals, as text."""
        return ["{:.2f} ({:.2f} to {:.2f})".format(*share(self.correct, of)) for of in (self.kept, self.gold)]


def share(part: int, whole: int) -> tuple[float, float, float]:
    """A share with its 95 % interval (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953); 0 to 1 of nothing.

    >>> [round(value, 3) for value in share(38, 42)]
    [0.905, 0.779, 0.962]
    """
    if not whole:
        return 0.0, 0.0, 1.0
    value, weight = part / whole, _Z**2 / whole
    centre, half = value + weight / 2, _Z * math.sqrt(value * (1 - value) / whole + (weight / _Z / 2) ** 2)
    return value, max((centre - half) / (1 + weight), 0.0), min((centre + half) / (1 + weight), 1.0)


def reached(
    of_type: Mapping[str, Any], precision: float | None = None, recall: float | None = None, f_beta: float = 1.0
) -> Reached | None:
    """The threshold for what is wanted of a type, and what it reaches on validation data; ``None`` where none does.

    For a precision the lowest one that reaches it with ten entities or more, for a recall the highest, else the one
    with the best F-beta.
    """
    rows = list(_curve(of_type))
    if precision is not None:
        rows = [row for row in rows if row.kept >= _FEWEST and row.correct >= precision * row.kept]
        return rows[-1] if rows else None
    if recall is not None:
        return next((row for row in rows if row.gold and row.correct >= recall * row.gold), None)
    return max(rows, key=lambda row: row.f_beta(f_beta), default=None)


def _curve(of_type: Mapping[str, Any]) -> Iterator[Reached]:
    """What each score reaches as a threshold, the highest first."""
    right, wrong = np.sort(of_type["right"]), np.sort(of_type["wrong"])
    thresholds = np.unique(np.concatenate([right, wrong]))[::-1]
    correct = len(right) - np.searchsorted(right, thresholds)
    kept = correct + len(wrong) - np.searchsorted(wrong, thresholds)
    rows = zip(thresholds.tolist(), kept.tolist(), correct.tolist(), strict=True)
    return (Reached(*row, of_type["gold"]) for row in rows)


def candidate_threshold(scores: Sequence[float], recall: float) -> float:
    """The lowest score of a candidate with which at least ``recall`` of all entities are among the candidates.

    Split-conformal prediction that can be checked: in a text with as many entities, of the same kind, it holds with a
    probability of 95 %, over validation data and text. The number of misses there is beta-binomial, from the place of
    the threshold among the scores (Vovk 2012, https://proceedings.mlr.press/v25/vovk12.html; Angelopoulos and Bates
    2021, https://arxiv.org/abs/2107.07511, section 3.2). The plain rule, the ``floor((n + 1) (1 - recall))``-th lowest
    of n scores, holds on average over such texts, and fails for about half of them.

    Args:
        scores: those of the annotated entities as candidates.
        recall: the wanted share, above 0 and below 1.

    Returns:
        Infinity where there are too few entities, or too many that are no candidate at all.

    >>> candidate_threshold([0.5] * 80, 0.95), candidate_threshold([0.5] * 79, 0.95)
    (0.5, inf)
    """
    count = len(scores)
    bearable = count - math.ceil(recall * count - 1e-9)

    def fails(below: int) -> bool:
        """Whether the score that has so many below it, as a threshold, too often misses more than is bearable."""
        return math.fsum(math.exp(_log_misses(each, count, below)) for each in range(bearable + 1)) < CONFIDENCE

    below = bisect_left(range(count), True, key=fails) - 1
    threshold = sorted(scores)[below] if below >= 0 else 0.0
    return threshold or math.inf


def _log_misses(misses: int, count: int, below: int) -> float:
    """The logarithm of the probability that so many of ``count`` new scores lie below the one with ``below`` such."""
    log = math.lgamma
    ways = log(count + 1) - log(misses + 1) - log(count - misses + 1)
    here = log(below + 1 + misses) + log(2 * count - below - misses) - log(2 * count + 1)
    return ways + here - log(below + 1) - log(count - below) + log(count + 1)


def choose_point(
    points: Mapping[str, Any] | None,
    labels: LabelSet,
    decoding: str,
    *,
    threshold: Mapping[str, float] | float | None = None,
    precision: float | None = None,
    recall: float | None = None,
    f_beta: float | None = None,
    candidates: float | None = None,
    calibrated: bool = False,
) -> OperatingPoint:
    """The operating point for what is asked; what it reaches on validation data is logged, and what cannot be reached.

    Args:
        points: of the model, if they were measured.
        labels: the model's.
        decoding: as the model decodes now.
        threshold: the lowest score of an entity, for all types or by type; wins over the next three.
        precision: the one wanted of each type. A type that does not reach it is left out.
        recall: the one wanted of each type. A type that does not reach it is kept whole.
        f_beta: take the best F-beta of each type.
        candidates: the share of all entities that shall be among the candidates.
        calibrated: calibrate scores; precision, recall and f_beta imply it.

    Raises:
        RunError: what is asked needs points that are not there, or contradicts itself.
    """
    wanted = {"precision": precision, "recall": recall, "f_beta": f_beta}
    goals: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if len(goals) > 1:
        raise RunError(f"{' and '.join(goals)} cannot be wanted at once: choose one")
    by_type: dict[str, Any] = {}
    if threshold is not None:
        by_type = dict(threshold if isinstance(threshold, Mapping) else dict.fromkeys(labels.entity_types, threshold))
    for name in by_type.keys() - set(labels.entity_types):
        raise RunError(f"threshold: there is no type {name!r}: it is one of {', '.join(labels.entity_types)}")
    shares = [*by_type.values(), *(value for value in (precision, recall, candidates) if value is not None)]
    if not all(0 < value < 1 for value in shares) or not 0 < goals.get("f_beta", 1) < math.inf:
        raise RunError("threshold, precision, recall and candidates lie between 0 and 1, and f_beta above 0")
    if not goals and not calibrated and candidates is None:
        return OperatingPoint(thresholds=by_type)
    if points is None:
        advice = f"`{launch_command()} validate` measures them on validation data, and `export` takes them along"
        raise RunError(f"the model has no operating points, which all but a threshold needs: {advice}")
    if points["decoding"] != decoding:
        advice = f"validate with --model.decoding {decoding}"
        raise RunError(f"the operating points are of {points['decoding']} decoding, not {decoding}: {advice}")
    chosen, listed = {}, {}
    for name in labels.entity_types:
        of_type = points["types"].get(name, _NOTHING)
        if goals and name not in by_type:
            found = reached(of_type, **goals)
            chosen[name] = found.threshold if found else math.inf if precision else 0.0
            if found:
                text = "{} {:.4f}: precision {}, recall {} on validation data".format(
                    name, found.threshold, *found.shares()
                )
                log.info("%-10s %s", "threshold", text)
            else:
                effect = f"is not reached on validation data by any threshold; {'none' if precision else 'all'} is kept"
                log.warning("%s: %s %s", name, " ".join(f"{goal} {value}" for goal, value in goals.items()), effect)
        if candidates is not None:
            listed[name] = candidate_threshold(of_type["candidates"], candidates)
            if listed[name] == math.inf:
                why = f"the validation data has {of_type['gold']} entities, too few, or too few that are found at all"
                log.warning("%s: no candidates, for a share of %s cannot be guaranteed: %s", name, candidates, why)
    calibration = (points["temperature"], points["offset"]) if goals or calibrated else None
    return OperatingPoint(calibration, chosen | by_type, listed)


def parse_threshold(text: str | None) -> Mapping[str, float] | float | None:
    """``0.8``, or ``PER=0.8,ORG=0.7``; raises a :class:`RunError` for anything else.

    >>> parse_threshold("0.8"), parse_threshold("PER=0.8,ORG=.7")
    (0.8, {'PER': 0.8, 'ORG': 0.7})
    """
    try:
        if text is None or "=" not in text:
            return None if text is None else float(text)
        pairs = (part.rpartition("=") for part in text.split(","))
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise RunError(f"--threshold {text}: give a number, or numbers by type such as PER=0.8,ORG=0.7") from None


def read_points(checkpoint: Path) -> dict[str, Any] | None:
    """The operating points of a checkpoint, which lie in its run; ``None`` where they are missing or another's."""
    run_dir = run_dir_of(checkpoint)
    points = load_points(run_dir / POINTS) if run_dir else {}
    if points and points["checkpoint"] != sha256_of(checkpoint):
        log.warning("the operating points of %s are of another checkpoint than %s, and not used", run_dir, checkpoint)
        return None
    return points or None


def load_points(path: Path) -> dict[str, Any]:
    """What ``validate`` wrote, empty where there is no such file; a :class:`RunError` for anything else."""
    points = read_json_object(path)
    if points and (problem := points_problem(points)):
        raise RunError(f"{path} is not what `validate` writes ({problem}): run `{launch_command()} validate` again")
    return points
