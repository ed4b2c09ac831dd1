"""Writes the report when there is something new to show: after ``fit``, ``validate`` and ``test``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.errors import RunError
from ner_module.extras.report.page import write_report

log = logging.getLogger(__name__)


class ReportPage(Callback):
    """Writes ``RUN/report.html`` and ``RUN/report.png``, on the first process; comes after whatever writes results.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After training."""
        self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``test``."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not (self.run_dir / "results.json").is_file():
            return
        try:
            path = write_report(self.run_dir)
        except RunError as error:  # another file of the run was edited; what was computed is safe
            log.warning("no report: %s", error)
        except Exception as error:  # a mistake of ours in drawing; the training must not end with it
            log.warning("no report (%s: %s); please report this", type(error).__name__, error)
        else:
            log.info("%-10s %s", "report", path)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [ReportPage(run.run_dir)]
