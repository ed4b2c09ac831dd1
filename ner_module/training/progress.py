"""Progress where there is no terminal: a line now and then, instead of a bar that would fill a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

_SECONDS_BETWEEN_LINES = 10.0


class LineProgress(ProgressBar):
    """Prints a line every ten seconds: what is running, how far it is, the loss, the rate and the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._started = self._last = 0.0
        self._first: int | None = None  # the batch at which counting began; none when training begins or goes on

    def disable(self) -> None:
        """Called on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def _start(self, first: int = 0) -> None:
        self._started = self._last = time.monotonic()
        self._first = first

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count with the next batch."""
        self._first = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to count: at the start of an epoch, after a validation within, or where a resumed run goes on."""
        if self._first is None:
            self._start(batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What was counted was the validation's."""
        self._first = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Perhaps print a line."""
        if self._due():
            loss = trainer.progress_bar_metrics.get("train/loss", float("nan"))
            epochs = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
            name = f"epoch {trainer.current_epoch + 1}{epochs}"
            self._line(name, batch_idx + 1, self.total_train_batches, f"  loss {float(loss):.4f}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Perhaps print a line."""
        if batch_idx == 0:
            self._start()
        if self._due():
            self._line("validating", batch_idx + 1, trainer.num_val_batches[0])

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Perhaps print a line."""
        if self._due():
            self._line("testing", batch_idx + 1, trainer.num_test_batches[0])

    def _due(self) -> bool:
        now = time.monotonic()
        if not self._enabled or now - self._last < _SECONDS_BETWEEN_LINES:
            return False
        self._last = now
        return True

    def _line(self, name: str, done: int, total: float, more: str = "") -> None:
        rate = (done - (self._first or 0)) / (time.monotonic() - self._started)
        left = (total - done) / rate if rate else 0.0
        minutes, seconds = divmod(round(left), 60)
        self.print(f"{name}  batch {done}/{total:.0f}{more}  {rate:.1f} batches/s  {minutes}:{seconds:02d} left")

    def print(self, *args: Any, **kwargs: Any) -> None:
        """To standard error: standard output may hold results."""
        print(*args, file=sys.stderr, flush=True, **kwargs)
