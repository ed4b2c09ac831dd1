"""Where a model comes from: command, code, data, libraries and machine, kept in ``results.json`` as ``environment``."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import ner_module
from ner_module.data.datamodule import NERDataModule
from ner_module.training.results import update_results

_LIBRARIES = ("torch", "lightning", "transformers", "tokenizers", "datasets", "torchmetrics", "numpy")


class Provenance(Callback):
    """Keeps what a training was started with, and how long it took.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._record: dict[str, Any] = {}
        self._begin = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask once."""
        self._begin = time.monotonic()
        if trainer.is_global_zero:
            self._record = provenance(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep it from the first results on."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._keep(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep it, with the whole time."""
        self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            seconds = round(time.monotonic() - self._begin, 1)
            update_results(self.run_dir, {"environment": self._record | {"seconds": seconds}})


def provenance(trainer: Trainer) -> dict[str, Any]:
    """The record of a training that is about to start.

    Returns:
        ``command``; ``started`` (UTC); ``code`` (`code_state`); ``data`` (`data_fingerprints`); ``libraries``, their
        versions; ``python``, ``platform``, ``device``, ``processes`` and ``precision``.
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {os.cpu_count()} cores"
    return {
        "command": f"python -m ner_module {shlex.join(sys.argv[1:])}",
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "code": code_state(),
        "data": data_fingerprints(trainer.datamodule),  # type: ignore[attr-defined]
        "libraries": {"ner-module": ner_module.__version__} | {name: _version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": name,
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
    }


def code_state() -> dict[str, Any]:
    """The git commit of this project's code, and whether files differ from it; ``commit`` is ``None`` outside git."""
    folder = Path(ner_module.__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", ".") if commit else None
    return {"commit": commit, "dirty": None if changed is None else bool(changed)}


def data_fingerprints(data: NERDataModule) -> dict[str, Any]:
    """For each split its ``sources``, their ``sha256``, and how many ``sentences`` it has."""
    return {
        name: {
            "sentences": len(stored),
            "sources": list(map(str, stored.meta["sources"])),
            "sha256": list(map(str, stored.meta["sha256"])),
        }
        for name, stored in data.stored.items()
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [Provenance(run.run_dir)] if run.command == "fit" else []
