"""The layout of a packed sequence, and attention that regroups its sequences into padded blocks.

Block-by-block attention computes sequences of similar length together, padded to the longest of their block.

Shapes: T subword tokens of all sequences, S sequences of a block, L the longest of them, H heads, D units of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Blocks of one batch; more would save little padding and add calls (measured: `benchmarks/README.md`).
MAX_BLOCKS = 4

# The overhead of a block, in subword tokens: one call is faster than four if lengths are almost equal.
BLOCK_COST = 16

Attend = Callable[..., Tensor]
"""Computes attention in a block; called like ``scaled_dot_product_attention``."""


def plan_blocks(lengths: npt.ArrayLike, max_blocks: int = MAX_BLOCKS) -> list[tuple[int, int]]:
    """Split ascending lengths into contiguous groups with minimal total cost of padding and calls.

    Returns:
        ``(first, last exclusive)`` of at most ``max_blocks`` groups, in order.

    >>> plan_blocks([30, 30, 40, 90, 90, 200], 3)
    [(0, 3), (3, 5), (5, 6)]
    """
    values, starts, counts = np.unique(lengths, return_index=True, return_counts=True)
    ends = starts + counts
    # cost[i, j]: distinct lengths i to j in one group.
    sizes = (ends[None, :] - starts[:, None]) * values[None, :]
    cost = np.where(starts[:, None] <= starts[None, :], sizes + BLOCK_COST, np.inf)
    # For each prefix of the lengths: the least cost so far, and where its groups begin.
    best, begins = cost[0], [[0] for _ in values]
    for _ in range(min(max_blocks, len(values)) - 1):
        # With one more group: the last begins after the k-th distinct length, the prefix before it is optimal.
        options = best[:-1, None] + cost[1:, :]
        last = options.argmin(axis=0)
        split = options.min(axis=0)
        begins = [[*begins[last[j]], int(last[j]) + 1] if split[j] < best[j] else begins[j] for j in range(len(values))]
        best = np.minimum(best, split)
    return list(pairwise([*starts[begins[-1]].tolist(), int(ends[-1])]))


class Layout:
    """The boundaries of a packed batch's sequences, and their regrouping into blocks for attention.

    Args:
        lengths: subword tokens of each sequence, in packed order.
        device: the batch's device.
        blocked: whether attention regroups sequences into blocks; otherwise it takes the packed sequence.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device, blocked: bool = True) -> None:
        self.lengths, self.device, self.blocked = lengths, device, blocked
        self.total, self.longest = sum(lengths), max(lengths)
        # int32: the start of each sequence, and the end.
        self.offsets = send(np.cumsum([0, *lengths], dtype=np.int32), device)
        self._masks: dict[tuple[int, int | None], Tensor | None] = {}
        if blocked:
            self._regroup()

    def _regroup(self) -> None:
        lengths = np.asarray(self.lengths, dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[order]
        rising = lengths[order]
        # The lengths of the sequences in each block, ascending: all are padded to the last.
        self.blocks = [rising[first:last] for first, last in plan_blocks(rising)]
        takes, reals, first = [], [], 0
        for block in self.blocks:
            inside = np.arange(block[-1])
            real = inside < block[:, None]
            # Padding repeats the first token of its sequence: any finite value works, no real token attends to it.
            takes.append((starts[first : first + len(block), None] + np.where(real, inside, 0)).ravel())
            reals.append(real.ravel())
            first += len(block)
        take, real = np.concatenate(takes), np.concatenate(reals)
        place = np.empty(self.total, dtype=np.int64)
        place[take[real]] = np.flatnonzero(real)
        # [sum of block sizes]: the index in the packed sequence of each position in the blocks; and its inverse, [T]:
        # the position in the blocks of each token of the packed sequence.
        self.take, self.place = send(take, self.device), send(place, self.device)

    def mask(self, index: int, window: int | None) -> Tensor | None:
        """The keys that the queries of a block attend to: bool, ``[S, 1, 1 or L, L]``; ``None`` for all.

        ``window`` is the reach of local attention to either side.
        """
        lengths = self.blocks[index]
        longest = int(lengths[-1])
        if window is not None and window >= longest - 1:
            window = None
        if (index, window) not in self._masks:
            mask = None
            place = np.arange(longest)
            if lengths[0] < longest:
                mask = (place < lengths[:, None])[:, None, None, :]
            if window is not None:
                near = np.abs(place[:, None] - place) <= window
                # Padding attends at least to itself: without any key it would be NaN and spoil the gradients.
                mask = near[None, None] if mask is None else (mask & near) | np.eye(longest, dtype=bool)
            self._masks[index, window] = None if mask is None else send(np.ascontiguousarray(mask), self.device)
        return self._masks[index, window]


def send(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def in_blocks(
    states_THD: list[Tensor], layout: Layout, dropout: float, scaling: float | None, window: int | None, attend: Attend
) -> Tensor:
    """Query, key and value ``(T, H, D)`` to attention ``(1, T, H, D)``, one call of ``attend`` for each block.

    ``window`` is the reach of local attention to either side; ``None``: the whole sequence.
    """
    sizes = [len(block) * int(block[-1]) for block in layout.blocks]
    regrouped = [torch.split(states.flatten(1).index_select(0, layout.take), sizes) for states in states_THD]
    outputs = []
    for index, parts in enumerate(zip(*regrouped, strict=True)):
        block_SLHD = len(layout.blocks[index]), -1, *states_THD[0].shape[1:]
        query, key, value = (part.view(block_SLHD).transpose(1, 2) for part in parts)
        out = attend(query, key, value, layout.mask(index, window), dropout, scale=scaling)
        outputs.append(out.transpose(1, 2).reshape(sizes[index], -1))
    return torch.cat(outputs).index_select(0, layout.place).view(1, *states_THD[0].shape)
