"""The audit in short at the start of ``fit``, and whole in ``RUN/audit.json``."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.extras.audit.audit import Audit, audit_data
from ner_module.files import write_atomically
from ner_module.training.runs import Run

log = logging.getLogger(__name__)

# `data/` has reported these while it read the data.
_REPORTED = ("how_counted", "misspelt_tag", "unknown_tag", "rare_tag", "changed_spans", "illegal_tags",
             "type_not_in_training", "windows", "clipped_words", "words_without_subword")  # fmt: skip


class DataAudit(Callback):
    """Audits the data of a training that begins; on the first process only."""

    def __init__(self, run_dir: Path, launch: str) -> None:
        self.run_dir, self.launch = run_dir, launch
        self._audit: Audit | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Audit, and log the four worst findings; a resumed training has done both."""
        if stage != "fit" or not trainer.is_global_zero or (self.run_dir / "audit.json").is_file():
            return
        self._audit = audit_data(trainer.datamodule)  # type: ignore[attr-defined]
        worst = [each for each in self._audit.findings if each.severity != "info" and each.code not in _REPORTED]
        for finding in worst[:4]:
            log.warning("%s", finding.line())
        if counts := self._audit.summary():
            config = shlex.quote(str(self.run_dir / "config.yaml"))
            log.info("%-10s %s; see all: %s audit --config %s", "audit", counts, self.launch, config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole, once a training that cannot start would have stopped."""
        if self._audit is not None:
            write_atomically(self.run_dir / "audit.json", self._audit.as_json() + "\n")
            self._audit = None


def callbacks(run: Run) -> list[Callback]:
    """What a command runs with."""
    return [DataAudit(run.run_dir, run.launch)] if run.command == "fit" else []
