"""Which callbacks each command has without being asked; what a configuration names comes before them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from ner_module.offers import call_all
from ner_module.training import progress
from ner_module.training.failures import OutOfMemory
from ner_module.training.predictions import EvaluationFiles, PredictionFile
from ner_module.training.preemption import ExitOnSigterm, PreemptionCheckpoint
from ner_module.training.results import ResultsTable
from ner_module.training.resume import ChangedPlan, RandomState, RelocatableCheckpoint
from ner_module.training.runs import Run

VALIDATION_METRICS = ("loss", "precision", "recall", "f1", "f1_macro", "f1_weighted", "accuracy")
"""What is logged after each validation as ``val/…``; precision, recall, f1 and support also for each type."""

_VALIDATION_METRIC = re.compile(rf"val/({'|'.join(VALIDATION_METRICS)}|(precision|recall|f1|support)/.+)")


def standard_callbacks(
    run: Run,
    *,
    fast_dev_run: bool = False,
    checkpointing: bool = True,
    progress_bar: bool = True,
    output: Path | None = None,
    output_tags: bool = False,
    save_every_minutes: float = 10.0,
    save_every_steps: int | None = None,
) -> list[Callback]:
    """The callbacks of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        run: which of these, where its files go and the checkpoint it starts from.
        fast_dev_run: a trial of a few batches, which leaves nothing behind.
        checkpointing: whether ``fit`` saves checkpoints.
        progress_bar: whether progress is shown.
        output: the file ``predict`` writes; ``None`` for standard output.
        output_tags: whether it writes each word's tag and probabilities.
        save_every_minutes: how often ``last.ckpt`` is written within an epoch; 0 for never.
        save_every_steps: the same in optimiser steps.
    """
    run_dir = run.run_dir
    assert run_dir is not None
    callbacks: list[Callback] = [ResultsTable(None if fast_dev_run else run_dir), OutOfMemory()]
    if run.command != "fit":
        callbacks.append(ExitOnSigterm())
    if run.command == "predict":
        callbacks.append(PredictionFile(output, run.checkpoint, output_tags))
    elif not fast_dev_run:
        if run.command != "fit":
            callbacks.append(EvaluationFiles(run_dir))
        else:
            callbacks += [RandomState(), ChangedPlan()]
            if checkpointing:  # in this order: what is saved in the end knows what is best
                every = save_every_minutes, save_every_steps
                callbacks += [*_checkpoints(run_dir), PreemptionCheckpoint(run_dir, run.launch, *every)]
        callbacks += [callback for offered in call_all("callbacks", run) for callback in offered]
    if progress_bar:
        callbacks.append(progress.progress_bar(run.command))
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
    best = RelocatableCheckpoint(filename="best", monitor="val/f1", mode="max", save_on_train_epoch_end=False, **common)
    last = RelocatableCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **common)
    return [best, last]
