"""Self-check before a run: does an untested device compute packed sequences like padded ones?

A small model of the run's family and sizes, with random weights, is computed three times, forward and backward: padded
in float32, and padded and packed in the run's precision. The check passes if the packed error relative to float32 is at
most three times the padded one. Passes are cached by torch build, device, family, sizes and precision.

Shapes: T subword tokens of all sequences, C labels.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ner_module.files import cache_folder
from ner_module.model.encoder import set_dropout
from ner_module.model.packed import packed_logits, padded_logits, prepare

log = logging.getLogger(__name__)

TRUSTED = ("cpu",)
"""Devices that need no check, since the tests cover them."""

_VERSION = 2
"""Increased when packed execution changes, to repeat checks that have passed."""

_TOLERANCE = 1e-4
"""Relative error that is always accepted: in float32 padded sequences may have none."""


def passes(model: Any, device: torch.device, trainer: Any) -> bool:
    """Whether packed sequences can be computed on a device in all processes of a trainer.

    If not, one line says why. Without a trainer, for this process and the model's precision.
    """
    if device.type in TRUSTED:
        return True
    context = contextlib.nullcontext if trainer is None else trainer.precision_plugin.forward_context
    problem = find_problem(model, device, context)
    found = problem is None if trainer is None else trainer.strategy.reduce_boolean_decision(problem is None)
    if not found:
        log.warning("this device failed a test, so batches are padded; please report: %s", problem or "other processes")
    return bool(found)


def find_problem(model: Any, device: torch.device, context: Callable[[], Any]) -> str | None:
    """What is wrong with packed execution on a device; ``None`` if the check passes.

    Args:
        model: the run's model, prepared for packed execution.
        device: the device to check.
        context: a context manager for a forward pass in the run's precision.
    """
    with context():
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else model.dtype
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    config = _small(model.config)
    key = [_VERSION, torch.__version__, torch.version.git_version, name, dtype, model.dtype, config]
    passed = cache_folder() / "selfcheck" / hashlib.sha256(repr(key).encode()).hexdigest()
    if passed.is_file():
        return None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode(False):
            torch.default_generator.manual_seed(0)
            problem = _compare(config, model, device, context)
    except Exception as error:  # builds raise various errors for operators that they lack
        problem = " ".join(str(error).split())[:200]
    if problem is not None:
        return f"{problem} ({name}, torch {torch.__version__}, {config.model_type}, {dtype})"
    with contextlib.suppress(OSError):  # the check is repeated next time
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    return None


def _small(config: Any) -> Any:
    """A config with the same kind of layers, but few layers and a small vocabulary."""
    config = copy.deepcopy(config)
    kinds = sorted(set(getattr(config, "layer_types", None) or []))
    config.num_hidden_layers = max(len(kinds), 2)
    if kinds:
        config.layer_types = kinds
    config.vocab_size, config.num_labels = 512, 5
    config.pad_token_id = min(config.pad_token_id or 0, 1)
    # Attention is far from uniform, so that missing or wrong keys are detected.
    config.initializer_range = 3 * config.hidden_size**-0.5
    set_dropout(config, 0.1)
    return config


@torch.enable_grad()
def _compare(config: Any, model: Any, device: torch.device, context: Callable[[], Any]) -> str | None:
    from transformers import AutoModelForTokenClassification

    small = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).to(device)
    prepare(small)
    small.attend, small.length_multiple = model.attend, model.length_multiple
    limit = config.max_position_embeddings - config.pad_token_id - 1  # RoBERTa's positions start after the padding id
    lengths = [min(length, limit) for length in (1, 2, 17, 64, 512)]
    input_ids = torch.randint(2, config.vocab_size, (sum(lengths),)).to(device)

    def compute(logits_of: Callable[..., Tensor], in_context: Callable[[], Any], dtype: torch.dtype) -> list[Tensor]:
        """Logits ``[T, C]`` and the gradients of all parameters."""
        small.to(dtype).zero_grad()
        with in_context():
            logits_TC = logits_of(small, input_ids, lengths).float()
        signs = torch.arange(logits_TC.numel(), device=device).view_as(logits_TC) % 3 - 1
        (logits_TC * signs).sum().backward()  # type: ignore[no-untyped-call]
        return [logits_TC.detach(), *(p.grad.float() for p in small.parameters() if p.grad is not None)]

    small.eval()
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        exact = compute(padded_logits, lambda: torch.autocast(device.type, enabled=False), torch.float32)
    finally:
        torch.set_float32_matmul_precision(precision)
    padded = _distances(compute(padded_logits, context, model.dtype), exact)
    packed = _distances(compute(packed_logits, context, model.dtype), exact)
    if not all(mine <= 3 * usual + _TOLERANCE for mine, usual in zip(packed, padded, strict=True)):
        shown = ["{:.2g} in logits, {:.2g} in gradients".format(*distances) for distances in (packed, padded)]
        return f"packed sequences are off by {shown[0]}, padded ones by {shown[1]}"
    small.train()
    dropped = [values for values in compute(packed_logits, context, model.dtype) if values.ndim > 1]
    sound = all(values.isfinite().all() and values.any() for values in dropped)
    return None if sound else "packed sequences with dropout are zero or not finite"


def _distances(found: list[Tensor], exact: list[Tensor]) -> tuple[float, float]:
    """Relative errors: the largest of a token's logits, and that of the whole gradient."""
    off_T, size_T = (found[0] - exact[0]).norm(dim=-1), exact[0].norm(dim=-1)
    mine, others = (torch.cat([gradient.flatten() for gradient in results[1:]]) for results in (found, exact))
    return float(off_T.max() / size_T.mean()), float((mine - others).norm() / others.norm())
