"""Dropout and attention on CPU: the same distribution, masks drawn five times as fast, and attention by its formula.

torch draws a mask on CPU one element after the other. Here each 64 random bits decide about four elements, and every
element is kept with the probability ``round((1 - p) * 65536) / 65536``, exactly; what is kept is divided by that
probability, so the expectation is exact whatever ``p`` is. The bits come from torch's generator: a seed fixes them, and
a resumed run continues them.

With dropout, torch computes attention on CPU by the formula as well; :func:`attention` takes fewer operators, and these
masks. Without, torch's is fused, but in bfloat16 it takes two to three times as long.

Shapes: N sequences of equal (padded) length L, H heads, D units of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DRAWS = 2**16
_ONE = 0x3F80  # 1.0 in bfloat16


def num_kept(p: float) -> int:
    """Of 65,536 elements, how many dropout with probability ``p`` keeps.

    >>> num_kept(0.1), num_kept(0.5), num_kept(1.0)
    (58982, 32768, 0)
    """
    return round((1 - p) * _DRAWS)


def draw_mask(shape: torch.Size, p: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Which elements are kept (``p`` is less than 1), on CPU, from torch's default generator.

    Zeros and ones that are fast to multiply with: in bfloat16 for values of that ``dtype``, else bool.
    """
    size = shape.numel()
    draws = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:size]
    last_kept = num_kept(p) - _DRAWS // 2 - 1  # two's complement: the draws are -32,768 to 32,767
    if dtype != torch.bfloat16:
        return (draws <= last_kept).view(shape)
    # Compared into integers as wide as the draws, which takes a fifth of the time, and made the bits of 1.0.
    ones = torch.le(draws, last_kept, out=torch.empty(size, dtype=torch.int16))
    return ones.mul_(_ONE).view(torch.bfloat16).view(shape)


def drop(values: Tensor, p: float) -> Tensor:
    """Dropout with probability ``p``, less than 1."""
    return (values * draw_mask(values.shape, p, values.dtype)).mul_(_DRAWS / num_kept(p))


class FastDropout(nn.Dropout):
    """``nn.Dropout`` that draws its masks by :func:`draw_mask` where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        """Values of the same shape."""
        here = self.training and input.device.type == "cpu" and not torch.compiler.is_compiling()
        return drop(input, self.p) if here and self.p > 0 and num_kept(self.p) else super().forward(input)


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, *, scale: float | None = None
) -> Tensor:
    """``scaled_dot_product_attention``, by the formula where that is faster: on CPU, before a backward pass.

    Query, key, value and what is returned are ``[N, H, L, D]``; the mask is bool, broadcast to ``[N, H, L, L]``: the
    keys that queries attend to, one at least; ``None`` for all.
    """
    by_formula = query.device.type == "cpu" and torch.is_grad_enabled() and num_kept(p)
    if not by_formula or (p == 0 and query.dtype != torch.bfloat16):
        return F.scaled_dot_product_attention(query, key, value, mask, p, scale=scale)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    with torch.autocast("cpu", enabled=False):  # or softmax, and what follows, would be in float32
        scores = (query @ key.transpose(-1, -2)).mul_(scale)
        if mask is not None:
            scores = scores.masked_fill_(~mask, -torch.inf)
        shares = torch.softmax(scores, -1)
        return (drop(shares, p) if p > 0 else shares) @ value
