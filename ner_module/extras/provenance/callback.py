"""Where a model comes from: command, code, data, libraries and machine, as ``environment`` in ``results.json``."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import ner_module
from ner_module.data.datamodule import NERDataModule
from ner_module.training.results import update_results

_LIBRARIES = ("torch", "lightning", "transformers", "tokenizers", "datasets", "torchmetrics", "numpy")


class Provenance(Callback):
    """Records the start of a training in ``run_dir``, and how long it has taken after each validation."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._record: dict[str, Any] = {}
        self._begin = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the record: later, files and code may have changed."""
        self._begin = time.monotonic()
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        is_cuda = device.type == "cuda"
        self._record = {
            "command": f"python -m ner_module {shlex.join(sys.argv[1:])}",
            "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "code": code_state(),
            "data": data_fingerprints(trainer.datamodule),  # type: ignore[attr-defined]
            "libraries": {"ner-module": ner_module.__version__} | {name: version(name) for name in _LIBRARIES},
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if is_cuda else f"{device.type}, {os.cpu_count()} cores",
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
        }

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it as soon as the run has results; an interrupted one has it, too."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            seconds = round(time.monotonic() - self._begin, 1)
            update_results(self.run_dir, {"environment": self._record | {"seconds": seconds}})

    on_fit_end = on_validation_end


def code_state() -> dict[str, Any]:
    """The git ``commit`` of this project's code and whether files differ from it (``dirty``); ``None`` outside git."""
    folder = Path(ner_module.__file__).parent
    commands = ("git rev-parse HEAD", "git status --porcelain --untracked-files=no .")
    try:
        commit, changed = (
            subprocess.check_output(command.split(), cwd=folder, stderr=subprocess.DEVNULL, timeout=10, text=True)
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.strip(), "dirty": bool(changed.strip())}


def data_fingerprints(data: NERDataModule) -> dict[str, Any]:
    """For each split its ``sources``, their ``sha256``, and how many ``sentences`` it has."""
    return {
        name: {"sentences": len(stored), "sources": stored.meta["sources"], "sha256": stored.meta["sha256"]}
        for name, stored in data.stored.items()
    }


def callbacks(run: Any) -> list[Callback]:
    """Of a run."""
    return [Provenance(run.run_dir)] if run.command == "fit" else []
