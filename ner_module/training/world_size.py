"""Resuming with another number of processes than the checkpoint was saved by: a lost host, a smaller allocation."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class WorldSizeChange(Callback):
    """Converts the position within the epoch, which is counted in micro-batches of each process.

    It is rounded down to an optimiser step, so a few sentences may be seen twice. The schedule continues by its number
    of steps, of which an epoch now has more or fewer. Between epochs the position is exact.
    """

    def __init__(self) -> None:
        self._world_size = 1

    def state_dict(self) -> dict[str, int]:
        """How many processes there are."""
        return {"world_size": self._world_size}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note how many processes there are."""
        self._world_size = trainer.world_size

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Convert the position, before Lightning restores its loops."""
        now = trainer.world_size
        then = checkpoint["callbacks"].get("WorldSizeChange", {"world_size": now})["world_size"]  # none in version 0.1
        if then == now or trainer.state.fn != "fit":
            return
        log.warning(
            "the checkpoint was saved by %d processes, training resumes with %d: a step has another number of "
            "sentences, and results differ slightly from those of an uninterrupted run",
            then,
            now,
        )
        epoch, finished = checkpoint["NERDataModule"]["position"]
        if finished == 0:
            return
        accumulate = trainer.accumulate_grad_batches
        position = max(finished * then // now // accumulate, 1) * accumulate
        data_state = checkpoint["NERDataModule"] | {"position": [epoch, position]}
        trainer.datamodule.load_state_dict(data_state)  # type: ignore[attr-defined]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        for name in progress:
            progress[name] += position - finished
