"""How far a prediction is, in sentences and with the time left: a bar in a terminal, a line now and then elsewhere.

Batches come sorted by length, so the number of batches says little about the time: it is told from the subwords.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_SECONDS_BETWEEN_LINES = 10.0


class PredictionProgress(ProgressBar):
    """Shows sentences done, sentences per second and the time left; on standard error, where no results go."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, after what an earlier attempt has done."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        lengths = data.encoded["predict"].sentence_lengths()
        self._lengths, self._skipped, self._total = lengths, data.predicted_before, len(lengths)
        self._subwords_left = int(lengths[self._skipped :].sum())
        self._sentences = self._subwords = 0
        self._started = self._last = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            columns = (TextColumn("predicting"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=max(self._subwords_left, 1), text="")
            self._bar.start()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Count; show now and then. The other processes are taken to be as far as this one."""
        if not self._enabled:
            return
        indices = outputs["sentence_index"].cpu().numpy()
        self._sentences += len(indices) * trainer.world_size
        self._subwords += int(np.sum(self._lengths[indices])) * trainer.world_size
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=min(self._subwords, self._subwords_left), text=self._text(now))
        elif now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self.print(f"predicting  {self._text(now)}")

    def _text(self, now: float) -> str:
        done = min(self._skipped + self._sentences, self._total)
        seconds = max(now - self._started, 1e-9)
        left = seconds * max(self._subwords_left - self._subwords, 0) / max(self._subwords, 1)
        minutes, seconds_left = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        time_left = f"{hours}:{minutes:02d}:{seconds_left:02d}" if hours else f"{minutes}:{seconds_left:02d}"
        return f"{done:,}/{self._total:,} sentences  {self._sentences / seconds:,.0f} sentences/s  {time_left} left"

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away, however the prediction ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def print(self, *args: Any, **kwargs: Any) -> None:
        """To standard error: standard output may hold results."""
        print(*args, file=sys.stderr, flush=True, **kwargs)
