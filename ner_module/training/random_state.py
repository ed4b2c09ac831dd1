"""Random number generators travel in checkpoints, so that dropout after a resume is the dropout of an unbroken run.

Each process has states of its own, and from the start a stream of its own: with the same masks everywhere, dropout
would drop the same units in all parts of a batch. They are put back at the first batch after loading: making loaders
and iterators draws from them before.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class RandomState(Callback):
    """Saves the states of Python's, NumPy's and torch's generators (CPU and GPU) of all processes."""

    def __init__(self) -> None:
        self._rank, self._world_size = 0, 1
        self._loaded: list[dict[str, Any]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn how many processes there are."""
        self._rank, self._world_size = trainer.global_rank, trainer.world_size

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give each process a stream of its own; the first keeps that of a single process."""
        if self._loaded is None and trainer.global_rank > 0:
            seed = (torch.initial_seed() + trainer.global_rank) % 2**32
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes as plain lists and tensors: checkpoints are loaded with ``weights_only``."""
        # Not put back yet where a resumed run had only an evaluation to finish.
        mine = self._loaded[self._rank] if self._loaded and self._rank < len(self._loaded) else _state()
        states: list[Any] = [mine]
        if self._world_size > 1:
            states = [None] * self._world_size
            torch.distributed.all_gather_object(states, mine)
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training goes on."""
        self._loaded = state_dict["ranks"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Put the states back, once."""
        if self._loaded is None:
            return
        if self._rank < len(self._loaded):
            _restore(self._loaded[self._rank])
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
