"""Refuses callbacks and options of any trainer that do not work with `NERModule`, before data are read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Callback

from ner_module.errors import RunError

log = logging.getLogger(__name__)

REFUSED = {
    "StochasticWeightAveraging": "the weights that it averages would be in no checkpoint: give "
    "WeightAveraging or EMAWeightAveraging of lightning.pytorch.callbacks (configs/overlays/ema.yaml)",
    "LearningRateFinder": "the schedule sets the rate at each step, and would replace the one found: compare short "
    "trainings with several --model.learning_rate",
    "BatchSizeFinder": "sentences differ in length, so that the largest batch that fits is none of the others: give "
    "--data.batch_size, or --data.max_tokens, which bounds memory",
    "GradientAccumulationScheduler": "the loss of a step is averaged over --trainer.accumulate_grad_batches batches, a "
    "number that cannot change during training: give that option",
}
"""Class (or base class) -> the reason, and what to use instead."""


def refuse_callbacks(callbacks: Iterable[Callback], refused: Mapping[str, str] = REFUSED) -> None:
    """Raise :class:`RunError`, with an alternative, for refused callbacks, unless a ``Tuner`` uses them."""
    for callback in callbacks:
        names = [parent.__name__ for parent in type(callback).__mro__]
        for name in refused.keys() & set(names):
            if not getattr(callback, "_early_exit", False):
                raise RunError(f"{name}: {refused[name]}")
        if getattr(callback, "_use_buffers", False):  # averages of positions and label codes would be rounded
            raise RunError(f"{names[0]}: give it use_buffers: false (configs/overlays/ema.yaml)")


def check_any_trainer(trainer: Any, options: Mapping[str, Any]) -> None:
    """Refuse a trainer's callbacks and options that conflict with the module's; warn of data for another model."""
    refuse_callbacks(trainer.callbacks)
    if trainer.overfit_batches:
        raise RunError("overfit_batches is not supported: give a small train_file instead")
    base_model, data = options["model_name_or_path"], getattr(trainer.datamodule, "hparams", {})
    if options["distillation"] and trainer.state.fn == "fit" and not data.get("annotated_types"):
        raise RunError("--model.distillation needs --data.annotated_types: without it all files annotate all types")
    tokenized = data.get("model_name_or_path")  # None: from a checkpoint
    if tokenized not in (None, base_model):
        log.warning("the model is made from %s, but the data are tokenised for %s", base_model, tokenized)
