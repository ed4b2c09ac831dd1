"""What is in a checkpoint: reading it as data only, whatever version wrote it, and writing it durably."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ner_module.errors import RunError
from ner_module.training.checkpoint_files import damage, write_checkpoint
from ner_module.training.checkpoint_schema import schema_problem

log = logging.getLogger(__name__)


def read_checkpoint(path: Path, mmap: bool = True) -> dict[str, Any]:
    """Open a checkpoint of this project on the CPU.

    One of a version that counted micro-batches is read without its place in the data, which no training resumes from.

    Args:
        path: the file.
        mmap: leave tensors on the disk until they are used.

    Raises:
        RunError: the file is damaged (torch itself loads a flipped byte silently), or is not such a checkpoint.
    """
    problem = damage(path)
    if problem is not None:
        raise RunError(f"{path} is damaged: {problem}; use another checkpoint or a copy of this one")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        raise RunError(f"{path} cannot be read as a checkpoint ({type(error).__name__}); it may be damaged") from error
    if not isinstance(checkpoint, dict) or "ner_module" not in checkpoint:
        raise RunError(f"{path} is not a checkpoint of this project: name a file that `fit` wrote")
    data = checkpoint.get("NERDataModule")
    if isinstance(data, dict) and isinstance(data.get("position"), list):
        data["position"], checkpoint["optimizer_states"] = None, []
    problem = schema_problem(checkpoint)
    if problem is not None:
        raise RunError(f"{path} is not a checkpoint that `fit` wrote ({problem}); use another one")
    return checkpoint


def described(checkpoint: Mapping[str, Any], path: Path) -> str:
    """Which checkpoint this is: ``runs/a/b/checkpoints/best.ckpt (epoch 3, step 120)``."""
    return f"{path} (epoch {checkpoint['epoch'] + 1}, step {checkpoint['global_step']:,})"


def warn_of_broken_weights(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Say so where a model holds NaN or infinity: what it predicts means nothing."""
    if name := broken_weights(checkpoint):
        log.warning("%s holds non-finite weights (%s): its predictions are meaningless", path, name)


def broken_weights(checkpoint: Mapping[str, Any]) -> str | None:
    """The first weights that hold NaN or infinity; ``None`` for a sound model."""
    for name, tensor in checkpoint["state_dict"].items():
        # The sum is one pass over memory; where it overflows, each number is looked at.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            return str(name)
    return None


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's access to checkpoint files: atomic writes, checked reads, and one ``last.ckpt`` kept in reserve.

    A checkpoint that cannot be written (a full disk) costs a warning, not the training: what was saved before is whole,
    and there may be room the next time. :func:`check_saved` reports it at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[Path, str] = {}
        """Checkpoints whose newest state could not be written, and why."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; a ``last.ckpt`` that is replaced stays as ``previous.ckpt``."""
        path = Path(path)
        keep = path.with_name("previous.ckpt") if path.name == "last.ckpt" else None
        self.failed.pop(path, None)
        try:
            write_checkpoint(path, lambda file: torch.save(checkpoint, file), keep)  # type: ignore[arg-type]
        except OSError as error:
            self.failed[path] = str(error.strerror)
            where = f"{path} could not be saved after step {checkpoint['global_step']}: {error.strerror}"
            before = "the one saved before is whole" if path.is_file() else "none was saved before"
            log.warning("%s; %s, and training continues", where, before)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint into main memory; its tensors go to the device with the module."""
        return read_checkpoint(Path(path), mmap=False)


def check_saved(checkpoint_io: Any, run_dir: Path | None) -> None:
    """Report, after training, that its last state could not be written, with a :class:`RunError`."""
    if failed := getattr(checkpoint_io, "failed", None):
        files = "; ".join(f"{path}: {problem}" for path, problem in failed.items())
        raise RunError(
            f"training has ended, but its last state could not be saved ({files}); free some space and resume with "
            f"`fit --run_dir {run_dir} --ckpt_path auto`"
        )
