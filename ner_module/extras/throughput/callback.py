"""How fast training is: one line at the end, and ``throughput`` in ``results.json``.

Rates are what was trained on divided by the time on the clock, waiting for data included; validation, and what follows
an epoch, are left out. With several processes they are those of this process times their number.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.tables import say
from ner_module.training.results import update_results


class Throughput(Callback):
    """Measures training, and reports it in ``run_dir``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._batches = self._sentences = self._subwords = 0
        self._seconds = self._since = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; after a validation, too."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock when the GPU, which computes behind the host's back, has finished what it was given."""
        if trainer.sanity_checking:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now

    on_validation_end = on_train_start = on_train_epoch_start  # a begun epoch, resumed, does not start
    on_train_epoch_end = on_validation_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        self._batches += 1
        self._sentences += len(batch["lengths"])
        self._subwords += sum(batch["lengths"])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line and write the numbers."""
        if not self._batches or not trainer.is_global_zero:  # a resumed run may have only a validation left
            return
        numbers = {
            "subwords_per_second": trainer.world_size * self._subwords / self._seconds,
            "sentences_per_second": trainer.world_size * self._sentences / self._seconds,
            "step_ms": 1000 * self._seconds / self._batches,
            "peak_memory_mb": _peak_memory(pl_module.device) / 2**20,
        }
        update_results(self.run_dir, {"throughput": {name: round(value, 4) for name, value in numbers.items()}})
        say(
            f"Speed: {numbers['sentences_per_second']:,.0f} sentences/s, {numbers['subwords_per_second']:,.0f} subword "
            f"tokens/s; {numbers['step_ms']:,.0f} ms per batch; peak memory {numbers['peak_memory_mb']:,.0f} MB"
        )


def _peak_memory(device: torch.device) -> float:
    """Bytes: what tensors took at most on CUDA, the whole process elsewhere; 0 where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024)


def callbacks(run: Any) -> list[Callback]:
    """What ``fit`` runs with."""
    return [Throughput(run.run_dir)] if run.command == "fit" else []
