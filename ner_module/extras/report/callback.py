"""Writes the report when there is something new to show: after ``fit``, ``validate`` and ``test``."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, Trainer

from ner_module.errors import UserError
from ner_module.extras.after_run import AfterRun
from ner_module.extras.analysis.callback import analysis_of
from ner_module.extras.report.page import write_report

log = logging.getLogger(__name__)


class ReportPage(AfterRun):
    """Writes ``RUN/report.html`` and ``RUN/report.png``; comes after whatever writes results."""

    def write(self, trainer: Trainer) -> None:
        """Write them; a training does not end with what is wrong here."""
        try:
            path = write_report(self.run_dir, analysis=analysis_of(trainer))
        except UserError as error:  # another file of the run was edited; what was computed is safe
            log.warning("no report: %s", error)
        except Exception as error:  # a mistake of ours in drawing
            log.warning("no report (%s: %s); please report this", type(error).__name__, error)
        else:
            log.info("%-10s %s", "report", path)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [ReportPage(run.run_dir)] if run.command != "predict" else []
