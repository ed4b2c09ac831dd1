"""How the sequences of a batch lie in a packed sequence, and how attention regroups them: numbers and index tensors.

Shapes: T subword tokens of all sequences, S sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

# Blocks of one batch; more of them save little padding and cost calls (measured: `benchmarks/README.md`).
MAX_BLOCKS = 4

# The cost of another block, in subword tokens: one call is faster than four where lengths are almost equal.
BLOCK_COST = 16

_LEAST_BUCKET = 64


class Block(NamedTuple):
    """Sequences computed in one attention call: ``lengths`` rising, padded to the last."""

    start: int
    """Where the block begins among the regrouped subword tokens of all blocks."""
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        """What each sequence of the block is padded to."""
        return self.lengths[-1]

    @property
    def size(self) -> int:
        """Subword tokens that attention computes for the block."""
        return len(self.lengths) * self.longest


def plan_blocks(lengths: Sequence[int], max_blocks: int = MAX_BLOCKS) -> list[tuple[int, int]]:
    """Split rising lengths into contiguous groups so that padding each to its longest, and calling each, costs least.

    Returns:
        ``(first, last exclusive)`` of each of at most ``max_blocks`` groups, in order.

    >>> plan_blocks([30, 30, 40, 90, 90, 200], 3)
    [(0, 3), (3, 5), (5, 6)]
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


class Layout:
    """Where the sequences of a batch lie in the packed sequence, and how attention regroups them.

    Args:
        lengths: subword tokens of each sequence, in the order in which they are packed.
        device: of the batch.
        blocked: whether attention regroups sequences into blocks; else it takes the packed sequence as it is.
        few_shapes: sizes that attention is given come in few values, for compiled code.
    """

    take: Tensor
    """``[sum of block sizes]``: which token of the packed sequence stands at each place of the blocks."""
    place: Tensor
    """``[T]``: at which place of the blocks each token of the packed sequence stands."""

    def __init__(
        self, lengths: Sequence[int], device: torch.device, blocked: bool = True, few_shapes: bool = False
    ) -> None:
        self.lengths, self.device, self.blocked = lengths, device, blocked
        self.blocks: list[Block] = []
        self._masks: dict[tuple[int, int | None], Tensor | None] = {}
        self.total = sum(lengths)
        # Of the longest sequence, or a little more.
        self.longest = 2 ** (max(lengths) - 1).bit_length() if few_shapes else max(lengths)
        # [S + 1] int32: where each sequence begins, and the end. With few shapes S is a multiple of 32, and the
        # sequences that are too many are empty.
        empty = -len(lengths) % 32 if few_shapes else 0
        self.offsets = self.send(np.cumsum([0, *lengths, *[0] * empty], dtype=np.int32))
        if blocked:
            self._regroup()

    def _regroup(self) -> None:
        lengths = np.asarray(self.lengths, dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[order]
        rising = lengths[order]
        takes, places, start = [], [], 0
        for first, last in plan_blocks(rising.tolist()):
            block = Block(start, tuple(rising[first:last].tolist()))
            self.blocks.append(block)
            inside = np.arange(block.longest)
            real = inside < rising[first:last, None]
            # Padding repeats the first token of its sequence: any finite value will do, no real token attends to it.
            takes.append(np.where(real, starts[first:last, None] + inside, starts[first:last, None]).ravel())
            places.append(start + np.flatnonzero(real.ravel()))
            start += block.size
        taken = np.concatenate(takes)
        place = np.empty(self.total, dtype=np.int64)
        found = np.concatenate(places)
        place[taken[found]] = found
        self.take, self.place = self.send(taken), self.send(place)

    def send(self, values: npt.NDArray[Any]) -> Tensor:
        """An array on the device, without waiting for it."""
        return send(values, self.device)

    def mask(self, index: int, window: int | None) -> Tensor | None:
        """Which keys the queries of a block attend to: bool, ``[S, 1, 1 or longest, longest]``; ``None`` for all.

        In local attention ``window`` says how far to either side.
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
                # Padding attends to itself at least: with no key at all it would be NaN and spoil the gradients.
                mask = near[None, None] if mask is None else (mask & near) | np.eye(block.longest, dtype=bool)
            self._masks[index, window] = None if mask is None else self.send(np.ascontiguousarray(mask))
        return self._masks[index, window]


def send(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def bucket(size: int) -> int:
    """The next of few sizes: multiples of an eighth of the power of two below, and never under 64.

    >>> [bucket(size) for size in (3, 65, 129, 256, 500, 513)]
    [64, 72, 144, 256, 512, 576]
    """
    step = max(1 << (max(size - 1, 1).bit_length() - 1), _LEAST_BUCKET) // 8
    return max(-(-size // step) * step, _LEAST_BUCKET)


def pad_to_length(
    input_ids_T: Tensor, lengths: Sequence[int], size: int, pad_token_id: int
) -> tuple[Tensor, Sequence[int]]:
    """Append sequences of padding, none longer than the others, until the packed sequence has ``size`` tokens."""
    missing = size - sum(lengths)
    if not missing:
        return input_ids_T, lengths
    whole, rest = divmod(missing, max(lengths))
    padding = [*[max(lengths)] * whole, *[rest] * bool(rest)]
    return F.pad(input_ids_T, (0, missing), value=pad_token_id), [*lengths, *padding]
