"""AdamW with learning rates by layer, freezing, clipping, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

SchedulerType = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant", "constant_with_warmup"
]

Freeze = Literal["none", "embeddings", "encoder"] | int


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a ``MisconfigurationException`` for invalid options of ``NERModule``."""
    head, frozen, dropout = (options[name] for name in ("head_learning_rate", "freeze", "dropout"))
    for name, fits, asked in (
        ("learning_rate", 0 < options["learning_rate"] < math.inf, "more than 0"),
        ("head_learning_rate", head is None or 0 < head < math.inf, "more than 0"),
        ("weight_decay", 0 <= options["weight_decay"] < math.inf, "0 or more"),
        ("warmup_ratio", 0 <= options["warmup_ratio"] <= 1, "0 to 1"),
        ("layer_decay", 0 < options["layer_decay"] <= 1, "more than 0 and at most 1"),
        ("freeze", isinstance(frozen, str) or frozen >= 0, "a number of layers"),
        ("dropout", dropout is None or 0 <= dropout < 1, "0 or more and less than 1"),
    ):
        if not fits:
            raise MisconfigurationException(f"--model.{name}: it is {options[name]}; give {asked}")
    if options["crf"] and (options["decoding"] != "viterbi" or options["distillation"]):
        raise MisconfigurationException("--model.crf true needs --model.decoding viterbi, and no distillation")


def _depths(model: nn.Module) -> tuple[dict[str, int], int]:
    """The depth of each parameter of a transformers model by name, and the number of layers.

    0 for the embeddings, 1 for the first layer, and so on; the head is one deeper than the last layer. Modules between
    embeddings and layers count with the embeddings, modules after the layers with the last one.
    """
    encoder = f"{getattr(model, 'base_model_prefix', '')}."
    lists = {name: len(child) for name, child in model.named_modules() if isinstance(child, nn.ModuleList)}
    lists = {f"{name}.": length for name, length in lists.items() if name.startswith(encoder)}
    layers = max(lists, key=lists.__getitem__, default=None)
    last = lists[layers] if layers else 0
    depths, reached = {}, 0
    for name, _ in model.named_parameters():
        if layers and name.startswith(layers):
            reached = int(name.removeprefix(layers).split(".")[0]) + 1
        depths[name] = reached if name.startswith(encoder) else last + 1
    return depths, last


def freeze(model: nn.Module, what: Freeze) -> None:
    """Freeze the ``embeddings``, the embeddings and a number of lowest layers, or the whole ``encoder``.

    Raises:
        MisconfigurationException: the model has fewer layers.
    """
    depths, last = _depths(model)
    deepest = {"none": -1, "embeddings": 0, "encoder": last}[what] if isinstance(what, str) else what
    if deepest > last:
        raise MisconfigurationException(f"--model.freeze {what}: the model has {last} layers")
    for name, parameter in model.named_parameters():
        if depths[name] <= deepest:
            parameter.requires_grad_(False)


def make_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    fused: bool,
    head_learning_rate: float | None = None,
    layer_decay: float = 1.0,
    others: Iterable[nn.Parameter] = (),
) -> torch.optim.AdamW:
    """AdamW with betas (0.9, 0.999) and eps 1e-8; ``fused`` updates all parameters in one kernel.

    Each rate has two parameter groups, the last layer's first: weights with decay; biases and norms without, as in the
    transformers `Trainer`. Frozen parameters are included, so that a callback may unfreeze them. ``others`` have the
    head's rate, without decay.
    """
    spared = {
        id(parameter)
        for child in model.modules()
        for name, parameter in child.named_parameters(recurse=False)
        if type(child).__name__.endswith("Norm") or name == "bias"
    }
    depths, last = _depths(model)
    rates = {depth: learning_rate * layer_decay ** (last - depth) for depth in range(last, -1, -1)}
    rates[last + 1] = learning_rate if head_learning_rate is None else head_learning_rate
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {
        (rate, decays): [] for rate in rates.values() for decays in (True, False)
    }
    for name, parameter in model.named_parameters():
        groups[rates[depths[name]], id(parameter) not in spared].append(parameter)
    groups[rates[last + 1], False] += others
    optimizer = torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ],
        lr=learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=fused,
    )
    # Otherwise Lightning refuses to clip under autocast, even in bfloat16, where gradients are not scaled. `fused` is
    # never combined with float16.
    optimizer._step_supports_amp_scaling = False
    optimizer.register_load_state_dict_pre_hook(_checked_state)
    return optimizer


def _checked_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """Take only moments and rates from a checkpoint, of the right shapes: a fused step writes past smaller moments.

    Raises:
        ValueError: a moment does not have its parameter's shape.
    """
    groups = []
    for own, theirs in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        groups.append({**own, "params": theirs["params"], "lr": float(theirs["lr"])})
        for parameter, number in zip(own["params"], theirs["params"], strict=True):
            state = saved["state"].get(number, {})
            found = {name: value.shape for name, value in state.items() if value.is_floating_point()}
            shape = parameter.shape
            if state and found != {"step": torch.Size(), "exp_avg": shape, "exp_avg_sq": shape}:
                raise ValueError(f"the optimiser's state of a parameter {tuple(shape)} is another one's")
    return {**saved, "param_groups": groups}


def clip_within_step(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Clip gradients by their total norm within a fused optimiser's next step, which saves a pass over them.

    Equivalent to ``clip_grad_norm_``; the kernel divides by the factor as if it came from a gradient scaler.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    # The kernel needs float32 for any dtype of weights; `clip_grad_norm_` adds the same 1e-6.
    divisor = (torch.nn.utils.get_total_norm(gradients).float() + 1e-6) / max_norm
    optimizer.grad_scale = divisor.clamp(min=1.0)  # type: ignore[attr-defined]


@cache
def clips_within_step(device: torch.device) -> bool:
    """Whether :func:`clip_within_step` works on a device, by trial: MPS ignores the factor (pytorch#186360)."""
    parameter = nn.Parameter(torch.zeros(1, device=device))
    optimizer = make_optimizer(nn.ParameterList([parameter]), 1.0, 0.0, fused=True)
    parameter.grad = torch.full_like(parameter, 4.0)
    clip_within_step(optimizer, 1.0)
    optimizer.step()
    moment: float = optimizer.state[parameter]["exp_avg"].item()  # a tenth of the gradient
    return abs(moment - 0.1) < 1e-3


def make_scheduler(
    optimizer: torch.optim.Optimizer, kind: SchedulerType, total_steps: int, warmup_ratio: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear warm-up, then transformers' schedule of this name; stepped once per optimiser step."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if kind == "constant" else kind  # its `constant` has no warm-up
    warmup = math.ceil(total_steps * warmup_ratio)
    scheduler: torch.optim.lr_scheduler.LambdaLR = get_scheduler(name, optimizer, warmup, total_steps)
    return scheduler
