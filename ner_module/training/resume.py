"""Exact resume: random states, the position under another number of processes, and the best score so far."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

log = logging.getLogger(__name__)


class RelocatableCheckpoint(ModelCheckpoint):
    """Remembers the best score when training resumes from another path.

    Lightning's own forgets it when the directory's name has changed, and overwrites the best checkpoint with the next
    one. Here the score counts as long as its checkpoint is in the run directory.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state with the paths as they are now."""
        best = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if best.is_file():
            path, scores = str(best), list(state_dict["best_k_models"].values())
            paths: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
            paths |= {"best_k_models": {path: scores[0]} if scores else {}, "last_model_path": ""}
            super().load_state_dict(state_dict | paths)


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


class RandomState(Callback):
    """Saves and restores Python's, NumPy's and torch's generators (CPU and GPU), for each process its own.

    From the start each process has a stream of its own: with a common one, dropout would drop the same units in all
    parts of a batch. States are restored at the first batch after loading, because creating loaders and iterators
    draws from them.
    """

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note which process this is, and how many there are."""
        self._rank, self._world_size = trainer.global_rank, trainer.world_size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed each process but the first, which keeps the stream of a single process."""
        if self._loaded is None and self._rank > 0:
            seed = (torch.initial_seed() + self._rank) % 2**32
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes as plain lists and tensors: checkpoints are loaded with ``weights_only``."""
        # Where a resumed run had only an evaluation to finish, the loaded state was never restored, and still counts.
        mine = self._loaded or _state()
        states: list[Any] = [mine]
        if self._world_size > 1:
            states = [None] * self._world_size
            torch.distributed.all_gather_object(states, mine)
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold this process's state until training resumes; with more processes than before, new ones have none."""
        states = state_dict["ranks"]
        self._loaded = states[self._rank] if self._rank < len(states) else None
        if self._loaded is not None:  # tried, for what is wrong with it to be said here, as of a checkpoint
            mine = _state()
            _restore(self._loaded)
            _restore(mine)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Restore the state, once."""
        if self._loaded is not None:
            _restore(self._loaded)
            self._loaded = None


def _state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [[int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state().cpu() if torch.cuda.is_available() else None,
    }


def _restore(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
