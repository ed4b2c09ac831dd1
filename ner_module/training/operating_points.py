"""Operating points: what ``validate`` measured of a model, and the one that is asked for.

An extra measures them and chooses among them. They lie beside the checkpoint, as ``RUN/operating_points.json``, and not
in it: a checkpoint is resumed from bit by bit, and its SHA-256 says which model they are of. ``export`` puts them into
``ner_module.json``::

    checkpoint              SHA-256 of the model's checkpoint
    decoding                how it was decoded
    temperature, offset     of the scores; see `extras/operating_points/point.py`
    calibration_error       of entities without and with these
    table                   typical ones, as text
    types                   by name: gold, how many entities are annotated; right and wrong, the calibrated scores of
                            predicted entities that are correct or not; candidates, of annotated ones by sentence
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
    """The operating point for what is asked, by the names of :data:`POINT_OPTIONS`; ``None`` for the model's entities.

    ``read`` gives what was measured of the model, and is called where that is needed.

    Raises:
        RunError: what is asked was not measured, or makes no sense.
    """
    asked = {name: value for name, value in asked.items() if value not in (None, False)}
    if not asked:
        return None
    points: list[OperatingPoint] = call_all("point", read, labels, decoding, asked)
    if not points:
        raise RunError(f"{', '.join(asked)}: the extra operating_points, which would choose, is not there")
    return points[0]


def read_points(checkpoint: Path | None) -> dict[str, Any] | None:
    """What was measured of a checkpoint, and lies in its run; ``None`` where it is missing or another's."""
    run_dir = run_dir_of(checkpoint) if checkpoint else None
    points = load_points(run_dir / POINTS) if run_dir else {}
    if checkpoint and points and points["checkpoint"] != sha256_of(checkpoint):
        log.warning("the operating points of %s are of another checkpoint than %s, and not used", run_dir, checkpoint)
        return None
    return points or None


def load_points(path: Path) -> dict[str, Any]:
    """What ``validate`` wrote, empty where there is no such file; a :class:`RunError` for anything else."""
    points = read_json_object(path)
    if points and (problem := points_problem(points)):
        raise RunError(f"{path} is not what `validate` writes ({problem}): run `{launch_command()} validate` again")
    return points
