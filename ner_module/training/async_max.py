"""One question that all processes answer together at each step, without waiting for each other."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import distributed as dist


class AsyncMax:
    """The largest number any process gave at the step before.

    The exchange is started at one step and read at the next, through main memory (gloo) whatever the devices: no
    process waits for another, and no GPU for the CPU. All processes must ask equally often.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._work: Any = None
        self._numbers = torch.zeros(1, dtype=torch.int64)

    def ask(self, trainer: Trainer, number: int) -> int:
        """Give this process's number, and get the largest one of the step before (of now, for a single process)."""
        if trainer.world_size == 1:
            return number
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=getattr(trainer.strategy, "_timeout", None))
        answer = self._read()
        self._numbers = torch.tensor([number], dtype=torch.int64)
        self._work = dist.all_reduce(self._numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return answer

    def close(self) -> None:
        """Wait for what is under way."""
        self._read()

    def _read(self) -> int:
        if self._work is None:
            return 0
        self._work.wait()
        self._work = None
        return int(self._numbers)
