"""How many steps the planned training has, and whether they can be enough. Counted, not guessed.

Sequences are counted with the model's windows where its tokenizer is known, else sentences are. The arithmetic is that
of `data/batching.py` and of Lightning's ``estimated_stepping_batches``; a test holds it against a real training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ner_module.data.batching import count_batches
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Finding

# A rule of thumb, not a measurement: the published few-shot run had 6 steps and found nothing, the small one 260.
TOO_FEW_STEPS = 100


def plan(
    rows: int,
    batch_size: int,
    trainer: Mapping[str, Any],
    warmup_ratio: float = 0.0,
    row_lengths: Sequence[int] | None = None,
    max_tokens: int | None = None,
) -> dict[str, Any]:
    """Count the steps of a training.

    Args:
        rows: training sequences.
        batch_size: of one micro-batch on one device.
        trainer: the trainer's options.
        warmup_ratio: share of the steps.
        row_lengths: subword tokens of each sequence, where they are known.
        max_tokens: the budget of a micro-batch in subword tokens, if there is one.

    Returns:
        ``rows``, training sequences; ``batch_size`` of a micro-batch on one device; ``devices`` over all nodes;
        ``accumulate``, micro-batches of a step; ``epochs``, how many are begun; ``steps_per_epoch``; ``steps`` in all;
        ``warmup_steps``. Without an end ``epochs`` and ``steps`` are ``None``.

    Raises:
        DataError: the budget is too small for the sequences.
    """
    devices = count_devices(trainer)
    accumulate = trainer.get("accumulate_grad_batches") or 1
    if row_lengths is None:
        row_lengths, max_tokens = [1] * rows, None
    batches = count_batches(np.asarray(row_lengths, np.int64), batch_size, max_tokens, devices)
    limit = trainer.get("limit_train_batches")
    if isinstance(limit, float):
        batches = int(batches * limit)
    elif limit is not None:
        batches = min(batches, limit)
    per_epoch = math.ceil(batches / accumulate)
    epochs, steps = trainer.get("max_epochs"), None
    if epochs == -1:
        epochs = None
    if epochs is not None:
        steps = epochs * per_epoch
    limit = trainer.get("max_steps")
    if limit not in (None, -1) and (steps is None or limit < steps):
        steps, epochs = limit, math.ceil(limit / per_epoch) if per_epoch else epochs
    return {
        "rows": rows,
        "batch_size": batch_size,
        "devices": devices,
        "accumulate": accumulate,
        "epochs": epochs,
        "steps_per_epoch": per_epoch,
        "steps": steps,
        "warmup_steps": math.ceil((steps or 0) * warmup_ratio),
    }


def count_devices(trainer: Mapping[str, Any]) -> int:
    """How many devices the options mean, over all nodes; ``auto`` means those of this machine."""
    devices = trainer.get("devices", "auto")
    nodes = int(trainer.get("num_nodes") or 1)
    if isinstance(devices, str) and "," in devices:
        devices = [part for part in devices.split(",") if part]
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(len(devices), 1) * nodes
    if devices in ("auto", "-1", -1, None):
        import torch

        on_cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()
        return (1 if on_cpu else torch.cuda.device_count()) * nodes
    return max(int(devices), 1) * nodes


def schedule_findings(schedule: Mapping[str, Any]) -> list[Finding]:
    """A warning where training is too short, an error where it never ends."""
    steps, per_epoch = schedule["steps"], schedule["steps_per_epoch"]
    if steps is None:
        problem = "training has no end: neither epochs nor steps are limited"
        return [Finding("no_end", "error", 1, problem, None, "give --trainer.max_epochs or --trainer.max_steps")]
    if steps >= TOO_FEW_STEPS:
        return []
    message = (
        f"this training has {plural(steps, 'step')} in all ({plural(schedule['epochs'] or 0, 'epoch')} of "
        f"{per_epoch}): a new head needs some hundred before it predicts entities at all, so expect F1 near 0"
    )
    epochs = math.ceil(3 * TOO_FEW_STEPS / max(per_epoch, 1))
    advice = f"give --trainer.max_epochs {epochs}, a smaller --data.batch_size, or more sentences"
    return [Finding("few_steps", "warning", steps, message, None, advice)]
