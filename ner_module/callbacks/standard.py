"""Which callbacks each command has without being asked; what a configuration names comes before them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import RichProgressBar

from ner_module.callbacks.analysis import ErrorAnalysis
from ner_module.callbacks.audit import StartingAudit
from ner_module.callbacks.health import TrainingHealth
from ner_module.callbacks.model_card import RunCard
from ner_module.callbacks.movable_checkpoint import MovableCheckpoint
from ner_module.callbacks.other_processes import OtherProcesses
from ner_module.callbacks.out_of_memory import OutOfMemory
from ner_module.callbacks.prediction_file import PredictionFile
from ner_module.callbacks.prediction_progress import PredictionProgress
from ner_module.callbacks.predictions import EvaluationFiles
from ner_module.callbacks.progress import LineProgress
from ner_module.callbacks.provenance import Provenance
from ner_module.callbacks.random_state import RandomState
from ner_module.callbacks.results import ResultsTable
from ner_module.callbacks.save_points import SavePoints
from ner_module.callbacks.throughput import Throughput
from ner_module.callbacks.wandb_run import WandbRun
from ner_module.outputs.report.callback import ReportPage

VALIDATION_METRICS = ("loss", "precision", "recall", "f1", "f1_macro", "f1_weighted", "accuracy")
"""What is logged after each validation as ``val/…``; precision, recall, f1 and support also for each type."""

_VALIDATION_METRIC = re.compile(rf"val/({'|'.join(VALIDATION_METRICS)}|(precision|recall|f1|support)/.+)")


def standard_callbacks(
    command: str,
    run_dir: Path,
    *,
    launch: str,
    output: Path | None,
    checkpoint: Path | None,
    render: bool = False,
    fast_dev_run: bool,
    checkpointing: bool,
    progress_bar: bool,
    save_every_minutes: float = 10.0,
    save_every_steps: int | None = None,
) -> list[Callback]:
    """The callbacks of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        command: one of these.
        run_dir: where the run's files go.
        launch: how a user starts this program, for messages.
        output: the file ``predict`` writes; ``None`` for standard output.
        checkpoint: the file a command starts from, if any.
        render: whether ``predict`` shows the entities inside their text on standard output.
        fast_dev_run: a trial of a few batches, which leaves nothing behind.
        checkpointing: whether ``fit`` saves checkpoints.
        progress_bar: whether progress is shown.
        save_every_minutes: how often ``last.ckpt`` is written within an epoch; 0 for never.
        save_every_steps: the same in optimiser steps.
    """
    callbacks: list[Callback] = [ResultsTable(None if fast_dev_run else run_dir), OutOfMemory()]
    if command == "fit":
        callbacks.append(Throughput(None if fast_dev_run else run_dir))
        if not fast_dev_run:
            callbacks += [StartingAudit(run_dir, launch), RandomState(), OtherProcesses()]
            callbacks += [TrainingHealth(run_dir), Provenance(run_dir)]
            if checkpointing:  # in this order: what is saved in the end knows what is best
                callbacks += [*_checkpoints(run_dir), SavePoints(run_dir, launch, save_every_minutes, save_every_steps)]
    elif command == "predict":
        callbacks.append(PredictionFile(output, checkpoint, render))
    elif not fast_dev_run:
        callbacks += [EvaluationFiles(run_dir), ErrorAnalysis(run_dir)]
    if command != "predict" and not fast_dev_run:
        callbacks += [RunCard(run_dir), ReportPage(run_dir), WandbRun(run_dir)]  # after all that write what they show
    if progress_bar:
        callbacks.append(_progress_bar(command))
    return callbacks


def unknown_monitors(callbacks: list[Callback]) -> list[str]:
    """The metrics that callbacks (early stopping, say) watch and that validation never computes."""
    watched = [str(getattr(callback, "monitor", None) or "val/loss") for callback in callbacks]
    return [name for name in watched if name.startswith("val") and not _VALIDATION_METRIC.fullmatch(name)]


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
    if command == "predict":
        return PredictionProgress()
    return _Bar() if sys.stdout.isatty() else LineProgress()


class _Bar(RichProgressBar):
    """Lightning's bar, with epochs counted from 1 as in the results table."""

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}" + (f"/{epochs}" if epochs not in (None, -1) else "")
