"""The audit in short at the start of ``fit``, and whole in ``RUN/audit.json``."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.arguments import Run
from ner_module.data.datamodule import NERDataModule
from ner_module.extras.audit.audit import Audit, audit_data

log = logging.getLogger(__name__)

_LINES = 4

# Reported anyway: by `data/` while the data is read, by the health checks after.
_REPORTED = ("misspelt_tag", "unknown_tag", "rare_tag", "changed_spans", "illegal_tags", "type_not_in_training",
             "windows", "clipped_words", "words_without_subword", "few_steps", "no_end")  # fmt: skip


class DataAudit(Callback):
    """Audits the data of a training that begins; on the first process only.

    Args:
        run_dir: where ``audit.json`` goes.
        launch: how a user starts this program, for messages.
    """

    def __init__(self, run_dir: Path, launch: str) -> None:
        self.run_dir, self.launch = run_dir, launch
        self._audit: Audit | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Audit, and log the worst findings; a resumed training has done both."""
        if stage != "fit" or not trainer.is_global_zero or (self.run_dir / "audit.json").is_file():
            return
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        options = ("num_nodes", "accumulate_grad_batches", "max_epochs", "max_steps", "limit_train_batches")
        planned = {name: getattr(trainer, name) for name in options}
        planned["devices"] = trainer.world_size // trainer.num_nodes
        audit = self._audit = audit_data(data, planned, float(pl_module.hparams["warmup_ratio"]))
        severe = [finding for finding in audit.findings if finding.severity != "info"]
        for finding in [finding for finding in severe if finding.code not in _REPORTED][:_LINES]:
            log.warning("%s", finding.line())
        if counts := audit.summary():
            config = shlex.quote(str(self.run_dir / "config.yaml"))
            log.info("%-10s %s; see all: %s audit --config %s", "audit", counts, self.launch, config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole, once a training that cannot start would have stopped."""
        if self._audit is not None:
            self._audit.write(self.run_dir / "audit.json")
            self._audit = None


def callbacks(run: Run) -> list[Callback]:
    """What a command runs with."""
    return [DataAudit(run.run_dir, run.launch)] if run.command == "fit" and run.run_dir is not None else []
