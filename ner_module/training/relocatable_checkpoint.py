"""Checkpoints of a run whose directory may be moved, mounted elsewhere or named by another path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


class RelocatableCheckpoint(ModelCheckpoint):
    """Remembers the best score across a resume from another path.

    Lightning's own forgets it when the directory has another name than before, and then overwrites the best checkpoint
    with whatever comes first. Here the score counts as long as the checkpoint it belongs to is in the run directory;
    without it, what comes next is the best there is.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state, with the paths as they are now."""
        here = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if here.is_file():
            path, scores = str(here), list(state_dict["best_k_models"].values())
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": path,
                "kth_best_model_path": path,
                "best_k_models": {path: scores[0]} if scores else {},
                "last_model_path": "",
            }
            super().load_state_dict(state_dict)
