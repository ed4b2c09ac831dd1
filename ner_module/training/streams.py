"""Standard output that may go away while a training runs: a closed terminal, a reader that ended, a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


class _LossyStream:
    """A text stream that drops what cannot be written; everything else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno in _GONE:  # for good: what Python still holds goes nowhere, also when it exits
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextlib.contextmanager
def lossy_output() -> Iterator[None]:
    """Within the block, standard output and error that cannot be written to are no error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_LossyStream(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
