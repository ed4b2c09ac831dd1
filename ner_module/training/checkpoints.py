"""Reading a checkpoint without trusting it, and writing it so that it can be trusted to be whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ner_module.errors import RunError
from ner_module.training.checkpoint_files import damage, remove_checkpoint, write_checkpoint

log = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint of this project; tensors stay on disk until they are used.

    Raises:
        RunError: the file is damaged, or not such a checkpoint.
    """
    check_whole(path)
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise RunError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be damaged") from error
    if not isinstance(checkpoint, dict) or "ner_module" not in checkpoint:
        raise RunError(f"{path} is not a checkpoint of this project: name a file that `fit` wrote")
    return checkpoint


def check_whole(path: Path) -> None:
    """Refuse a damaged checkpoint: torch itself loads a flipped byte in silence.

    Raises:
        RunError: it is not what was written.
    """
    problem = damage(path)
    if problem is not None:
        raise RunError(f"{path} is damaged: {problem}; use another checkpoint or a copy of this one")


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's way to files: atomic, with a checksum, and with the last ``last.ckpt`` but one kept.

    A checkpoint that cannot be written (a full disk) costs a warning, not the training: what was saved before is whole,
    and there may be room the next time. :attr:`failed` tells at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[Path, str] = {}
        """Checkpoints whose newest state could not be written, and why."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; the one it replaces stays as ``previous.ckpt`` if it was ``last.ckpt``."""
        path = Path(path)
        keep = path.with_name("previous.ckpt") if path.name == "last.ckpt" else None
        step = int(checkpoint["global_step"])
        try:
            write_checkpoint(path, lambda file: torch.save(checkpoint, file), step, keep)  # type: ignore[arg-type]
        except OSError as error:
            self.failed[path] = error.strerror or str(error)
            before = "what was saved before is whole" if path.is_file() else "nothing was saved before"
            log.warning(
                "%s could not be saved after step %d: %s; %s, and training goes on",
                path,
                step,
                self.failed[path],
                before,
            )
        else:
            self.failed.pop(path, None)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a whole checkpoint; a damaged one is refused."""
        check_whole(Path(path))
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location or _stay, weights_only)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint with its checksum."""
        remove_checkpoint(Path(path))


def check_saved(checkpoint_io: Any, run_dir: Path | None) -> None:
    """Complain, when training has ended, of a last state that could not be written.

    Raises:
        RunError: it says what, why, and how to go on.
    """
    failed: dict[Path, str] = getattr(checkpoint_io, "failed", {})
    if failed:
        what = "; ".join(f"{path}: {problem}" for path, problem in failed.items())
        raise RunError(
            f"training has ended, but its last state could not be saved ({what}); make room and go on with "
            f"`fit --run_dir {run_dir} --ckpt_path auto`"
        )


def _stay(storage: Any, location: str) -> Any:
    """Leave tensors in main memory; they go to the device with the module."""
    return storage
