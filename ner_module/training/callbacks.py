"""Which callbacks each command has without being asked; what a configuration names comes between them.

Callbacks that cannot do here what they are for are refused by name (:func:`check_named`).
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from ner_module.errors import RunError
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

_REFUSED = {
    "StochasticWeightAveraging": "the weights that it averages would be in no checkpoint: give "
    "WeightAveraging or EMAWeightAveraging of lightning.pytorch.callbacks (configs/overlays/ema.yaml)",
    "LearningRateFinder": "the schedule sets the rate at each step, and would replace the one found: compare short "
    "trainings with several --model.learning_rate",
    "BatchSizeFinder": "sentences differ in length, so that the largest batch that fits is none of the others: give "
    "--data.batch_size, or --data.max_tokens, which bounds memory",
    "GradientAccumulationScheduler": "the loss of a step is averaged over --trainer.accumulate_grad_batches batches, a "
    "number that cannot change during training: give that option",
    "Timer": "give --trainer.max_time, which does the same",
    "ModelPruning": "it prunes whole modules of its own choice, which fails here: prune the exported model",
}

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


def check_named(callbacks: list[Callback]) -> None:
    """Refuse named callbacks that would do nothing, or harm, in a training of this program.

    Raises:
        RunError: says what to use instead.
    """
    for callback in callbacks:
        for name in (parent.__name__ for parent in type(callback).__mro__):
            if name in _REFUSED:
                raise RunError(f"{name}: {_REFUSED[name]}")
    for name in unknown_monitors(callbacks):
        known = ", ".join(f"val/{metric}" for metric in VALIDATION_METRICS)
        raise RunError(f"a callback watches {name!r}, which does not exist: give one of {known} or val/f1/TYPE")


def blamed(error: BaseException) -> str | None:
    """One line for an error of a callback or logger that the configuration names; ``None`` for other errors.

    Where the class is none of Lightning's, its own line is named, too.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    frames = [frame for each in chain for frame in traceback.walk_tb(each.__traceback__)]
    for frame, _ in frames:
        owner = frame.f_locals.get("self")
        room = type(owner).__module__
        if isinstance(owner, (Callback, Logger, Profiler)) and not room.startswith("ner_module."):
            text, kind = " ".join(str(chain[-1]).split())[:300], type(chain[-1]).__name__
            own = [(inner.f_code.co_filename, line) for inner, line in frames if inner.f_globals["__name__"] == room]
            where = "" if room.startswith("lightning.") or not own else f" ({own[-1][0]}:{own[-1][1]})"
            plain = isinstance(chain[-1], (ImportError, MisconfigurationException)) and text
            return f"{type(owner).__name__}{where}: {text if plain else f'{kind}: {text}'}"
    return None


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
