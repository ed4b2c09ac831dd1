"""Attention by its formula, for training on CPU, where that is faster than torch's fused attention.

With dropout, torch computes attention on CPU by the formula as well; :func:`attend` takes fewer operators, and masks
that are drawn fast (`dropout.py`). Without, torch's is fused, but in bfloat16 it takes two to three times as long.

Shapes: N sequences of equal (padded) length L, H heads, D units of a head.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ner_module.extras.cpu.dropout import apply_mask, draw_mask, num_kept


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, scale: float
    ) -> Tensor:
        scores = (query @ key.transpose(-1, -2)).mul_(scale)
        if mask is not None:
            scores.masked_fill_(~mask, -torch.inf)
        shares = torch.softmax(scores, -1)
        kept = draw_mask(shares.shape, p, shares.dtype) if p > 0 else None
        ctx.save_for_backward(query, key, value, shares, kept)
        ctx.scale, ctx.p = scale, p
        return (shares if kept is None else apply_mask(shares, kept, p)) @ value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value, shares, kept = ctx.saved_tensors
        of_shares = gradient @ value.transpose(-1, -2)
        given = shares
        if kept is not None:
            given, of_shares = (apply_mask(part, kept, ctx.p) for part in (shares, of_shares))
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype).mul_(ctx.scale)
        return (
            of_scores @ key,
            of_scores.transpose(-1, -2) @ query,
            given.transpose(-1, -2) @ gradient,
            *(None, None, None),
        )


def use_unfused_attention(query: Tensor, p: float) -> bool:
    """Whether :func:`attend` is faster than torch's fused attention: on CPU, when there will be a backward pass."""
    if query.device.type != "cpu" or not torch.is_grad_enabled() or not num_kept(p):
        return False
    return p > 0 or query.dtype == torch.bfloat16


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, scale: float | None) -> Tensor:
    """``scaled_dot_product_attention`` on CPU, by the formula.

    Query, key, value and what is returned are ``[N, H, L, D]``; the mask is bool, broadcast to ``[N, H, L, L]``: the
    keys that queries attend to, one at least; ``None`` for all. ``p``, less than 1, is of a share of attention.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    with torch.autocast("cpu", enabled=False):  # or softmax, and what follows, would be in float32
        attended: Tensor = cast(Any, _Attend.apply)(query, key, value, mask, p, scale)
    return attended


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, *, scale: float | None = None
) -> Tensor:
    """``scaled_dot_product_attention``, by the formula where that is faster."""
    if use_unfused_attention(query, p):
        return attend(query, key, value, mask, p, scale)
    return F.scaled_dot_product_attention(query, key, value, mask, p, scale=scale)
