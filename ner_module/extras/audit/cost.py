"""What the planned training costs: memory, counted on the model's own operations; time, measured on a few steps.

Memory is exact arithmetic, not a rule of thumb: the model is built on PyTorch's ``meta`` device, which has shapes but
no data, and one forward pass of the largest batch, its rows as long as the longest, records every tensor that the
backward pass will need. On the CPU in float32 that is what a real step keeps, byte for byte
(`tests/unit/test_audit_cost.py`). A GPU's attention kernels and bfloat16 keep less; caching allocators, temporary
tensors and libraries need more.

Time is measured: a model of the same architecture with random weights takes a few training steps on this machine, with
rows as long as the data's. Neither needs the base model's weights.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ner_module.extras.cpu.dropout import use_fast_dropout
from ner_module.extras.cpu.linear import use_fast_linear
from ner_module.model.optimizer import make_optimizer
from ner_module.model.packed import is_exact, packed_logits, padded_logits, prepare

# A probe step has at most this much to compute (6 operations a weight and subword, Kaplan et al. 2020); fewer rows of
# it are timed where a whole batch is larger. A laptop core does some 2e10 a second.
_PROBE_OPERATIONS = 4e11
_PROBE_SECONDS = 3.0
_PROBE_STEPS = 5


@dataclass(frozen=True)
class Memory:
    """Bytes of one training process in float32.

    Attributes:
        parameters: trained weights, in number.
        weights: their bytes.
        gradients: likewise.
        optimizer: AdamW's two moments.
        activations: kept for the backward pass of the largest batch; ``None`` where the architecture cannot be traced
            without data.
        rows: of that batch.
        row_length: subwords of each of its rows.
    """

    parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int | None
    rows: int
    row_length: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Timing:
    """Measured training steps.

    Attributes:
        seconds_per_batch: of one micro-batch (forward, backward and optimiser).
        seconds: of the whole training on devices like this one, validation not counted.
        device: where it was measured.
        rows: rows of a timed step; fewer than a batch where that would have taken too long, and scaled up.
        steps: how many steps were timed.
    """

    seconds_per_batch: float
    seconds: float | None
    device: str
    rows: int
    steps: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def count_memory(config: Any, num_labels: int, rows: int, row_length: int) -> Memory:
    """Count on the ``meta`` device.

    Args:
        config: the base model's.
        num_labels: of the head.
        rows: of the largest batch.
        row_length: subwords of its longest row.
    """
    model = _build(config, num_labels, "meta")
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    stored = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        activations: int | None = saved_bytes(model, rows, row_length, "meta")
    except (RuntimeError, NotImplementedError):  # asks for a value, which a tensor without data does not have
        activations = None
    return Memory(trained, stored, 4 * trained, 8 * trained, activations, rows, row_length)


def saved_bytes(model: torch.nn.Module, rows: int, row_length: int, device: str) -> int:
    """Bytes that one forward pass keeps for the backward pass; the model's own tensors are not counted."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no other tensor gets the same address

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return tensor

    ids = torch.zeros((rows, row_length), dtype=torch.long, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _loss(model, ids, None)
    return sum(storage.nbytes() for storage in saved.values())


def measure_time(
    config: Any, num_labels: int, row_lengths: npt.NDArray[np.int32], batch_size: int, batches: int | None
) -> Timing:
    """Time training steps of a model with random weights on this machine's first device.

    Args:
        config: the base model's.
        num_labels: of the head.
        row_lengths: of all training rows; steps take some of them at random, computed as in training.
        batch_size: rows of a micro-batch.
        batches: micro-batches of one process in the whole training; ``None`` without an end.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():
        model = _build(config, num_labels, device)
        use_fast_dropout(model)
        use_fast_linear(model)
        unpadded = is_exact(model)
        if unpadded:
            prepare(model)
        optimizer = make_optimizer(model, 1e-5, 0.0, fused=True)
        weights = sum(parameter.numel() for parameter in model.base_model.encoder.parameters()) if hasattr(
            model.base_model, "encoder"
        ) else sum(parameter.numel() for parameter in model.parameters())  # fmt: skip
        longest = int(np.percentile(row_lengths, 95))
        affordable = int(_PROBE_OPERATIONS / (6 * weights * max(longest, 1)))
        rows = min(batch_size, len(row_lengths)) if device == "cuda" else max(1, min(batch_size, affordable))
        chance = np.random.default_rng(0)
        spent: list[float] = []
        begun = time.perf_counter()
        while len(spent) <= _PROBE_STEPS and (len(spent) < 2 or time.perf_counter() - begun < _PROBE_SECONDS):
            drawn = chance.choice(row_lengths, batch_size)
            # Padded rows cost as much as the longest of their batch, also of a part of it.
            lengths = (drawn[:rows] if unpadded else np.full(rows, drawn.max())).tolist()
            ids = torch.randint(5, config.vocab_size, (sum(lengths),), device=device)
            start = time.perf_counter()
            logits = (packed_logits if unpadded else padded_logits)(model, ids, lengths)
            F.cross_entropy(logits.float(), torch.zeros_like(ids)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
    timed = spent[1:]  # the first one allocates
    per_batch = float(np.mean(timed)) * batch_size / rows
    threads = f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    name = torch.cuda.get_device_name() if device == "cuda" else threads
    whole = None if batches is None else round(per_batch * batches, 1)
    return Timing(round(per_batch, 4), whole, name, rows, len(timed))


def _build(config: Any, num_labels: int, device: str) -> Any:
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config.num_labels = num_labels
        with torch.device(device):
            return AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()
    finally:
        logging.set_verbosity(verbosity)


def _loss(model: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    logits = model(input_ids=ids, attention_mask=mask).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), torch.zeros_like(ids).flatten())
