"""The states of random number generators in checkpoints, so that dropout continues as in an uninterrupted run."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


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
