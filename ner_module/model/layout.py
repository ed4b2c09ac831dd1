"""How the rows of a batch lie in one row, and how attention regroups them: plain numbers and index tensors.

Not here: what is computed with them (`unpadded.py`); which rows share a batch (`data/batching.py`).

Shapes: T subwords of all rows, R rows, L subwords of the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

MAX_BLOCKS = 4
"""Blocks of one batch; more save little padding and cost calls (measured: `benchmarks/README.md`)."""

BLOCK_COST = 16
"""What one block more costs, in subwords: where rows are almost equally long, one call is faster than four."""


@dataclass(frozen=True)
class Block:
    """Rows computed in one attention call: ``lengths`` rising, padded to the last."""

    start: int
    """Where the block begins among the regrouped subwords of all blocks."""
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        """Subwords that each row of the block is padded to."""
        return self.lengths[-1]

    @property
    def size(self) -> int:
        """Subwords that attention computes for the block."""
        return len(self.lengths) * self.longest


def plan_blocks(lengths: Sequence[int], max_blocks: int = MAX_BLOCKS) -> list[tuple[int, int]]:
    """Split rising lengths into contiguous groups so that padding each to its longest, and calling each, costs least.

    Args:
        lengths: of the rows, rising.
        max_blocks: no more groups than that.

    Returns:
        ``(first, last exclusive)`` of each group, in order.

    >>> plan_blocks([30, 30, 40, 90, 90, 200], 3)
    [(0, 3), (3, 5), (5, 6)]
    >>> plan_blocks([30, 30, 31, 32])
    [(0, 4)]
    """
    values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
    ends = np.cumsum(counts)
    starts = ends - counts
    # cost[i, j]: distinct lengths i to j in one group.
    sizes = (ends[None, :] - starts[:, None]) * values[None, :]
    cost = np.where(starts[:, None] <= starts[None, :], sizes + BLOCK_COST, np.inf)
    best = cost[0]
    choices: list[npt.NDArray[np.int64]] = []
    for _ in range(min(max_blocks, len(values)) - 1):
        # The last group begins after the k-th distinct length; what is before it is split in the best way found so far.
        options = best[:-1, None] + cost[1:, :]
        first = np.argmin(options, axis=0)
        split = options[first, np.arange(len(values))]
        choices.append(np.where(split < best, first + 1, 0))
        best = np.minimum(best, split)
    groups = []
    last = len(values) - 1
    for choice in reversed(choices):
        begin = int(choice[last])
        if begin > 0:
            groups.append((int(starts[begin]), int(ends[last])))
            last = begin - 1
    groups.append((0, int(ends[last])))
    return groups[::-1]


@dataclass
class Layout:
    """Where the rows of a batch lie in the one row, and how attention regroups them.

    Args:
        lengths: subwords of each row, in the order they lie in the one row.
        device: of the batch.
        blocked: whether attention regroups rows into blocks; else it takes the row as it is.
        few_shapes: what attention takes the row by comes in few sizes, for compiled code (`compiled.py`).
    """

    lengths: Sequence[int]
    device: torch.device
    blocked: bool = True
    few_shapes: bool = False
    blocks: list[Block] = field(init=False, default_factory=list)
    _masks: dict[tuple[int, int | None], Tensor | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.total = sum(self.lengths)
        self.longest = max(self.lengths)
        """Subwords of the longest row, or a little more."""
        if self.few_shapes:
            self.longest = 2 ** (self.longest - 1).bit_length()
        empty = -len(self.lengths) % 32 if self.few_shapes else 0
        self.offsets = self.send(np.cumsum([0, *self.lengths, *[0] * empty], dtype=np.int32))
        """``[R + 1]`` int32: where each row begins, and the end; what variable-length attention asks for.

        With few shapes, R is a multiple of 32, and the rows that are too many are empty.
        """
        if self.blocked:
            self._regroup()

    def _regroup(self) -> None:
        lengths = np.asarray(self.lengths, dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        row_starts = (np.cumsum(lengths) - lengths)[order]
        rising = lengths[order]
        takes, places = [], []
        start = 0
        for first, last in plan_blocks(rising.tolist()):
            block = Block(start, tuple(rising[first:last].tolist()))
            self.blocks.append(block)
            inside = np.arange(block.longest)
            real = inside < rising[first:last, None]
            # Padding repeats the first subword of its row: any finite value will do, for no real subword looks there.
            takes.append(np.where(real, row_starts[first:last, None] + inside, row_starts[first:last, None]).ravel())
            places.append(start + np.flatnonzero(real.ravel()))
            start += block.size
        taken = np.concatenate(takes)
        place = np.empty(self.total, dtype=np.int64)
        found = np.concatenate(places)
        place[taken[found]] = found
        self.take = self.send(taken)
        """``[sum of block sizes]``: which subword of the one row stands at each place of the blocks."""
        self.place = self.send(place)
        """``[T]``: at which place of the blocks each subword of the one row stands."""

    def send(self, values: npt.NDArray[Any]) -> Tensor:
        """An array on the device, without waiting for it."""
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def mask(self, index: int, window: int | None) -> Tensor | None:
        """Which keys the queries of a block may look at: bool, ``[rows, 1, 1 or longest, longest]``; ``None`` for all.

        Args:
            index: which block.
            window: in local attention, how far to either side.
        """
        block = self.blocks[index]
        if window is not None and window >= block.longest - 1:
            window = None
        if (index, window) not in self._masks:
            mask = None
            place = np.arange(block.longest)
            if block.lengths[0] < block.longest:
                mask = (place < np.asarray(block.lengths)[:, None])[:, None, None, :]
            if window is not None:
                near = np.abs(place[:, None] - place) <= window
                # Padding looks at itself at least: with nothing to look at, it would be NaN and spoil the gradients.
                mask = near[None, None] if mask is None else (mask & near) | np.eye(block.longest, dtype=bool)
            self._masks[index, window] = None if mask is None else self.send(np.ascontiguousarray(mask))
        return self._masks[index, window]


def pad_to_length(
    input_ids_T: Tensor, lengths: Sequence[int], size: int, pad_token_id: int
) -> tuple[Tensor, Sequence[int]]:
    """Rows of padding after the others, none longer than these, which no other row looks at.

    Args:
        input_ids_T: subword ids of all rows.
        lengths: subwords of each row.
        size: subwords of all rows together that are wanted, at least those that there are.
        pad_token_id: fills the new rows.

    Returns:
        The longer ``input_ids`` and lengths.
    """
    missing = size - sum(lengths)
    if not missing:
        return input_ids_T, lengths
    longest = max(lengths)
    rest = [missing % longest] if missing % longest else []
    return F.pad(input_ids_T, (0, missing), value=pad_token_id), [*lengths, *[longest] * (missing // longest), *rest]
