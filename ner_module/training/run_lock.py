"""One training at a time in a run directory: two would damage each other's checkpoints. No torch."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ner_module.errors import RunError
from ner_module.files import try_lock


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run directory, ``RUN/.lock``, which says who has it.

    Raises:
        RunError: another process has it; with its host and number.
    """
    is_new = not run_dir.exists()
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / ".lock"
    while True:
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            if not try_lock(file):
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                raise RunError(
                    f"{run_dir} is in use by {owner}, which trains there: wait for it, or choose another --run_dir"
                )
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue  # its last owner has just removed it
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                if is_new:
                    with contextlib.suppress(OSError):  # it holds a run
                        run_dir.rmdir()
            return
