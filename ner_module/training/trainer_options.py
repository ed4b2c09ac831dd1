"""Options of Lightning's trainer with which a command would do nothing, fail late or wait forever: refused by name."""

from __future__ import annotations

import os
from typing import Any

from ner_module.errors import RunError
from ner_module.training import cluster

_AT_LEAST_SOMETHING = (
    *("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches", "check_val_every_n_epoch"),
    "val_check_interval",
)


def check_trainer(trainer: Any) -> None:
    """Refuse options that cannot be meant.

    Args:
        trainer: the trainer's options.

    Raises:
        RunError: names one, and what to give instead.
    """
    for name in _AT_LEAST_SOMETHING:
        if trainer[name] == 0:
            raise RunError(f"--trainer.{name}: it is 0, with which nothing is trained; give more, or leave it out")
    if (trainer.gradient_clip_val or 0) < 0:
        raise RunError(f"--trainer.gradient_clip_val: it is {trainer.gradient_clip_val}; give null or more than 0")
    if trainer.overfit_batches:
        raise RunError("--trainer.overfit_batches is not supported: give a small --data.train_file instead")
    if trainer.barebones:
        raise RunError(
            "--trainer.barebones neither scores nor saves a model, and is not supported: --trainer.fast_dev_run true "
            "tries everything once"
        )
    strategy = trainer.strategy
    arguments = getattr(strategy, "init_args", None) or {}
    method = strategy if isinstance(strategy, str) else str(arguments.get("start_method", ""))
    if any(part in method for part in ("spawn", "fork", "notebook")):
        raise RunError(f"--trainer.strategy {method} cannot save a training: give ddp, or start it with torchrun")
    if trainer.num_nodes > 1 and cluster.topology() is None and not {"NODE_RANK", "GROUP_RANK"} & os.environ.keys():
        raise RunError(
            f"--trainer.num_nodes {trainer.num_nodes}: nothing starts the other nodes; start this command on each with "
            "torchrun or srun (docs/cluster.md)"
        )
