"""``RUN/README.md``, the model card: written after ``fit``, and again after ``validate`` and ``test``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.extras.card.card import write_run_card

log = logging.getLogger(__name__)


class RunCard(Callback):
    """Writes the card from ``results.json`` and what lies beside it; comes after the callbacks that write those.

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
        # A training that was stopped before its first validation has no results.
        if trainer.is_global_zero and (self.run_dir / "results.json").is_file():
            try:
                write_run_card(self.run_dir)
            except (ValueError, KeyError, TypeError) as error:  # results.json or audit.json was edited
                log.warning("no model card was written: %s in %s", error, self.run_dir)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [RunCard(run.run_dir)]
