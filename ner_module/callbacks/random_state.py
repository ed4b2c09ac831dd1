"""Random number generators travel in checkpoints, so that dropout after a resume is the dropout of an unbroken run.

They are put back at the first batch after loading: making loaders and iterators draws from them before.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RandomState(Callback):
    """Saves the states of Python's, NumPy's and torch's generators (CPU and this process's GPU)."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states as plain lists and tensors: checkpoints are loaded with ``weights_only``."""
        version, internal, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "python": [version, list(internal), gauss],
            "numpy": [[int(key) for key in keys], int(position), int(has_gauss), float(cached)],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training goes on."""
        self._loaded = state_dict

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Put the states back, once."""
        if self._loaded is None:
            return
        version, internal, gauss = self._loaded["python"]
        random.setstate((version, tuple(internal), gauss))
        keys, position, has_gauss, cached = self._loaded["numpy"]
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
        torch.set_rng_state(self._loaded["torch"].cpu())
        if self._loaded["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._loaded["cuda"].cpu())
        self._loaded = None
