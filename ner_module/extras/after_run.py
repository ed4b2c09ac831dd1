"""What extras do when a command has finished with a run: read its directory, and write something into it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.errors import RunError, UserError
from ner_module.files import read_json_object, read_text
from ner_module.tables import Column, Table
from ner_module.training.loggers import read_metrics
from ner_module.training.operating_points import POINTS, load_points
from ner_module.training.results import EPOCH_COLUMNS, is_as_written
from ner_module.training.saved_config import read_config

log = logging.getLogger(__name__)

METRICS_OF = {"test": ("test", "test/"), "validation": ("validate", "val/")}
"""Split -> the command that scores it, and what its metrics begin with."""


@dataclass(kw_only=True)
class RunContents:
    """The files of a run directory, parsed; empty where there is no such file."""

    run_dir: Path = Path()
    results: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    points: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""

    @property
    def title(self) -> str:
        """The last two parts of the directory: recipe and time."""
        return "/".join(self.run_dir.absolute().parts[-2:])

    @property
    def epochs(self) -> list[dict[str, float]]:
        """One row for each validation within ``fit``."""
        return self.results.get("epochs") or []

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The row with the best F1, the first of equals: `best.ckpt` is from there."""
        scored = [row for row in self.epochs if "val/f1" in row]
        return max(scored, key=lambda row: row.get("val/f1") or -math.inf, default=None)

    @property
    def scored_split(self) -> str:
        """``test`` if there are test scores, else ``validation``."""
        return "test" if self.results.get("test") else "validation"

    def scores(self, split: str) -> dict[str, float]:
        """Scores of a split without their prefix: of ``test`` or ``validate``, else of the best epoch."""
        command, prefix = METRICS_OF[split]
        found = self.results.get(command) or (self.best_epoch if split == "validation" else None) or {}
        return {key.removeprefix(prefix): value for key, value in found.items()}

    def option(self, name: str) -> Any:
        """An option of the configuration by its dotted name; ``None`` where it is not set or not known."""
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def epochs_table(self) -> Table:
        """The epochs, the best one emphasised."""
        rows = [[row.get(key) for _, key in EPOCH_COLUMNS] for row in self.epochs]
        best = frozenset({self.epochs.index(self.best_epoch)} if self.best_epoch else ())
        stopped = self.results.get("stopped")
        note = f"stopped: {stopped}" if stopped else ""
        return Table("Training results on validation data", [column for column, _ in EPOCH_COLUMNS], rows, best, note)

    def points_table(self) -> Table | None:
        """What typical operating points reach; ``None`` where ``validate`` measured none."""
        if not self.points:
            return None
        columns = [Column(title) for title in ("type", "for", "threshold", "precision (95 %)", "recall (95 %)")]
        note = (
            "Thresholds of calibrated scores (temperature {temperature:.3g}, offset {offset:.3g}; calibration error "
            "{calibration_error[0]:.4f}, calibrated {calibration_error[1]:.4f}), chosen and measured on the same data."
        )
        note = note.format(**self.points)
        return Table("Operating points on validation data", columns, self.points["table"], note=note)

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The whole rows of `metrics.csv`, without empty cells."""
        path = self.run_dir / "metrics.csv"
        rows = read_metrics(path) if path.is_file() else []
        return [{name: float(cell) for name, cell in row.items() if cell} for row in rows]


def read_run(run_dir: Path) -> RunContents:
    """Read a run directory; all but `results.json` may be missing, and what is not as it was written counts as that.

    Raises:
        UserError: it is no run directory, or a file in it is damaged.
    """
    if not run_dir.is_dir():
        raise RunError(f"{run_dir}: no such run directory")
    results = read_json_object(run_dir / "results.json")
    if not results:
        raise RunError(f"{run_dir} holds no results.json; `fit`, `validate` and `test` write it")
    config, audit = run_dir / "config.yaml", run_dir / "audit.json"
    found = RunContents(run_dir=run_dir, results=results)
    if config.is_file() and is_as_written(config, run_dir, results):
        found.config, found.config_text = read_config(config), read_text(config)
    if is_as_written(audit, run_dir, results):
        found.audit = read_json_object(audit)
    if is_as_written(run_dir / POINTS, run_dir, results):
        found.points = load_points(run_dir / POINTS)
    return found


class AfterRun(Callback):
    """Writes a file after ``fit``, ``validate`` and ``test``, on the first process, once there are results.

    A command does not fail with what is wrong here: what it computed is safe.

    Args:
        run_dir: the run directory.
        what: is written, for messages.
        write: writes it and returns its path.
    """

    def __init__(self, run_dir: Path, what: str, write: Callable[[Trainer], Path]) -> None:
        self.run_dir, self.what, self.write = run_dir, what, write

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After training."""
        # A training that was stopped before its first validation has no results.
        if not trainer.is_global_zero or not (self.run_dir / "results.json").is_file():
            return
        try:
            log.info("%-10s %s", self.what, self.write(trainer))
        except (UserError, OSError) as error:  # a file of the run was edited, or the disk is full
            log.warning("no %s: %s", self.what, error)
        except Exception as error:  # a fault of this program
            log.warning("no %s (%s: %s); please report this", self.what, type(error).__name__, error)

    on_test_end = on_fit_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self.on_fit_end(trainer, pl_module)
