"""The one door to the CPU kernels: a transformers model that computes the same, faster.

What is put in place: dropout whose masks are drawn fast (`dropout.py`), linear layers by oneDNN where that is faster
(`linear.py`), attention by the formula where that trains faster (`attention.py`), packed sequences of few lengths, and
freed memory that serves the next step (`memory.py`). Each decides for itself by device, so that on a GPU nothing
changes.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.extras.cpu.attention import attention
from ner_module.extras.cpu.dropout import use_fast_dropout
from ner_module.extras.cpu.linear import onednn_is_faster, use_fast_linear
from ner_module.extras.cpu.memory import keep_freed_memory

_MULTIPLE = 16


def use_cpu_kernels(model: Any) -> None:
    """Put the kernels into a model; twice is once."""
    use_fast_dropout(model)
    use_fast_linear(model)
    if hasattr(model, "kernels"):  # computed packed
        model.kernels = model.kernels._replace(attend=attention, length_multiple=_length_multiple)


def _length_multiple(device: torch.device) -> int:
    """16 on CPU, where oneDNN multiplies: it makes kernels for each length and stores them, so few lengths are better.

    A step of MiniLM took 4 to 7 % less time, and 250 to 450 MB less were held (`benchmarks/README.md`).
    """
    onednn = device.type == "cpu" and (torch.is_autocast_enabled("cpu") or onednn_is_faster())
    return _MULTIPLE if onednn else 1


class KeepFreedMemory(Callback):
    """Has the memory of one training step serve the next, on CPU."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the allocator."""
        if pl_module.device.type == "cpu":
            keep_freed_memory()


def callbacks(run: Any) -> list[Callback]:
    """What ``fit`` runs with."""
    return [KeepFreedMemory()] if run.command == "fit" else []
