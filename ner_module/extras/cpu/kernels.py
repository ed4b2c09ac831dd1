"""The one door to the CPU kernels: a transformers model that computes the same, faster; figures in `benchmarks/`.

Dropout and attention (`attention.py`), linear layers (`linear.py`), packed sequences of few lengths, and freed memory
that serves the next step. Each decides by device: on a GPU nothing changes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.extras.cpu.attention import attention, use_fast_dropout
from ner_module.extras.cpu.linear import onednn_is_faster, use_fast_linear

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


def use_cpu_kernels(model: Any) -> None:
    """Put the kernels into a model; twice is once."""
    use_fast_dropout(model)
    use_fast_linear(model)
    if hasattr(model, "kernels"):  # computed packed
        model.kernels = model.kernels._replace(attend=attention, length_multiple=_length_multiple)


def _length_multiple(device: torch.device) -> int:
    """16 on CPU, where oneDNN multiplies: it makes and stores kernels for each length, so few lengths are better."""
    onednn = device.type == "cpu" and (torch.is_autocast_enabled("cpu") or onednn_is_faster())
    return 16 if onednn else 1


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse what is freed; false where there is no glibc, and nothing is done.

    A training step allocates the same large tensors each time, which glibc otherwise maps anew from the system: zeroed
    pages, one fault at a time. The peak stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return all(mallopt(option, _MOST) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


class KeepFreedMemory(Callback):
    """Has the memory of one training step serve the next, on CPU."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the allocator."""
        if pl_module.device.type == "cpu":
            keep_freed_memory()


def callbacks(run: Any) -> list[Callback]:
    """What ``fit`` runs with."""
    return [KeepFreedMemory()] if run.command == "fit" else []
