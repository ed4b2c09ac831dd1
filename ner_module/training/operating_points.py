"""Operating points: stored measurements of ``validate``, and the point chosen for a prediction.

An extra measures and chooses them. They are stored beside the checkpoint, in ``RUN/operating_points.json``, since a
checkpoint must not change; its SHA-256 identifies the model. ``export`` puts them into ``ner_module.json``::

    checkpoint              SHA-256 of the model's checkpoint
    decoding                the decoding method
    temperature, offset     calibration of scores; see `extras/operating_points/point.py`
    calibration_error       of entity scores, before and after calibration
    table                   typical operating points, as text
    types                   by name: gold, the number of gold entities; right and wrong, the calibrated scores of
                            correct and incorrect predicted entities; candidates, of gold entities by sentence
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ner_module.data.entities import OperatingPoint
from ner_module.errors import RunError
from ner_module.files import read_json_object, sha256_of
from ner_module.offers import call_all
from ner_module.tagging import LabelSet
from ner_module.training.checkpoint_schema import points_problem
from ner_module.training.runs import launch_command, run_dir_of

log = logging.getLogger(__name__)

POINTS = "operating_points.json"
POINT_OPTIONS = ("threshold", "precision", "recall", "f_beta", "candidates", "calibrated")


def choose_point(
    read: Callable[[], dict[str, Any] | None], labels: LabelSet, decoding: str, asked: Mapping[str, Any]
) -> OperatingPoint | None:
    """The operating point for values of :data:`POINT_OPTIONS`; ``None`` if none is given.

    ``read`` returns the model's measurements, and is called only if needed.

    Raises:
        RunError: invalid values, or no measurements.
    """
    asked = {name: value for name, value in asked.items() if value not in (None, False)}
    if not asked:
        return None
    points: list[OperatingPoint] = call_all("point", read, labels, decoding, asked)
    if not points:
        raise RunError(f"{', '.join(asked)}: this needs the extra operating_points, which was deleted")
    return points[0]


def read_points(checkpoint: Path | None) -> dict[str, Any] | None:
    """The measurements of a checkpoint in its run; ``None`` if missing or of another checkpoint."""
    run_dir = run_dir_of(checkpoint) if checkpoint else None
    points = load_points(run_dir / POINTS) if run_dir else {}
    if checkpoint and points and points["checkpoint"] != sha256_of(checkpoint):
        log.warning("the operating points of %s are of another checkpoint than %s, and not used", run_dir, checkpoint)
        return None
    return points or None


def load_points(path: Path) -> dict[str, Any]:
    """Read a file of ``validate``, empty if it does not exist; a :class:`RunError` for any other content."""
    points = read_json_object(path)
    if points and (problem := points_problem(points)):
        raise RunError(f"{path} is not what `validate` writes ({problem}): run `{launch_command()} validate` again")
    return points
