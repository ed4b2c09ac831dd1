"""When memory runs out: one line that says how large the batches were and what to set, instead of a traceback.

Which error that is differs: CUDA has one of its own, Python raises ``MemoryError``, and torch's allocator on CPU a
plain ``RuntimeError`` that only its text sets apart. A process that the system kills leaves no message.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_TEXTS = ("not enough memory", "can't allocate memory", "out of memory")


class OutOfMemory(Callback):
    """Remembers the largest batch, and attaches advice to the error (a note) for the command line to print."""

    def __init__(self) -> None:
        self._largest: tuple[int, int, int] = (0, 0, 0)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any, **__: Any
    ) -> None:
        """Look at the batch."""
        lengths = batch["lengths"]
        self._largest = max(self._largest, (sum(lengths), len(lengths), max(lengths, default=0)))

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_train_batch_start

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Attach the advice."""
        if not is_out_of_memory(exception):
            return
        subwords, sequences, longest = self._largest
        if trainer.state.fn == "fit" and not trainer.validating:
            advice = (
                "a smaller --data.batch_size with --trainer.accumulate_grad_batches (8 and 2 train the same as 16), "
                "--model.gradient_checkpointing true, a smaller --data.max_seq_length, or --trainer.precision "
                "bf16-mixed"
            )
        else:
            advice = (
                "a smaller --data.eval_batch_size, a smaller --data.max_seq_length, or --trainer.precision bf16-mixed"
            )
        exception.add_note(
            f"memory ran out; the largest batch so far had {sequences} sequences with {subwords:,} subword tokens, the "
            f"longest {longest}: set {advice}"
        )


def is_out_of_memory(exception: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(exception, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(exception, RuntimeError) and any(text in str(exception).lower() for text in _TEXTS)
