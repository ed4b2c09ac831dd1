"""What an exception of the libraries means to a user, where it is not a fault of this program.

Which error says that memory ran out differs: CUDA has one of its own, Python raises ``MemoryError``, and torch's
allocator on CPU a plain ``RuntimeError`` that only its text sets apart. A process that the system kills leaves no
message.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.errors import RunError, UserError
from ner_module.model.module import NERModule
from ner_module.training.distributed import lost_contact

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


def load_module(path: Path, device: str | torch.device = "cpu") -> NERModule:
    """The model of a checkpoint.

    Raises:
        RunError: Lightning cannot make a model of it.
    """
    try:
        return NERModule.load_from_checkpoint(path, map_location=device, weights_only=True)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        problem = f"{path} cannot be loaded ({_in_brief(error)}); it is damaged or of another version: use another"
        raise RunError(problem) from error


def explain(error: BaseException, run_dir: Path | None) -> str | None:
    """One line for a failure of memory, network or options.

    Args:
        error: what ended the command.
        run_dir: where its checkpoints are.

    Returns:
        What is wrong and what to do; ``None`` for an error of this program, which needs its traceback.
    """
    if is_out_of_memory(error):
        return next(iter(getattr(error, "__notes__", [])), f"memory ran out: {error}")
    problem = lost_contact(error) if isinstance(error, RuntimeError) else None
    if problem is not None:
        return f"{problem} The checkpoints in {run_dir} are whole: start the job again."
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    connector = (frame for frame, name in zip(frames, modules, strict=True) if name.endswith("checkpoint_connector"))
    if any("restore" in frame.f_code.co_name for frame in connector):
        what = _in_brief(error)
        return f"the checkpoint does not fit this training, or was damaged ({what}); give another --ckpt_path"
    # Lightning itself raises an error for options that do not fit the data or each other.
    if isinstance(error, MisconfigurationException) or (modules and modules[-1].startswith("lightning.")):
        return " ".join(str(error).split())
    return None


def _in_brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
