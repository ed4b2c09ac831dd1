"""The one door to the CPU kernels: a transformers model that computes the same, faster; figures in `benchmarks/`.

Dropout and attention (`attention.py`), linear layers, packed sequences of few lengths, and freed memory
that serves the next step. Each decides by device: on a GPU nothing changes.

Linear layers on AMD processors with AVX-512: in float32 torch multiplies by MKL, which was less than half as fast as
oneDNN on an AMD EPYC. Both are float32 throughout; sums are added up in another order. Whether a machine is of that
kind is read from the processor's name and never measured, so that a run on the same machine has the same bits.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ner_module.extras.cpu.attention import FastDropout, attention

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


@cache
def onednn_is_faster() -> bool:
    """Whether this is an AMD processor with AVX-512 and torch has oneDNN's product for it."""
    if platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        vendor = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    built_in = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(vendor and built_in and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


def onednn_linear(left_MI: Tensor, right_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias`` in float32 by oneDNN: ``[M, O]``; any of the two may be a transposed view."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left_MI, right_OI, bias_O, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_MI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(values_MI, weight_OI)
        return onednn_linear(values_MI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values_MI, weight_OI = ctx.saved_tensors
        (gradient_MO,) = gradients
        of_values, of_weight, of_bias = ctx.needs_input_grad
        return (
            onednn_linear(gradient_MO, weight_OI.T) if of_values else None,
            onednn_linear(gradient_MO.T, values_MI.T) if of_weight else None,
            gradient_MO.sum(0) if of_bias else None,
        )


class FastLinear(nn.Linear):
    """``nn.Linear`` that multiplies by oneDNN where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        """``[…, I]`` to ``[…, O]``."""
        on_cpu = input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        in_float = input.dtype == self.weight.dtype == torch.float32 and input.numel() > 0
        if not (on_cpu and in_float) or torch.compiler.is_compiling():
            return super().forward(input)
        rows = input.reshape(-1, self.in_features)
        out: Tensor = cast(Any, _Linear.apply)(rows, self.weight, self.bias)
        return out.view(*input.shape[:-1], self.out_features)


def use_cpu_kernels(model: Any) -> None:
    """Put the kernels into a model; twice is once."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FastDropout
        elif type(module) is nn.Linear and onednn_is_faster():
            module.__class__ = FastLinear
    if hasattr(model, "attend"):  # computed packed
        model.attend, model.length_multiple = attention, _length_multiple


def _length_multiple(device: torch.device) -> int:
    """16 on CPU, where oneDNN multiplies: it makes and stores kernels for each length, so few lengths are better."""
    onednn = device.type == "cpu" and (torch.is_autocast_enabled("cpu") or onednn_is_faster())
    return 16 if onednn else 1


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse what is freed; false where there is no glibc, and nothing is done.

    A training step allocates the same large tensors each time, which glibc otherwise maps anew from the system: zeroed
    pages, one fault at a time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return all(mallopt(option, _MOST) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


class KeepFreedMemory(Callback):
    """Has the memory of one training step serve the next, on CPU."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the allocator."""
        if pl_module.device.type == "cpu":
            keep_freed_memory()


def callbacks(run: Any) -> list[Callback]:
    """What ``fit`` runs with."""
    return [KeepFreedMemory()] if run.command == "fit" else []
