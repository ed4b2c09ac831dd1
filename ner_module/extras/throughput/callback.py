"""How fast training is, and where its time goes: one line at the end, and ``throughput`` in ``results.json``.

Time is taken where Lightning passes between the parts of a step: waiting for data, forward (with the loss), backward,
and the optimiser (with clipping). On CUDA these are events on the device, read only when Lightning logs, so that no
step waits for the GPU. With several processes rates are those of this process times their number.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.tables import say
from ner_module.training.results import update_results

_PARTS = ("data", "forward", "backward", "optimizer")
_SUMS = ("batches", "sentences", "subwords", "computed", "attention", *_PARTS)
"""What is added up over steps; times in seconds."""


class Throughput(Callback):
    """Measures training, and reports it in ``run_dir``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._all = np.zeros(len(_SUMS))
        self._pending: list[tuple[list[float], list[Any]]] = []
        self._marks: list[Any] = []
        self._waiting_since = 0.0
        self._seen = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where it computes."""
        self._device = pl_module.device

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to wait for data; after a validation, too, which is no waiting."""
        self._waiting_since = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here."""
        self._marks = [time.perf_counter() - self._waiting_since, self._mark()]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """The loss is known; after backward, the gradients are."""
        self._marks.append(self._mark())

    on_after_backward = on_before_backward

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the step, except the first, which also sets up kernels and the optimiser."""
        waited, *marks = *self._marks, self._mark()
        self._seen += 1
        if self._seen > 1 and len(marks) == 4:
            lengths = batch["lengths"]
            computed = pl_module.computed_tokens(lengths)  # type: ignore[operator]
            self._pending.append(([1, len(lengths), sum(lengths), *computed, waited], marks))
        if trainer._logger_connector.should_update_logs:
            self._read()
        self._waiting_since = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line and write the numbers."""
        self._read()
        if not self._all.any() or not trainer.is_global_zero:
            return
        total: dict[str, float] = dict(zip(_SUMS, self._all.tolist(), strict=True))
        seconds = sum(total[part] for part in _PARTS)
        numbers = {
            "subwords_per_second": trainer.world_size * total["subwords"] / seconds,
            "sentences_per_second": trainer.world_size * total["sentences"] / seconds,
            "padding": 1 - total["subwords"] / total["computed"],
            "attention_padding": 1 - total["subwords"] / total["attention"],
            "step_ms": 1000 * seconds / total["batches"],
            **{f"{part}_ms": 1000 * total[part] / total["batches"] for part in _PARTS},
            "peak_memory_mb": peak_memory(self._device) / 2**20,
        }
        update_results(self.run_dir, {"throughput": {name: round(value, 4) for name, value in numbers.items()}})
        shares = ", ".join(f"{part} {numbers[f'{part}_ms'] / numbers['step_ms']:.0%}" for part in _PARTS)
        say(
            f"Speed: {numbers['sentences_per_second']:,.0f} sentences/s, {numbers['subwords_per_second']:,.0f} subword "
            f"tokens/s; padding {numbers['padding']:.0%}; {numbers['step_ms']:,.0f} ms a batch ({shares}); "
            f"peak memory {numbers['peak_memory_mb']:,.0f} MB"
        )

    def _mark(self) -> Any:
        """A point in time: of the device where it works on its own, else of the host."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _read(self) -> None:
        """Turn the points in time of the last steps into seconds; on CUDA the only wait."""
        cuda = self._device.type == "cuda"
        if self._pending and cuda:
            torch.cuda.synchronize(self._device)
        for sums, marks in self._pending:
            pairs = itertools.pairwise(marks)
            self._all += [*sums, *(start.elapsed_time(end) / 1000 if cuda else end - start for start, end in pairs)]
        self._pending.clear()


def peak_memory(device: torch.device) -> float:
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
