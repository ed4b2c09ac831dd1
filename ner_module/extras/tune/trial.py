"""A training in a process of its own, as if typed: its crash is not that of the search."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ner_module.errors import DataError, RunError
from ner_module.files import read_json_object
from ner_module.training.runs import checkpoint_path, run_lock

Rows = list[dict[str, float]]
"""The rows of a run's table of epochs."""

_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


def when_free(folder: Path) -> contextlib.ExitStack:
    """The lock of a folder, once nobody else has it: for ``with``."""
    while True:
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(run_lock(folder))
            return stack
        except RunError:
            time.sleep(0.2)


def train(run_dir: Path, arguments: Sequence[str], is_hopeless: Callable[[Rows], bool] = lambda rows: False) -> str:
    """Begin a training, or go on with one, and wait for its end; what it prints goes to ``output.txt``.

    Of its checkpoints ``best.ckpt`` is kept, which has the model: a search has many runs.

    Args:
        run_dir: of the training. A process that a killed search has left behind there is waited for.
        arguments: of ``fit``.
        is_hopeless: asked after each epoch whether to stop, which is done as by Ctrl-C.

    Returns:
        What went wrong, in a line; empty for a training that ended well or was hopeless.
    """
    with when_free(run_dir):
        pass
    problem = run_command(run_dir, ["fit", *arguments, "--ckpt_path=auto"], is_hopeless)
    for name in ("last", "previous") if not problem else ():
        checkpoint_path(run_dir, name).unlink(missing_ok=True)
    return problem


def run_command(
    run_dir: Path, arguments: Sequence[str], is_hopeless: Callable[[Rows], bool] = lambda rows: False
) -> str:
    """The same for any command of the program with a run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    output, seen, stopped = run_dir / "output.txt", 0, False
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ner_module", *arguments, f"--run_dir={run_dir}"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Linux asks it to save and end when this process is killed (PR_SET_PDEATHSIG).
            preexec_fn=(lambda: _LIBC.prctl(1, signal.SIGTERM)) if _LIBC else None,
        )
    try:
        while not stopped and process.poll() is None:
            time.sleep(0.5)
            if len(rows := epochs_of(run_dir)) > seen:
                seen, stopped = len(rows), is_hopeless(rows)
    finally:
        if process.poll() is None:
            process.terminate()  # it saves and ends
        process.wait()
    if stopped or process.returncode == 0:
        return ""
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return f"{[f'exit code {process.returncode}', *errors][-1]} ({output})"


def epochs_of(run_dir: Path) -> Rows:
    """The epochs of a run so far."""
    with contextlib.suppress(DataError):  # damaged: the next epoch writes it anew
        return list(read_json_object(run_dir / "results.json").get("epochs", []))
    return []


def best_f1(rows: Rows) -> float | None:
    """The F1 of the best epoch; ``None`` where nothing was scored."""
    return max((row["val/f1"] for row in rows if row.get("val/f1") is not None), default=None)
