"""Refuses, by name, options and callbacks of Lightning that would have no effect, fail late or hang."""

from __future__ import annotations

import os
import re
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from ner_module.errors import RunError
from ner_module.model.trainer_check import REFUSED, refuse_callbacks
from ner_module.training import cluster
from ner_module.training.runs import NAMES

_POSITIVE = (
    *("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches", "check_val_every_n_epoch"),
    "val_check_interval",
)

_UNITS = {"days", "hours", "minutes", "seconds"}

_CALLBACKS = REFUSED | {
    "Timer": "give --trainer.max_time, which does the same",
    "OnExceptionCheckpoint": "a new training would resume from its file, whatever wrote that: leave it out",
    "ModelPruning": "it prunes whole modules of its own choice, which fails here: prune the exported model",
}

_METRICS = ("loss", "precision", "recall", "f1", "f1_macro", "f1_weighted", "accuracy")
_METRIC = re.compile(rf"train/loss|val/({'|'.join(_METRICS)}|(precision|recall|f1|support)/.+)")


def check_trainer(trainer: Any) -> None:
    """Refuse invalid or unsupported options of the trainer.

    Raises:
        RunError: names the option and an alternative.
    """
    for name in _POSITIVE:
        value = trainer[name]
        if isinstance(value, (int, float)) and value <= 0 and (value, name[:4]) != (-1, "max_"):
            raise RunError(f"--trainer.{name}: it is {value}, so nothing would be trained; give more or omit it")
    if isinstance(time := trainer.max_time, dict):
        is_time = time and time.keys() <= _UNITS and min(time.values()) >= 0 < max(time.values())
    else:
        is_time = time is None or re.fullmatch(r"(?=.*[1-9])\d+(:\d\d){3}", str(time))
    if not is_time:
        raise RunError(f"--trainer.max_time: it is {time}; give days, hours, minutes and seconds, such as 00:12:00:00")
    if (trainer.min_epochs or 0) > (trainer.max_epochs or -1) > 0:
        raise RunError(f"--trainer.min_epochs: it exceeds --trainer.max_epochs {trainer.max_epochs}; omit it")
    if (trainer.gradient_clip_val or 0) < 0:
        raise RunError(f"--trainer.gradient_clip_val: it is {trainer.gradient_clip_val}; give null or more than 0")
    if trainer.overfit_batches:
        raise RunError("--trainer.overfit_batches is not supported: give a small --data.train_file instead")
    if trainer.logger is True:
        raise RunError("--trainer.logger true: name one, as configs/overlays/tensorboard.yaml does")
    if trainer.model_registry:
        raise RunError("--trainer.model_registry has no effect here: `export` a model, and upload that")
    if trainer.barebones:
        raise RunError("--trainer.barebones is not supported: --trainer.fast_dev_run true tries everything once")
    strategy = trainer.strategy
    arguments = getattr(strategy, "init_args", None) or {}
    method = strategy if isinstance(strategy, str) else str(arguments.get("start_method", ""))
    if any(part in method for part in ("spawn", "fork", "notebook")):
        raise RunError(f"--trainer.strategy {method} cannot save a training: give ddp, or start it with torchrun")
    if trainer.num_nodes > 1 and cluster.topology() is None and not {"NODE_RANK", "GROUP_RANK"} & os.environ.keys():
        problem = f"--trainer.num_nodes {trainer.num_nodes}: nothing starts the other nodes"
        raise RunError(f"{problem}; start this command on each with torchrun or srun (docs/cluster.md)")


def check_callbacks(callbacks: list[Callback]) -> None:
    """Refuse configured callbacks that would have no effect, or do harm, in a training of this program.

    Raises:
        RunError: names the callback and an alternative.
    """
    refuse_callbacks(callbacks, _CALLBACKS)
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and (callback.save_last or callback.filename in NAMES):
            own = "best.ckpt and last.ckpt are the run's own: give another filename, and no save_last"
            raise RunError(f"{type(callback).__name__}: {own}")
        name, monitor = type(callback).__name__, str(getattr(callback, "monitor", None))
        if not monitor.startswith(("val", "train")):
            continue
        if not _METRIC.fullmatch(monitor):
            known = ", ".join(f"val/{metric}" for metric in _METRICS)
            problem = f"a callback monitors {monitor!r}, which does not exist"
            raise RunError(f"{problem}: give one of {known}, val/f1/TYPE or train/loss")
        mode, right = getattr(callback, "mode", None), "min" if monitor.endswith("/loss") else "max"
        if mode not in (None, right):
            raise RunError(
                f"{name} monitors {monitor} with mode {mode}: the worst would count as the best; give mode: {right}"
            )


def check_watched(trainer: Trainer, has_sentences: bool) -> None:
    """Refuse callbacks (:class:`RunError`) that monitor validation metrics that will not exist.

    Args:
        trainer: the trainer of ``fit``, with its data.
        has_sentences: whether there is validation data.
    """
    types = trainer.datamodule.labels.entity_types  # type: ignore[attr-defined]
    is_late = (trainer.check_val_every_n_epoch or 1) > (trainer.max_epochs or -1) > 0
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor, is_own = str(getattr(callback, "monitor", None)), type(callback).__module__.startswith("ner_module.")
        if is_own or not monitor.startswith("val"):
            continue
        if is_late or not has_sentences:
            asked = "--trainer.check_val_every_n_epoch at most --trainer.max_epochs"
            asked = asked if is_late else "more than 0 to --trainer.limit_val_batches and --data.validation_fraction"
            raise RunError(f"a callback monitors {monitor}, and nothing is validated: leave it out, or give {asked}")
        if (kind := monitor.split("/", 2)[2:]) and not set(kind) <= set(types):
            problem = f"a callback monitors {monitor}, but the data have no such entity"
            raise RunError(f"{problem}: the types are {', '.join(sorted(types))}")
