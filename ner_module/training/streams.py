"""Terminal output: filters messages of libraries, and survives the loss of output streams during training."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Lightning's messages about every run, and those that this program replaces by its own.
_CHATTER = re.compile(
    r"\s*(\[rank: \d+\] )?(-{9}|[GTH]PU available|💡|LOCAL_RANK|`Trainer|Restor|Loaded model|Seed set|"
    r"Initializing dist|Loading `train|Using |Trainer already|SLURM auto|Detected Keyb|Received SIG|Bypassing SIG|"
    r"Time limit|Monitored metric|`weights_only|Found current_model|distributed_backend)|.* Profiler Report"
)

_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


class _LossyStream:
    """A text stream that drops output that cannot be written."""

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
        if error.errno in _GONE:  # permanent: discard buffered output, also at exit
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextlib.contextmanager
def lossy_output() -> Iterator[None]:
    """Within the block, ignore failures to write to standard output and error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_LossyStream(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams


def silence_libraries() -> None:
    """Ignore messages of Lightning that do not apply to this program."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: not _CHATTER.match(record.getMessage()))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers = [handler]
    for message in (
        "Be aware that when using `ckpt_path`.*",  # evaluation does not need the callbacks of `fit`
        "Checkpoint directory .* exists and is not empty.*",  # of a resumed run
        "You're resuming from a checkpoint that ended.*",  # the data module knows the position within the epoch
        "The dirpath has changed from.*",
        "It is recommended to use .*sync_dist=True.*",  # scores are summed over processes before logging
        "`broadcast_buffers` is deprecated.*",  # not every supported torch has its successor
        "You're using the WeightAveraging callback.*",  # models are not sharded
    ):
        warnings.filterwarnings("ignore", message=message)
    if "SLURM_JOB_ID" not in os.environ:  # login nodes also have srun
        warnings.filterwarnings("ignore", message="The `srun` command is available on your system.*")
