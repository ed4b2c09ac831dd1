"""Which callbacks each command has without being asked; what a configuration names comes before them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import RichProgressBar

from ner_module.callbacks.analysis import ErrorAnalysis
from ner_module.callbacks.health import TrainingHealth
from ner_module.callbacks.interruption import Interruption
from ner_module.callbacks.movable_checkpoint import MovableCheckpoint
from ner_module.callbacks.predictions import EvaluationFiles, PredictionFile
from ner_module.callbacks.progress import LineProgress
from ner_module.callbacks.provenance import Provenance
from ner_module.callbacks.random_state import RandomState
from ner_module.callbacks.results import ResultsTable
from ner_module.callbacks.wandb_run import WandbRun
from ner_module.outputs.report.callback import ReportPage


def standard_callbacks(
    command: str,
    run_dir: Path,
    *,
    launch: str,
    output: Path | None,
    fast_dev_run: bool,
    checkpointing: bool,
    progress_bar: bool,
) -> list[Callback]:
    """The callbacks of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        command: one of these.
        run_dir: where the run's files go.
        launch: how a user starts this program, for messages.
        output: the file ``predict`` writes; ``None`` for standard output.
        fast_dev_run: a trial of a few batches, which leaves nothing behind.
        checkpointing: whether ``fit`` saves checkpoints.
        progress_bar: whether progress is shown.
    """
    callbacks: list[Callback] = [ResultsTable(None if fast_dev_run else run_dir)]
    if command == "fit":
        if not fast_dev_run:
            callbacks += [RandomState(), TrainingHealth(run_dir), Provenance(run_dir), Interruption(run_dir, launch)]
            callbacks += _checkpoints(run_dir) if checkpointing else []
    elif command == "predict":
        callbacks.append(PredictionFile(output))
    elif not fast_dev_run:
        callbacks += [EvaluationFiles(run_dir), ErrorAnalysis(run_dir)]
    if command != "predict" and not fast_dev_run:
        callbacks += [ReportPage(run_dir), WandbRun(run_dir)]  # after all that write what it shows
    if progress_bar:
        callbacks.append(_progress_bar(command))
    return callbacks


def _checkpoints(run_dir: Path) -> list[Callback]:
    """``best.ckpt`` by ``val/f1`` and ``last.ckpt`` after each epoch."""
    common: dict[str, Any] = {
        "dirpath": run_dir / "checkpoints",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    best = MovableCheckpoint(filename="best", monitor="val/f1", mode="max", save_on_train_epoch_end=False, **common)
    last = MovableCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **common)
    return [best, last]


def _progress_bar(command: str) -> Callback:
    """A bar in a terminal, a line now and then elsewhere."""
    stream = sys.stderr if command == "predict" else sys.stdout
    return RichProgressBar(console_kwargs={"stderr": command == "predict"}) if stream.isatty() else LineProgress()
