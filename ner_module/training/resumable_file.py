"""A file that is written in pieces over hours and can be resumed after a kill.

Pieces go to ``NAME.part``; ``NAME.part.json`` records how much of it is complete, and for which input. The same command
resumes from there, another one starts from scratch, and ``NAME`` appears only when complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ner_module.errors import RunError
from ner_module.files import read_json_object, sealed, sync, try_lock, write_atomically

log = logging.getLogger(__name__)


class ResumableFile:
    """A text file of lines, written in pieces.

    Args:
        path: the final file. A pipe or device is written directly, and never resumed.
        fingerprint: everything the content depends on; only a part with the same one is continued.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any]) -> None:
        self.path, self._fingerprint = path, fingerprint
        self._direct = path.exists() and not path.is_file() and not path.is_dir()
        self.part = path if self._direct else path.with_name(f"{path.name}.part")
        self._progress = path.with_name(f"{path.name}.part.json")
        self._file: BinaryIO | None = None
        self._crc = 0

    def open(self) -> int:
        """Open for writing; raises :class:`RunError` while another process writes.

        Returns:
            The number of items that an earlier attempt has finished; its later output is discarded.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(self.path))
        if self._direct:
            self._file = self.part.open("wb")
            return 0
        done, size = self._finished()
        self._file = self.part.open("ab")
        if not try_lock(self._file):
            raise RunError(f"another process writes {self.path}: wait for it, or choose another --output")
        self._file.truncate(size)
        return done

    def _finished(self) -> tuple[int, int]:
        """Finished items and bytes of an earlier attempt at the same content."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            progress = read_json_object(self._progress)
            if progress["of"] == self._fingerprint and self.part.stat().st_size >= progress["bytes"]:
                items, size = int(progress["items"]), int(progress["bytes"])
                with self.part.open("rb") as file:
                    while (start := file.tell()) < size:
                        self._crc = zlib.crc32(file.read(min(1 << 20, size - start)), self._crc)
                if self._crc == progress["crc32"]:
                    return items, size
                log.warning("%s was changed or damaged: it is rewritten", self.part)
        self._crc = 0
        return 0, 0

    def write(self, lines: list[str], items: int) -> None:
        """Append whole lines, after which ``items`` items in total are finished."""
        assert self._file is not None
        content = "".join(f"{line}\n" for line in lines).encode("utf-8")
        try:
            self._file.write(content)
            self._file.flush()
            if self._direct:
                return
            os.fsync(self._file.fileno())  # before it is recorded as finished
        except OSError as error:  # a full disk: the error names no file
            raise type(error)(error.errno, error.strerror, str(self.path)) from error
        self._crc = zlib.crc32(content, self._crc)
        progress = {"items": items, "bytes": self._file.tell(), "crc32": self._crc, "of": self._fingerprint}
        write_atomically(self._progress, json.dumps(sealed(progress)))

    def finish(self) -> None:
        """Rename the complete file."""
        self.close()
        if not self._direct:
            self.part.replace(self.path)
            sync(self.path.parent)
            self._progress.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop writing; the part stays for the next attempt."""
        if self._file is not None:
            self._file.close()
            self._file = None
