"""Says in plain words why a training cannot work, or did not.

A published few-shot run ended with F1 0.0 after 6 steps, and nothing told its author why. Here it is told: before the
first step, and at the end.
"""

from __future__ import annotations

import logging
import math

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

log = logging.getLogger(__name__)

# A rule of thumb, not a measurement: the published few-shot run had 6 steps and found nothing, the small one 260.
_TOO_FEW_STEPS = 100


class TrainingHealth(Callback):
    """Warns of too few steps, and of a model that found nothing."""

    def __init__(self) -> None:
        self._best: float | None = None

    def state_dict(self) -> dict[str, float | None]:
        """The best F1 so far; a resumed training has found what the one before it found."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Go on from a checkpoint."""
        self._best = state_dict["best"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the steps of the whole training."""
        steps = trainer.estimated_stepping_batches
        if trainer.fast_dev_run or steps >= _TOO_FEW_STEPS:  # type: ignore[attr-defined]
            return
        epochs = max(trainer.max_epochs or 1, 1)
        enough = math.ceil(3 * _TOO_FEW_STEPS / (steps / epochs))
        log.warning(
            "This training has %d steps in all (%d epochs of %d): a new head needs some hundred to leave 'no entity' "
            "behind, so expect F1 near 0. Give --trainer.max_epochs %d, or more sentences.",
            steps,
            epochs,
            math.ceil(steps / epochs),
            enough,
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember whether anything was ever found."""
        self._best = max(self._best or 0.0, float(trainer.callback_metrics.get("val/f1", 0.0)))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain an F1 of 0."""
        if trainer.fast_dev_run or self._best != 0 or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        # Through the console, which knows of the progress bar that still stands on the last line.
        get_console().print(
            f"F1 stayed 0.0: the model never found a correct entity in {trainer.global_step:,} steps. Most often "
            "training was too short (see the step count above); else the learning rate "
            f"({pl_module.hparams['learning_rate']:g}) is too low, or so high that one label is predicted everywhere; "
            "or the tags of training and validation data do not agree.\n",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
