"""Progress: Lightning's bar in a terminal, otherwise (and for ``predict``) a line at intervals.

Lines are written to standard error, since standard output may contain results.
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
"""In the first minute; six times as long afterwards."""
_SECONDS_BETWEEN_READINGS = 2.0


def progress_bar(command: str) -> Callback:
    """The callback that shows the progress of a command."""
    return _EpochBar() if command != "predict" and sys.stdout.isatty() else LineProgress()


class _EpochBar(RichProgressBar):
    """Lightning's bar; epochs count from 1 as in the results table, the loss is read every two seconds."""

    _read = float("-inf")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """No metrics; reads the loss at intervals, since this waits for the device."""
        if time.monotonic() - self._read > _SECONDS_BETWEEN_READINGS:
            self._pace.loss = f"  loss {_loss(trainer):.4f}"
            self._read = time.monotonic()
        return {}

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Lightning's columns with different times and rate."""
        self._pace = _PaceColumn(trainer)
        return [*super().configure_columns(trainer)[:3], self._pace]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the bar, which would be drawn again below later output."""
        self._stop_progress()

    on_test_epoch_end = on_train_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the bar after ``validate``."""
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
        """The rate and times; empty before the first batches."""
        pace = _pace(self._trainer, 1 / task.speed, int(task.remaining or 0)) if task.speed else ""
        return Text(pace + self.loss * self._trainer.training)


class LineProgress(ProgressBar):
    """A line at intervals: stage, finished batches, loss, rate and time left.

    The rate is measured since the previous line, or since the first batch of an epoch or after a validation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._begun = time.monotonic()
        self._line = ("", 0, 0.0)  # stage, batch and time when the last line was due

    def disable(self) -> None:
        """Called in all processes but the first."""
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
    """The running stage, its number of batches, and the number of later epochs."""
    if trainer.predicting:
        return "predicting", int(trainer.num_predict_batches[0]), 0
    if trainer.testing:
        return "testing", int(trainer.num_test_batches[0]), 0
    if not trainer.training:
        return "validating", int(trainer.num_val_batches[0]), 0
    return _epoch(trainer), int(trainer.num_training_batches), (trainer.max_epochs or 0) - trainer.current_epoch - 1


def _pace(trainer: Trainer, seconds: float, batches_left: int) -> str:
    """The rate, and the time left of this stage and of the training; ``seconds`` are those per batch."""
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
