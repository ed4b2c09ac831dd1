"""Variable-length flash attention for the CPU, by its formula: the operator that CUDA has, so that calls of it can run.

Registered under the operator's own name, below autograd: which derivative belongs to the forward pass, and what it is
given, is torch's own. Written from the formula, without the functions under test. ``broken`` makes kernels as wrong as
a build may have them.

Shapes: T tokens of all sequences, H heads, D units of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

Fault = Literal["scale", "window", "offset", "gradient", "nan", "dropout", "none"]


def _shares(query: Tensor, key: Tensor, offsets: Tensor, scale: float, left: Any, right: Any, fault: Fault) -> Tensor:
    """Shares of attention ``[H, T, T]`` in double precision, each token's within its own sequence and window."""
    places = torch.arange(len(query))
    offsets = offsets + (fault == "offset") * (offsets > 0)
    sequence = torch.bucketize(places, offsets[1:], right=True)
    distance = places - places[:, None]
    allowed = sequence == sequence[:, None]
    for given, side in ((left, distance < 0), (right, distance > 0)):
        if given is not None:
            assert given >= 0, "no window is None: the kernel of ROCm takes -1 for a window"
            allowed &= ~side | (distance.abs() <= given + (fault == "window"))
    scores = torch.einsum("qhd,khd->hqk", query.double(), key.double()) * scale * (1.2 if fault == "scale" else 1)
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def _kept(shares: Tensor, p: float, seed: int) -> Tensor:
    """What dropout leaves of shares of 1."""
    return (torch.rand(shares.shape, generator=torch.Generator().manual_seed(seed)) >= p).double() / (1 - p)


@contextmanager
def flash_on_cpu(fault: Fault = "none", calls: list[tuple[torch.dtype, Any]] | None = None) -> Iterator[None]:
    """The operator and its derivative on CPU; ``calls`` collects the dtype and window of each."""

    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cum_seq_q: Tensor,
        cum_seq_k: Tensor,
        max_q: int,
        max_k: int,
        dropout_p: float,
        is_causal: bool,
        return_debug_mask: bool,
        *,
        scale: float | None = None,
        window_size_left: int | None = None,
        window_size_right: int | None = None,
        **_: Any,
    ) -> tuple[Tensor, ...]:
        assert cum_seq_q.dtype == torch.int32
        assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
        assert max_q == max_k >= int(cum_seq_q.diff().max())
        if calls is not None:
            calls.append((query.dtype, window_size_left))
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        shares = _shares(query, key, cum_seq_q, scale, window_size_left, window_size_right, fault)
        seed = int(torch.randint(2**31, ())) if dropout_p else 0
        if dropout_p:
            shares = shares * _kept(shares, dropout_p, seed) * (fault != "dropout")
        out = torch.einsum("hqk,khd->qhd", shares, value.double()).to(query.dtype)
        if fault == "nan":
            out[-1] = torch.nan
        state = torch.tensor([seed], dtype=torch.uint64)
        return out, query.new_empty(0), state, torch.zeros((), dtype=torch.uint64), query.new_empty(0)

    def backward(
        grad_out: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        out: Tensor,
        logsumexp: Tensor,
        cum_seq_q: Tensor,
        cum_seq_k: Tensor,
        max_q: int,
        max_k: int,
        dropout_p: float,
        is_causal: bool,
        rng_state: Tensor,
        unused: Tensor,
        *,
        scale: float | None = None,
        window_size_left: int | None = None,
        window_size_right: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        shares = _shares(query, key, cum_seq_q, scale, window_size_left, window_size_right, fault)
        kept = _kept(shares, dropout_p, int(rng_state[0])) if dropout_p else torch.ones_like(shares)
        of_value = torch.einsum("hqk,qhd->khd", shares * kept, grad_out.double())
        of_shares = torch.einsum("qhd,khd->hqk", grad_out.double(), value.double()) * kept
        of_scores = shares * (of_shares - (of_shares * shares).sum(-1, keepdim=True)) * scale
        if fault == "gradient":
            of_scores = of_scores * 0.5
        of_query = torch.einsum("hqk,khd->qhd", of_scores, key.double())
        of_key = torch.einsum("hqk,qhd->khd", of_scores, query.double())
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype)

    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    try:
        yield
    finally:
        library._destroy()
