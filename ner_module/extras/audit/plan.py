"""The planned training: how many steps it has, whether they can be enough, and how much memory it needs. All counted.

Steps: the arithmetic of `data/batching.py` and of Lightning's ``estimated_stepping_batches``; a test holds it against a
real training. Memory: the model is built on PyTorch's ``meta`` device, which has shapes but no data, and one forward
pass of the largest batch records every tensor that the backward pass will need. On the CPU in float32 a real step
stores the same number of bytes, which is a test too. A GPU's attention kernels and bfloat16 need less; caching
allocators, temporary tensors and libraries need more. Needs no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForTokenClassification
from transformers.utils import logging

from ner_module.data.batching import count_batches
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Finding

# A rule of thumb, not a measurement: the published few-shot run had 6 steps and found nothing, the small one 260.
TOO_FEW_STEPS = 100


def count_steps(
    lengths: Sequence[int],
    batch_size: int,
    max_tokens: int | None,
    trainer: Mapping[str, Any],
    warmup_ratio: float = 0.0,
) -> dict[str, Any]:
    """Count the steps of a training.

    Args:
        lengths: subword tokens of each training sequence.
        batch_size: sequences of one micro-batch on one device.
        max_tokens: the budget of a micro-batch in subword tokens, if there is one.
        trainer: the trainer's options.
        warmup_ratio: share of the steps.

    Returns:
        ``rows``, training sequences; ``batch_size`` of a micro-batch on one device; ``devices`` over all nodes;
        ``accumulate``, micro-batches of a step; ``epochs``, how many are begun; ``steps_per_epoch``; ``steps`` in all;
        ``warmup_steps``. Without an end ``epochs`` and ``steps`` are ``None``.

    Raises:
        DataError: the budget is too small for the sequences.
    """
    devices = count_devices(trainer)
    accumulate = trainer.get("accumulate_grad_batches") or 1
    batches = count_batches(np.asarray(lengths, np.int64), batch_size, max_tokens, devices)
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
        "rows": len(lengths),
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
    if devices in ("auto", "-1", -1, None):
        count = 1 if trainer.get("accelerator") == "cpu" else torch.cuda.device_count()
    elif isinstance(devices, str) and "," in devices:
        count = len(devices.strip(",").split(","))
    else:
        count = len(devices) if isinstance(devices, (list, tuple)) else int(devices)
    return max(count, 1) * int(trainer.get("num_nodes") or 1)


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


def count_memory(config: Any, num_labels: int, rows: int, row_length: int) -> dict[str, int | None]:
    """Bytes of one training process in float32.

    Args:
        config: the base model's.
        num_labels: of the head.
        rows: sequences of the largest batch.
        row_length: subword tokens of its longest sequence.

    Returns:
        ``parameters``, trained weights in number; ``weights``, ``gradients`` and ``optimizer`` (AdamW's two moments);
        ``activations`` stored for the backward pass, ``None`` where the architecture cannot be traced without data;
        ``rows`` and ``row_length``.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config.num_labels = num_labels
        with torch.device("meta"):
            model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()
    finally:
        logging.set_verbosity(verbosity)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        activations: int | None = saved_bytes(model, rows, row_length, "meta")
    except (RuntimeError, NotImplementedError):  # asks for a value, which a tensor without data does not have
        activations = None
    sizes = {"parameters": trained, "weights": weights, "gradients": 4 * trained, "optimizer": 8 * trained}
    return {**sizes, "activations": activations, "rows": rows, "row_length": row_length}


def saved_bytes(model: torch.nn.Module, rows: int, row_length: int, device: str) -> int:
    """Bytes that one forward pass saves for the backward pass; the model's own tensors are not counted."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no other tensor gets the same address

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return tensor

    ids = torch.zeros((rows, row_length), dtype=torch.long, device=device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model(input_ids=ids, attention_mask=None).logits
        F.cross_entropy(logits.flatten(0, 1).float(), torch.zeros_like(ids).flatten())
    return sum(storage.nbytes() for storage in saved.values())
