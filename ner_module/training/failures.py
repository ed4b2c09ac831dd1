"""What an exception of the libraries means to a user, where it is not a fault of this program."""

from __future__ import annotations

import traceback
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from ner_module.training.distributed import lost_contact, wait_for_peer_error
from ner_module.training.out_of_memory import is_out_of_memory


def explain(error: BaseException, run_dir: Path | None) -> str | None:
    """One line for a failure of memory, network or options.

    Where another process is to blame, this waits until that one has reported its error.

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
        wait_for_peer_error()
        return f"{problem} The checkpoints in {run_dir} are whole: start the job again."
    if isinstance(error, MisconfigurationException) or _raised_by_lightning(error):
        return " ".join(str(error).split())
    return None


def _raised_by_lightning(error: BaseException) -> bool:
    """Whether Lightning itself raised an error: it does so for options that do not fit the data or each other."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("lightning.")
