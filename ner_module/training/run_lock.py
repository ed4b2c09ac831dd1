"""One training at a time in a run directory: two would damage each other's checkpoints. No torch.

The lock is the operating system's own on ``RUN/.lock`` (POSIX ``lockf``): it ends with its process, however that
ends, is not inherited by loader workers, and holds between hosts on network file systems. The file says who has it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ner_module.errors import RunError

_NAME = ".lock"


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run directory.

    Raises:
        RunError: another process has it; with its host and number.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    is_new = not run_dir.exists()
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / _NAME
    while True:
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                raise RunError(
                    f"{run_dir} is in use by {owner}, which trains there: wait for it, or choose another --run_dir"
                ) from None
            except OSError:  # a file system without locks
                yield
                return
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):  # else its last owner has just removed it
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
