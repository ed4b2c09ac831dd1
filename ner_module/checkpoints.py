"""Reading a checkpoint file without trusting it, and without loading its tensors before they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ner_module.runs import RunError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint of this project; tensors stay on disk until they are used.

    Raises:
        RunError: the file is damaged, or not such a checkpoint.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise RunError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be damaged") from error
    if not isinstance(checkpoint, dict) or "ner_module" not in checkpoint:
        raise RunError(f"{path} is not a checkpoint of this project: name a file that `fit` wrote")
    return checkpoint
