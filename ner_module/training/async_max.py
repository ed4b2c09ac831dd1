"""The largest number over all processes, updated at each step without any of them waiting."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import distributed as dist


class AsyncMax:
    """The largest number that any process gave one step earlier.

    The exchange starts at one step and is read at the next, through main memory (gloo) whatever the devices: no
    process waits for another, and no GPU for the CPU. All processes must call :meth:`update` equally often.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._work: Any = None
        self._numbers = torch.zeros(1, dtype=torch.int64)

    def update(self, trainer: Trainer, number: int) -> int:
        """Give this process's number; returns the largest one of the step before (a single process's own, of now)."""
        if trainer.world_size == 1:
            return number
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=getattr(trainer.strategy, "_timeout", None))
        largest = self.close()
        self._numbers = torch.tensor([number], dtype=torch.int64)
        self._work = dist.all_reduce(self._numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return largest

    def close(self) -> int:
        """Wait for the exchange under way; returns its result, 0 if there is none."""
        if self._work is None:
            return 0
        self._work.wait()
        self._work = None
        return int(self._numbers)
