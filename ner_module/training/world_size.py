"""Going on with another number of processes than the checkpoint was made with: a lost host, a smaller allocation."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class WorldSizeChange(Callback):
    """Finds the place in the epoch again: it is counted in micro-batches of all processes together.

    Rounded down to an optimiser step, so a few sentences may be seen twice. The schedule goes on by its number of
    steps, of which an epoch has now more or fewer. Between epochs the place is exact.
    """

    def __init__(self) -> None:
        self._world_size = 1

    def state_dict(self) -> dict[str, int]:
        """How many processes there are."""
        return {"world_size": self._world_size}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn how many processes there are."""
        self._world_size = trainer.world_size

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Convert the position, before Lightning restores its loops."""
        then, now = checkpoint["callbacks"]["WorldSizeChange"]["world_size"], trainer.world_size
        if then == now or trainer.state.fn != "fit":
            return
        log.warning(
            "the checkpoint was made by %d processes, training goes on with %d: a step has another number of "
            "sentences, and the digits are not those of an unbroken run",
            then,
            now,
        )
        epoch, finished = checkpoint["NERDataModule"]["position"]
        if finished == 0:
            return
        accumulate = trainer.accumulate_grad_batches
        place = max(finished * then // now // accumulate, 1) * accumulate
        data_state = checkpoint["NERDataModule"] | {"position": [epoch, place]}
        trainer.datamodule.load_state_dict(data_state)  # type: ignore[attr-defined]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        for name in progress:
            progress[name] += place - finished
