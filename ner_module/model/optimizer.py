"""AdamW and the learning rate schedule."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

SchedulerType = Literal["linear", "cosine", "constant"]


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights decay; biases and parameters of norms do not (as in the transformers `Trainer`)."""
    norms = (nn.LayerNorm, nn.RMSNorm)
    spared = {
        id(parameter)
        for child in module.modules()
        for name, parameter in child.named_parameters(recurse=False)
        if isinstance(child, norms) or type(child).__name__.endswith("Norm") or name == "bias"
    }
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if id(p) not in spared], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
    ]


def make_optimizer(module: nn.Module, learning_rate: float, weight_decay: float, fused: bool) -> torch.optim.AdamW:
    """AdamW with betas (0.9, 0.999) and eps 1e-8; ``fused`` updates all parameters in one kernel."""
    groups = parameter_groups(module, weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=fused)
    # Else Lightning refuses to clip under autocast, bfloat16 too, where no gradient is scaled. Callers do not ask for
    # `fused` with float16.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def clip_within_step(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Clip gradients by their total norm as part of a fused optimiser's next step, which spares a pass over them.

    As ``clip_grad_norm_``, but the kernel divides, as by a gradient scaler's factor. On CUDA it writes the clipped
    gradients back; on CPU they stay as they are.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    # In float32, which the kernel takes whatever the weights are; `clip_grad_norm_` adds that much, too.
    divisor = (torch.nn.utils.get_total_norm(gradients).float() + 1e-6) / max_norm
    optimizer.grad_scale = divisor.clamp(min=1.0)  # type: ignore[attr-defined]


@cache
def clips_within_step(device: torch.device) -> bool:
    """Whether :func:`clip_within_step` clips on a device, by trying it: MPS ignores the factor (pytorch#186360)."""
    parameter = nn.Parameter(torch.zeros(1, device=device))
    optimizer = make_optimizer(nn.ParameterList([parameter]), 1.0, 0.0, fused=True)
    parameter.grad = torch.full_like(parameter, 4.0)
    clip_within_step(optimizer, 1.0)
    optimizer.step()
    moment: Tensor = optimizer.state[parameter]["exp_avg"]  # a tenth of the gradient
    return abs(moment.item() - 0.1) < 1e-3


def make_scheduler(
    optimizer: torch.optim.Optimizer, kind: SchedulerType, total_steps: int, warmup_ratio: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear rise over the warm-up, then ``linear`` to 0, ``cosine`` to 0, or ``constant``; stepped every step."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if kind == "constant" else kind
    warmup = math.ceil(total_steps * warmup_ratio)
    scheduler: torch.optim.lr_scheduler.LambdaLR = get_scheduler(name, optimizer, warmup, total_steps)
    return scheduler
