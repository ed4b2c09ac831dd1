"""Linear layers on AMD processors with AVX-512: the products of oneDNN, in float32, in place of MKL's.

In float32 torch multiplies by MKL, which was less than half as fast on an AMD EPYC. Both are float32 throughout; sums
are added up in another order. Whether a machine is of that kind is read from the processor's name and never measured,
so that a run on the same machine has the same bits. For bfloat16 torch takes oneDNN by itself.

Shapes: M rows, I inputs, O outputs.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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


def use_fast_linear(model: nn.Module) -> None:
    """Make each ``nn.Linear`` of a model a :class:`FastLinear`, where this machine has a use for it."""
    if not onednn_is_faster():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
