"""How far a command is: Lightning's bar in a terminal, a line now and then elsewhere and for ``predict``.

Lines go to standard error: standard output may hold results.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar

_SECONDS_BETWEEN_LINES = 10.0
"""In the first minute; then six times as many."""
_SECONDS_BETWEEN_READINGS = 2.0


def progress_bar(command: str) -> Callback:
    """The callback that shows the progress of a command."""
    return _EpochBar() if command != "predict" and sys.stdout.isatty() else LineProgress()


class _EpochBar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as in the results table, and the loss, read every other second."""

    _read = float("-inf")
    _metrics: dict[str, Any]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The loss; reading it waits for the device."""
        if time.monotonic() - self._read > _SECONDS_BETWEEN_READINGS:
            self._metrics = {"train/loss": _loss(trainer)}
            self._read = time.monotonic()
        return self._metrics

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the terminal to what follows; the bar would be drawn once more below it."""
        self._stop_progress()

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer).capitalize()


class LineProgress(ProgressBar):
    """A line now and then: what is running, how much is done, the loss, the rate and the time left.

    ``predict`` counts sentences, and takes the time left from their subword tokens: batches come sorted by length.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._first: int | None = None  # the batch at which counting began
        self._started = self._last = 0.0
        self._begun = time.monotonic()
        self._sentences = self._subwords = 0
        self._lengths: Any = None

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """To standard error."""
        print(*args, file=sys.stderr, flush=True, **kwargs)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew; also where a validation within the epoch has taken time."""
        self._first = None

    on_validation_start = on_validation_end = on_test_start = on_train_epoch_start

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Begin to count with this batch: the first one, after a validation, or where a resumed run begins."""
        if self._first is None:
            self._first = batch_idx
            self._started = self._last = time.monotonic()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_train_batch_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if one is due."""
        if self._due():
            epochs = max(0, (trainer.max_epochs or 0) - trainer.current_epoch - 1)
            more = f"  loss {_loss(trainer):.4f}"
            self._print_batches(_epoch(trainer), batch_idx + 1, self.total_train_batches, more, epochs)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Print a line if one is due."""
        if self._due():
            totals = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
            self._print_batches("testing" if trainer.testing else "validating", batch_idx + 1, totals[0])

    on_test_batch_end = on_validation_batch_end

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Count sentences; the other processes are taken to be as far as this one."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._lengths is None:
            self._lengths = data.encoded["predict"].sentence_lengths()
        lengths, before = self._lengths, data.predicted_before
        indices = outputs["sentence_index"]
        self._sentences += len(indices) * trainer.world_size
        self._subwords += int(np.sum(lengths[indices])) * trainer.world_size
        if self._due():
            left = int(lengths[before:].sum()) - self._subwords
            done = f"{min(before + self._sentences, len(lengths)):,}/{len(lengths):,} sentences"
            pace = self._pace("sentence", "sentences", self._sentences, self._subwords, left)
            self.print(f"predicting  {done}  {pace}")

    def _due(self) -> bool:
        now = time.monotonic()
        wait = _SECONDS_BETWEEN_LINES * (6 if now - self._begun > 60 else 1)
        if not self._enabled or now - self._last < wait:
            return False
        self._last = now
        return True

    def _print_batches(self, name: str, done: int, total: float, more: str = "", epochs: int = 0) -> None:
        counted = done - (self._first or 0)
        pace = self._pace("batch", "batches", counted, counted, total - done)
        line = f"{name}  batch {done}/{total:.0f}{more}  {pace}"
        if epochs:
            seconds = (time.monotonic() - self._started) / counted * (total - done + epochs * total)
            line += f", {_clock(seconds)} of the training"
        self.print(line)

    def _pace(self, item: str, items: str, done: float, work_done: float, work_left: float) -> str:
        """Items per second since counting began, and the time left at the rate of work, which may be another unit."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = f"{done / seconds:,.1f} {items}/s" if done >= seconds else f"{seconds / max(done, 1):,.1f} s/{item}"
        return f"{rate}  {_clock(seconds * max(work_left, 0) / max(work_done, 1))} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _loss(trainer: Trainer) -> float:
    return float(trainer.callback_metrics.get("train/loss", float("nan")))


def _epoch(trainer: Trainer) -> str:
    epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{epochs}"
