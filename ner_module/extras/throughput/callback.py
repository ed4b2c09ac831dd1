"""How fast training is, and where its time goes: logged as ``throughput/…``, one line at the end, ``results.json``.

Time is taken where Lightning passes between the parts of a step: waiting for data, forward (with the loss), backward,
and the optimiser (with clipping). On CUDA these are events on the device, read only when numbers are logged, so that no
step waits for the GPU. Numbers count whole steps of this process; with several processes rates are its own times their
number.

How much of the machine is used is said against its own rate of matrix products, measured at the end with one product
in the precision of the training. What counts as used are the products of the linear layers and of attention on real
subwords, three times over (one forward, two backward): padding and recomputed activations are not use.

Not here: memory running out (`out_of_memory.py`).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from ner_module.offers import call_all
from ner_module.training.results import update_results

_PARTS = ("data", "forward", "backward", "optimizer")


@dataclass
class _Totals:
    """Sums over steps; times in seconds."""

    batches: int = 0
    sentences: int = 0
    subwords: int = 0
    computed: int = 0
    attention: int = 0
    flops: float = 0.0
    data: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimizer: float = 0.0

    def __iadd__(self, other: _Totals) -> _Totals:
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))
        return self

    @property
    def seconds(self) -> float:
        return self.data + self.forward + self.backward + self.optimizer


class Throughput(Callback):
    """Measures training and says the result.

    Args:
        run_dir: where ``results.json`` is; ``None`` writes none.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self._all, self._window = _Totals(), _Totals()
        self._marks: list[Any] = []
        self._pending: list[tuple[_Totals, list[Any]]] = []
        self._waiting_since = 0.0
        self._seen = 0

    # ------------------------------------------------------------------ measuring

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what a subword costs."""
        linear = [part for part in pl_module.modules() if isinstance(part, torch.nn.Linear)]
        # A multiplication and an addition per weight: once forward, twice backward.
        self._flops_per_subword = 6.0 * sum(part.weight.numel() for part in linear)
        config: Any = pl_module.model.config  # type: ignore[union-attr]
        # Scores and sums of values, each of them hidden size times length long.
        self._flops_per_pair = 3.0 * 4 * config.hidden_size * config.num_hidden_layers
        self._device = pl_module.device

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to wait for data."""
        self._waiting_since = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is not waiting for data."""
        self._waiting_since = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here."""
        self._marks = [time.perf_counter() - self._waiting_since, self._mark()]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """The loss is known."""
        self._marks.append(self._mark())

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The gradients are known."""
        self._marks.append(self._mark())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step up; now and then log."""
        self._marks.append(self._mark())
        self._seen += 1
        if self._seen > 1 and len(self._marks) == 5:  # the first step also sets up kernels and the optimiser's state
            lengths = batch["lengths"]
            computed, attention = pl_module.computed_subwords(lengths)  # type: ignore[operator]
            subwords = sum(lengths)
            flops = subwords * self._flops_per_subword + sum(n * n for n in lengths) * self._flops_per_pair
            step = _Totals(1, len(lengths), subwords, computed, attention, flops, data=self._marks[0])
            self._pending.append((step, self._marks[1:]))
        if trainer._logger_connector.should_update_logs:
            self._read()
            if self._window.batches:
                numbers = self._numbers(self._window, trainer.world_size)
                pl_module.log_dict({f"throughput/{name}": value for name, value in numbers.items()})
            self._window = _Totals()
        self._waiting_since = time.perf_counter()

    def _mark(self) -> Any:
        """A point in time: of the device where it works on its own, else of the host."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _read(self) -> None:
        """Turn the points in time of the last steps into seconds; on CUDA the only wait."""
        if self._pending and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        for step, marks in self._pending:
            for part, start, end in zip(_PARTS[1:], marks, marks[1:], strict=False):
                setattr(step, part, start.elapsed_time(end) / 1000 if self._device.type == "cuda" else end - start)
            self._window += step
            self._all += step
        self._pending.clear()

    # ------------------------------------------------------------------ reporting

    def _numbers(self, totals: _Totals, world_size: int) -> dict[str, float]:
        numbers = {
            "subwords_per_second": world_size * totals.subwords / totals.seconds,
            "sentences_per_second": world_size * totals.sentences / totals.seconds,
            "padding": 1 - totals.subwords / totals.computed,
            "attention_padding": 1 - totals.subwords / totals.attention,
            "step_ms": 1000 * totals.seconds / totals.batches,
            "gflops_per_second": totals.flops / totals.seconds / 1e9,
        }
        return numbers | {f"{part}_ms": 1000 * getattr(totals, part) / totals.batches for part in _PARTS}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line and keep the numbers."""
        self._read()
        if not self._all.batches or not trainer.is_global_zero:
            return
        numbers = self._numbers(self._all, trainer.world_size)
        peak = matmul_rate(self._device, trainer.precision in ("bf16-mixed", "bf16-true", "16-mixed", "16-true"))
        numbers |= {"matmul_gflops_per_second": peak, "utilization": numbers["gflops_per_second"] / peak}
        numbers["peak_memory_mb"] = peak_memory(self._device) / 2**20
        if self.run_dir is not None:
            update_results(self.run_dir, {"throughput": {name: round(value, 4) for name, value in numbers.items()}})
        get_console().print(summary(numbers), highlight=False, soft_wrap=True)


def summary(numbers: dict[str, float]) -> str:
    """The line a user reads at the end."""
    shares = ", ".join(f"{part} {numbers[f'{part}_ms'] / numbers['step_ms']:.0%}" for part in _PARTS)
    return (
        f"Speed: {numbers['sentences_per_second']:,.0f} sentences/s, {numbers['subwords_per_second']:,.0f} subwords/s; "
        f"padding {numbers['padding']:.0%} of what is computed (in attention {numbers['attention_padding']:.0%}); "
        f"{numbers['step_ms']:,.0f} ms a batch ({shares}); {numbers['utilization']:.0%} of this machine's matrix "
        f"products ({numbers['matmul_gflops_per_second']:,.0f} GFLOP/s); peak memory "
        f"{numbers['peak_memory_mb']:,.0f} MB"
    )


@torch.no_grad()
def matmul_rate(device: torch.device, half: bool) -> float:
    """GFLOP/s of one large matrix product, the best of six by the library that is faster; some tens of milliseconds."""
    size = 4096 if device.type == "cuda" else 768
    dtype = (torch.float16 if device.type == "mps" else torch.bfloat16) if half else torch.float32
    # A layer as the model has it, with the kernels that an extra put into the model.
    layer = torch.nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    call_all("model", layer)
    values = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(6):
        _wait(device)
        start = time.perf_counter()
        layer(values)
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


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
    """What a command runs with."""
    return [Throughput(run.run_dir)] if run.command == "fit" else []
