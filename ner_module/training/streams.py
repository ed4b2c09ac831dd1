"""What reaches the terminal: relevant messages of libraries, and output streams that may close during a training."""

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

# What Lightning says of every run, and what this program says in its own words.
_CHATTER = re.compile(
    r"\s*(\[rank: \d+\] )?(-{9}|[GTH]PU available|💡|LOCAL_RANK|`Trainer|Restor|Loaded model|Seed set|"
    r"Initializing dist|Loading `train|Using |Trainer already|SLURM auto|Detected Keyb|Received SIG|Bypassing SIG|"
    r"Time limit|Monitored metric|`weights_only|Found current_model|distributed_backend)|.* Profiler Report"
)

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


def silence_libraries() -> None:
    """Ignore messages of Lightning that do not apply to this program."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: not _CHATTER.match(record.getMessage()))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers = [handler]
    for message in (
        "Be aware that when using `ckpt_path`.*",  # evaluation has no use for the callbacks of `fit`
        "Checkpoint directory .* exists and is not empty.*",  # that of a resumed run
        "You're resuming from a checkpoint that ended.*",  # the data module knows the position within the epoch
        "The dirpath has changed from.*",
        "It is recommended to use .*sync_dist=True.*",  # scores are summed over processes before they are logged
        "`broadcast_buffers` is deprecated.*",  # its successor is not in every torch that is supported
        "You're using the WeightAveraging callback.*",  # models are not sharded, nor averaged to be scored
    ):
        warnings.filterwarnings("ignore", message=message)
    if "SLURM_JOB_ID" not in os.environ:  # a login node has srun, too
        warnings.filterwarnings("ignore", message="The `srun` command is available on your system.*")
