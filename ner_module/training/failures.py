"""Explains exceptions of libraries to the user, unless they are bugs of this program.

Out-of-memory errors differ: CUDA has a class for them, Python raises ``MemoryError``, and torch's CPU allocator a plain
``RuntimeError``, recognisable by its text only. A process killed by the system leaves no message.
"""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from ner_module.errors import RunError, UserError
from ner_module.model.module import NERModule
from ner_module.training.distributed import lost_contact
from ner_module.training.runs import Run

_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def load_module(path: Path, device: str | torch.device = "cpu") -> NERModule:
    """Load the model of a checkpoint.

    Raises:
        RunError: Lightning cannot load it.
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _OUT_OF_MEMORY)


def explain(error: BaseException, run: Run) -> str | None:
    """Explain a failure of memory, network, options, or of a configured callback or logger in one line.

    Returns:
        Problem and remedy; ``None`` for a bug of this program, which needs its traceback.
    """
    if is_out_of_memory(error):
        advice = "a smaller --data.eval_batch_size or --data.max_seq_length, or --trainer.precision bf16-mixed"
        if run.command == "fit":
            accumulation = "--trainer.accumulate_grad_batches (8 and 2 train the same as 16)"
            advice = f"a smaller --data.batch_size with {accumulation}, --model.gradient_checkpointing true, {advice}"
        return f"memory ran out ({_in_brief(error)}): set {advice}"
    problem = lost_contact(error) if isinstance(error, RuntimeError) else None
    if problem is not None:
        return f"{problem} The checkpoints in {run.run_dir} are intact: start the job again."
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    calls = [(str(frame.f_globals.get("__name__")), frame.f_code.co_name) for frame in frames]
    restores = any(module.endswith("checkpoint_connector") and "restore" in function for module, function in calls)
    if restores and not isinstance(error, MisconfigurationException):  # which is about options
        what = _in_brief(error)
        return f"the checkpoint does not fit this training, or was damaged ({what}); give another --ckpt_path"
    if isinstance(error, IndexError) and str(error) == "index out of range in self":  # from an embedding layer
        return "the tokenizer has subword tokens for which the model has no embedding: they do not belong together"
    # Lightning itself raises errors for options that conflict with the data or each other.
    if isinstance(error, MisconfigurationException) or calls[-1][0].startswith("lightning."):
        return " ".join(str(error).split())
    return _of_configured_class(error)


def _of_configured_class(error: BaseException) -> str | None:
    """An error in a configured callback, logger or profiler; with its line if it is in the user's code."""
    cause = error
    frames = list(traceback.walk_tb(error.__traceback__))
    while cause.__cause__ is not None:
        cause = cause.__cause__
        frames += traceback.walk_tb(cause.__traceback__)
    for frame, _ in frames:
        owner = frame.f_locals.get("self")
        module = type(owner).__module__
        if not isinstance(owner, (Callback, Logger, Profiler)) or module.startswith("ner_module."):
            continue
        lines = [(inner.f_code.co_filename, line) for inner, line in frames if inner.f_globals["__name__"] == module]
        where = "" if module.startswith("lightning.") or not lines else " ({}:{})".format(*lines[-1])
        says_all = isinstance(cause, (ImportError, MisconfigurationException)) and str(cause)
        return f"{type(owner).__name__}{where}: {_shortened(cause) if says_all else _in_brief(cause)}"
    return None


def _in_brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {_shortened(error)}".removesuffix(": ")


def _shortened(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
