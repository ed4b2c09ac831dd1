"""How far a command is: Lightning's bar in a terminal, a line now and then elsewhere and for ``predict``.

Lines go to standard error: standard output may hold results.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10.0
"""In the first minute; then six times as many."""
_SECONDS_BETWEEN_READINGS = 2.0


def progress_bar(command: str) -> Callback:
    """The callback that shows the progress of a command."""
    return _EpochBar() if command != "predict" and sys.stdout.isatty() else LineProgress()


class _EpochBar(RichProgressBar):
    """Lightning's bar; epochs count from 1 as in the results table, the loss is read every other second."""

    _read = float("-inf")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Nothing; reads the loss now and then, which waits for the device."""
        if time.monotonic() - self._read > _SECONDS_BETWEEN_READINGS:
            self._pace.loss = f"  loss {_loss(trainer):.4f}"
            self._read = time.monotonic()
        return {}

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Lightning's, but for its times and rate."""
        self._pace = _PaceColumn(trainer)
        return [*super().configure_columns(trainer)[:3], self._pace]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the terminal to what follows; the bar would be drawn once more below it."""
        self._stop_progress()

    on_test_epoch_end = on_train_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same after ``validate``."""
        super().on_validation_epoch_end(trainer, pl_module)
        if trainer.state.fn == "validate":
            self._stop_progress()

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer).capitalize()


class _PaceColumn(ProgressColumn):
    max_refresh, loss = 0.5, ""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(Column(no_wrap=True))
        self._trainer = trainer

    def render(self, task: Task) -> Text:
        """Nothing before the rate is known."""
        pace = _pace(self._trainer, 1 / task.speed, int(task.remaining or 0)) if task.speed else ""
        return Text(pace + self.loss * self._trainer.training)


class LineProgress(ProgressBar):
    """A line now and then: what is running, how many batches are done, the loss, the rate and the time left.

    The rate is that of the batches since the line before, or since the first batch of an epoch or of its rest after a
    validation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._begun = time.monotonic()
        self._line = ("", 0, 0.0)  # what was running when the last line was due, its batch and the time

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        running, total = _stage(trainer)[:2]
        last_running, last_batch, last_time = self._line
        if running != last_running:
            self._line = running, batch_idx, now
            return
        wait = _SECONDS_BETWEEN_LINES * (6 if now - self._begun > 60 else 1)
        if not self._enabled or now - last_time < wait:
            return
        self._line = running, batch_idx, now
        seconds = max(now - last_time, 1e-9) / (batch_idx - last_batch)
        loss = f"  loss {_loss(trainer):.4f}" if trainer.training else ""
        pace = _pace(trainer, seconds, total - batch_idx - 1)
        print(f"{running}  batch {batch_idx + 1}/{total}{loss}  {pace}", file=sys.stderr, flush=True)

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end


def _stage(trainer: Trainer) -> tuple[str, int, int]:
    """What is running, its number of batches, and the epochs after this one."""
    if trainer.predicting:
        return "predicting", int(trainer.num_predict_batches[0]), 0
    if trainer.testing:
        return "testing", int(trainer.num_test_batches[0]), 0
    if not trainer.training:
        return "validating", int(trainer.num_val_batches[0]), 0
    return _epoch(trainer), int(trainer.num_training_batches), (trainer.max_epochs or 0) - trainer.current_epoch - 1


def _pace(trainer: Trainer, seconds: float, batches_left: int) -> str:
    """The rate by the seconds of a batch, and the time left of what is running and of the training."""
    _, total, epochs_left = _stage(trainer)
    rate = f"{1 / seconds:,.1f} batches/s" if seconds <= 1 else f"{seconds:,.1f} s/batch"
    training = f", training {_clock(seconds * (batches_left + epochs_left * total))}" if epochs_left > 0 else ""
    return f"{rate}  {_clock(seconds * batches_left)} left{training}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")


def _loss(trainer: Trainer) -> float:
    return float(trainer.callback_metrics.get("train/loss", float("nan")))


def _epoch(trainer: Trainer) -> str:
    epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{epochs}"
