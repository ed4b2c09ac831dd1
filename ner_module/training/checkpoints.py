"""Reads checkpoints of any version as plain data, and writes them durably."""

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

    Checkpoints of versions that counted micro-batches are read without their position in the data.

    Args:
        path: the file.
        mmap: memory-map tensors.

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
    """Path, epoch and step: ``runs/a/b/checkpoints/best.ckpt (epoch 3, step 120)``."""
    return f"{path} (epoch {checkpoint['epoch'] + 1}, step {checkpoint['global_step']:,})"


def warn_of_broken_weights(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Warn if a model has NaN or infinity, since its predictions are meaningless."""
    if name := broken_weights(checkpoint):
        log.warning("%s holds non-finite weights (%s): its predictions are meaningless", path, name)


def broken_weights(checkpoint: Mapping[str, Any]) -> str | None:
    """The name of the first weights with NaN or infinity; ``None`` if all are finite."""
    for name, tensor in checkpoint["state_dict"].items():
        # The sum is one pass over memory; if it overflows, each value is checked.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            return str(name)
    return None


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint IO with atomic writes, verified reads, and a previous ``last.ckpt`` in reserve.

    If a checkpoint cannot be written (a full disk), training continues with a warning: earlier ones are intact, and
    later ones may succeed. :func:`check_saved` reports it at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[Path, str] = {}
        """Checkpoints whose latest state could not be written -> the reason."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; a replaced ``last.ckpt`` becomes ``previous.ckpt``."""
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
        """Read a checkpoint into main memory; its tensors are copied to the device later."""
        return read_checkpoint(Path(path), mmap=False)


def check_saved(checkpoint_io: Any, run_dir: Path | None) -> None:
    """Raise a :class:`RunError` after training if its last state could not be written."""
    if failed := getattr(checkpoint_io, "failed", None):
        files = "; ".join(f"{path}: {problem}" for path, problem in failed.items())
        raise RunError(
            f"training has ended, but its last state could not be saved ({files}); free some space and resume with "
            f"`fit --run_dir {run_dir} --ckpt_path auto`"
        )
