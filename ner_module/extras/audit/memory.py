"""The memory of the planned training, counted on the model's own operations.

Exact arithmetic, not a rule of thumb: the model is built on PyTorch's ``meta`` device, which has shapes but no data,
and one forward pass of the largest batch records every tensor that the backward pass will need. On the CPU in float32
a real step holds the same number of bytes (`tests/extras/audit/test_audit_plan.py`). A GPU's attention kernels and
bfloat16 need less; caching allocators, temporary tensors and libraries need more. Needs no weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


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
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

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
