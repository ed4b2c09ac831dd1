"""`ModelCheckpoint` for a run directory that may be moved, mounted elsewhere or named by another path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


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
