"""Attention block by block: a packed sequence regrouped into padded sequences of similar length, and back.

Shapes: T subword tokens of all sequences, H heads, D units of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ner_module.model.layout import Layout

Attend = Callable[..., Tensor]
"""Computes attention in a block; called like ``scaled_dot_product_attention``."""


class _Regroup(torch.autograd.Function):
    """Tokens of the packed sequence to their places in the blocks; ``(T, …)`` to ``(sum of block sizes, …)``.

    Autograd's own backward adds up with atomic or serial writes. Here it is a gather, too: padding has no gradient,
    since no real token attends to it and its own output is dropped.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return values.index_select(0, layout.take)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].index_select(0, ctx.layout.place), None


class _Restore(torch.autograd.Function):
    """The inverse of :class:`_Regroup`, dropping what padding computed."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, layout: Layout) -> Tensor:
        ctx.layout, ctx.size = layout, values.shape[0]
        return values.index_select(0, layout.place)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        spread = gradient.new_zeros((ctx.size, *gradient.shape[1:]))
        return spread.index_copy_(0, ctx.layout.place, gradient), None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def in_blocks(
    states_THD: list[Tensor], layout: Layout, dropout: float, scaling: float | None, window: int | None, attend: Attend
) -> Tensor:
    """Query, key and value ``(T, H, D)`` to attention ``(1, T, H, D)``, one call of ``attend`` for each block.

    ``window`` says how far to either side tokens attend; ``None``: as far as their sequence goes.
    """
    shape = states_THD[0].shape[1:]
    regroup, restore = cast(Any, _Regroup.apply), cast(Any, _Restore.apply)
    regrouped = [regroup(states.flatten(1), layout) for states in states_THD]
    outputs = []
    for index, block in enumerate(layout.blocks):
        part = slice(block.start, block.start + block.size)
        query, key, value = (
            states[part].view(len(block.lengths), block.longest, *shape).transpose(1, 2) for states in regrouped
        )
        mask = layout.mask(index, window)
        out = attend(query, key, value, mask, dropout, scale=scaling)
        outputs.append(out.transpose(1, 2).reshape(block.size, -1))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    restored: Tensor = restore(joined, layout)
    return restored.view(1, layout.total, *shape)
