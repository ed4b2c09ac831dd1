"""The standard callbacks of each command; configured ones run before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback

from ner_module.offers import call_all
from ner_module.training import progress
from ner_module.training.operating_points import POINT_OPTIONS
from ner_module.training.predictions import EvaluationFiles, PredictionFile
from ner_module.training.preemption import ExitOnSigterm, PreemptionCheckpoint
from ner_module.training.results import ResultsTable
from ner_module.training.resume import ChangedPlan, RandomState, RelocatableCheckpoint
from ner_module.training.runs import Run


def standard_callbacks(run: Run, options: Namespace, own_bar: bool) -> list[Callback]:
    """The callbacks of ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        run: the command with its run directory and checkpoint.
        options: the command's options.
        own_bar: whether the configuration has a progress bar.
    """
    run_dir = run.run_dir
    is_trial = bool(options.trainer.fast_dev_run)  # writes no files
    callbacks: list[Callback] = [ResultsTable(None if is_trial else run_dir)]
    if run.command != "fit":
        callbacks.append(ExitOnSigterm())
    if run.command == "predict":
        output = Path(options.output) if options.output else None
        asked = {name: options[name] for name in POINT_OPTIONS}
        callbacks.append(PredictionFile(output, run.checkpoint, options.output_tags, asked))
    elif not is_trial:
        if run.command != "fit":
            callbacks.append(EvaluationFiles(run_dir))
        else:
            callbacks += [RandomState(), ChangedPlan()]
            if options.trainer.enable_checkpointing is not False:  # in this order: the last to save knows the best
                every = options.save_every_minutes, options.save_every_steps
                callbacks += [*_checkpoints(run_dir), PreemptionCheckpoint(run_dir, run.launch, *every)]
        callbacks += [callback for offered in call_all("callbacks", run) for callback in offered]
    if options.trainer.enable_progress_bar is not False and not own_bar:
        callbacks.append(progress.progress_bar(run.command))
    return callbacks


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
