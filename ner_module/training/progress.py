"""How far a command is: Lightning's bar in a terminal, a line now and then elsewhere; for ``predict`` in sentences.

All of it goes to standard error where standard output may hold results.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_SECONDS_BETWEEN_LINES = 10.0


def progress_bar(command: str) -> Callback:
    """The callback that shows the progress of a command."""
    if command == "predict":
        return PredictionProgress()
    return _EpochBar() if sys.stdout.isatty() else LineProgress()


class _EpochBar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as in the results table."""

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer).capitalize()


class _Lines(ProgressBar):
    """A line on standard error every ten seconds, and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._started = self._last = 0.0

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """To standard error."""
        print(*args, file=sys.stderr, flush=True, **kwargs)

    def _start(self) -> None:
        self._started = self._last = time.monotonic()

    def _due(self) -> bool:
        now = time.monotonic()
        if not self._enabled or now - self._last < _SECONDS_BETWEEN_LINES:
            return False
        self._last = now
        return True

    def _pace(self, items: str, done: float, work_done: float, work_left: float) -> str:
        """Items per second since the start, and the time left at the rate of work, which may be another unit."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        minutes, left = divmod(round(seconds * max(work_left, 0) / max(work_done, 1)), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
        return f"{done / seconds:,.1f} {items}/s  {clock} left"


class LineProgress(_Lines):
    """For training and evaluation: what is running, how many batches are done, the loss, the rate and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._first: int | None = None  # the batch at which counting began

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
            self._start()

    on_validation_batch_start = on_test_batch_start = on_train_batch_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if one is due."""
        if self._due():
            loss = float(trainer.progress_bar_metrics.get("train/loss", float("nan")))
            self._line(_epoch(trainer), batch_idx + 1, self.total_train_batches, f"  loss {loss:.4f}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Print a line if one is due."""
        if self._due():
            totals = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
            self._line("testing" if trainer.testing else "validating", batch_idx + 1, totals[0])

    on_test_batch_end = on_validation_batch_end

    def _line(self, name: str, done: int, total: float, more: str = "") -> None:
        counted = done - (self._first or 0)
        pace = self._pace("batches", counted, counted, total - done)
        self.print(f"{name}  batch {done}/{total:.0f}{more}  {pace}")


class PredictionProgress(_Lines):
    """For ``predict``: sentences done, sentences per second and the time left; in a terminal as a bar.

    Batches come sorted by length, so the number of batches says little about the time: it follows from the subword
    tokens.
    """

    _bar: Progress | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, after what an earlier attempt has done."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._lengths = data.encoded["predict"].sentence_lengths()
        self._skipped = data.predicted_before
        self._subwords_left = int(self._lengths[self._skipped :].sum())
        self._sentences = self._subwords = 0
        self._start()
        if self._enabled and sys.stderr.isatty():
            columns = (TextColumn("predicting"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=max(self._subwords_left, 1), text="")
            self._bar.start()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Count, and show it if that is due. The other processes are taken to be as far as this one."""
        indices = outputs["sentence_index"].cpu().numpy()
        self._sentences += len(indices) * trainer.world_size
        subwords = int(np.sum(self._lengths[indices])) * trainer.world_size
        self._subwords += subwords
        self._subwords_left -= subwords
        if self._bar is not None:
            self._bar.update(self._task, advance=subwords, text=self._text())
        elif self._due():
            self.print(f"predicting  {self._text()}")

    def _text(self) -> str:
        total = len(self._lengths)
        pace = self._pace("sentences", self._sentences, self._subwords, self._subwords_left)
        return f"{min(self._skipped + self._sentences, total):,}/{total:,} sentences  {pace}"

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar, however the prediction ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _epoch(trainer: Trainer) -> str:
    epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{epochs}"
