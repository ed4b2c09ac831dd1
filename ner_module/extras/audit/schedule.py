"""How many steps the planned training has, and whether they can be enough. Counted, not guessed.

Rows are counted with the model's windows where its tokenizer is known, else sentences are. The arithmetic is that of
`data/batching.py` and of Lightning's ``estimated_stepping_batches``; `tests/integration/test_audit.py` holds it against
a real training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.data.batching import count_batches
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Finding

# A rule of thumb, not a measurement: the published few-shot run had 6 steps and found nothing, the small one 260.
TOO_FEW_STEPS = 100


@dataclass(frozen=True)
class Schedule:
    """The planned training.

    Attributes:
        rows: training rows.
        batch_size: rows of a micro-batch on one device.
        devices: how many there are, over all nodes.
        accumulate: micro-batches of a step.
        epochs: how many are begun; ``None`` without an end.
        steps_per_epoch: optimiser steps.
        steps: in all; ``None`` without an end.
        warmup_steps: over which the rate rises.
    """

    rows: int
    batch_size: int
    devices: int
    accumulate: int
    epochs: int | None
    steps_per_epoch: int
    steps: int | None
    warmup_steps: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def plan(
    rows: int,
    batch_size: int,
    trainer: Mapping[str, Any],
    warmup_ratio: float = 0.0,
    row_lengths: npt.NDArray[np.int64] | None = None,
    max_tokens: int | None = None,
) -> Schedule:
    """Count the steps of a training.

    Args:
        rows: training rows.
        batch_size: of one micro-batch on one device.
        trainer: the trainer's options.
        warmup_ratio: share of the steps.
        row_lengths: subwords of each row, where they are known.
        max_tokens: the budget of a micro-batch in subwords, if there is one.

    Raises:
        DataError: the budget is too small for the rows.
    """
    devices = count_devices(trainer)
    accumulate = trainer.get("accumulate_grad_batches") or 1
    lengths = np.ones(rows, dtype=np.int64) if row_lengths is None else row_lengths
    batches = count_batches(lengths, batch_size, max_tokens if row_lengths is not None else None, devices)
    limit = trainer.get("limit_train_batches")
    if isinstance(limit, float):
        batches = int(batches * limit)
    elif limit is not None:
        batches = min(batches, limit)
    per_epoch = math.ceil(batches / accumulate)
    asked = trainer.get("max_steps")
    max_steps: int = -1 if asked is None else int(asked)
    max_epochs = trainer.get("max_epochs")
    if max_epochs in (None, -1):
        steps: int | None = max_steps if max_steps >= 0 else None
        epochs: int | None = math.ceil(steps / per_epoch) if steps is not None and per_epoch else None
    else:
        steps, epochs = max_epochs * per_epoch, max_epochs
        if 0 <= max_steps < max_epochs * per_epoch:
            steps, epochs = max_steps, math.ceil(max_steps / per_epoch)
    warmup = math.ceil((steps or 0) * warmup_ratio)
    return Schedule(rows, batch_size, devices, accumulate, epochs, per_epoch, steps, warmup)


def count_devices(trainer: Mapping[str, Any]) -> int:
    """How many devices the options mean, over all nodes; ``auto`` means those of this machine."""
    devices = trainer.get("devices", "auto")
    nodes = int(trainer.get("num_nodes") or 1)
    if isinstance(devices, str) and devices not in ("auto", "-1"):
        devices = [part for part in devices.split(",") if part] if "," in devices else int(devices)
    if isinstance(devices, (list, tuple)):
        return max(len(devices), 1) * nodes
    if devices in ("auto", "-1", -1, None):
        import torch

        on_cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()
        return (1 if on_cpu else torch.cuda.device_count()) * nodes
    return max(int(devices), 1) * nodes


def schedule_findings(schedule: Schedule) -> list[Finding]:
    """The plain warning that training is too short, and one that it never ends."""
    if schedule.steps is None:
        return [
            Finding(
                "no_end",
                "error",
                1,
                "training has no end: neither epochs nor steps are limited",
                None,
                "give --trainer.max_epochs or --trainer.max_steps",
            )
        ]
    if schedule.steps >= TOO_FEW_STEPS:
        return []
    epochs = math.ceil(3 * TOO_FEW_STEPS / max(schedule.steps_per_epoch, 1))
    return [
        Finding(
            "few_steps",
            "warning",
            schedule.steps,
            f"this training has {plural(schedule.steps, 'step')} in all ({plural(schedule.epochs or 0, 'epoch')} of "
            f"{schedule.steps_per_epoch}): a new head needs some hundred to leave 'no entity' behind, so expect F1 "
            "near 0",
            None,
            f"give --trainer.max_epochs {epochs}, a smaller --data.batch_size, or more sentences",
        )
    ]
