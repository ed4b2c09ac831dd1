"""Output that nobody takes is lost without an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ner_module.training.streams import _LossyStream


def test_a_closed_pipe_stays_silent_to_the_end() -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    lossy = _LossyStream(stream)
    os.close(reader)
    lossy.write("x" * 100_000)
    lossy.flush()
    stream.close()  # as at exit: what is buffered would raise BrokenPipeError


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_may_have_space_again() -> None:
    stream = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    lossy = _LossyStream(stream)
    lossy.write("x")
    lossy.flush()
    assert os.path.samestat(os.fstat(stream.fileno()), Path("/dev/full").stat()), "it is not replaced"
    with pytest.raises(OSError, match="No space left"):
        stream.close()
