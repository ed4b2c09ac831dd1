"""Operating points: what ``validate`` measured of a model, and the one that is asked for.

An extra measures them and chooses among them. They lie beside the checkpoint, as ``RUN/operating_points.json``, and not
in it: a checkpoint is resumed from bit by bit, and its SHA-256 says which model they are of. ``export`` puts them into
``ner_module.json``.

    checkpoint              SHA-256 of the model's checkpoint
    decoding, data          how it was decoded, and on which files
    temperature, offset     of the scores; see `data/operating_point.py`
    calibration_error       of entities without and with these
    table                   typical ones, as text
    types: TYPE: gold       how many entities are annotated
                 right      the calibrated scores of predicted entities that are correct
                 wrong      of those that are not
                 candidates the score of each annotated entity as a candidate
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ner_module.data.operating_point import OperatingPoint
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
    checkpoint: Path | None, points: dict[str, Any] | None, labels: LabelSet, decoding: str, asked: dict[str, Any]
) -> OperatingPoint:
    """The operating point for what is asked, by the names of :data:`POINT_OPTIONS`.

    Args:
        checkpoint: the model's, in whose run its points may lie.
        points: the model's, where it has no checkpoint.
        labels: the model's.
        decoding: as it decodes now.
        asked: see `extras/operating_points/choice.py`.

    Raises:
        RunError: what is asked needs points that are not there, or makes no sense.
    """
    asked = {name: value for name, value in asked.items() if value is not None and value is not False}
    if not asked:
        return OperatingPoint()
    if checkpoint is not None and asked.keys() != {"threshold"}:
        points = read_points(checkpoint)
    for point in call_all("point", points, labels, decoding, asked):
        return point  # type: ignore[no-any-return]
    raise RunError(f"{' and '.join(asked)}: the extra operating_points is not there, which chooses")


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
