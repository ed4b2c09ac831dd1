"""Atomic checkpoint files: written to a temporary file, synced, renamed, and verified when read. No torch.

Before ``last.ckpt`` is replaced it becomes ``previous.ckpt``, if it is intact. Renaming is atomic, so that a killed
process or a power cut at any time leaves an intact checkpoint under one of the two names.

Damage is detected by the CRC-32 checksums of a checkpoint's zip archive, which ``torch.load`` ignores.

Not here: what is in a checkpoint (`checkpoints.py`), and which one a command means (`runs.py`).
"""

from __future__ import annotations

import os
import pickletools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ner_module.files import check_archive, open_atomically

_Identity = tuple[int, int, int]
# Damage of files that this process has read or written, by inode, time and size.
_checked: dict[_Identity, str | None] = {}


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; ``None`` for an intact one. Reads the whole file, once per process."""
    identity = _identity(path)
    if identity not in _checked:
        try:
            with zipfile.ZipFile(path) as archive:
                check_archive(archive)
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        _check_pickle(archive.read(name))
                entry = archive.testzip()
            _checked[identity] = entry and f"its content does not match its checksum ({entry})"
        except Exception as error:  # damaged headers can raise many kinds
            _checked[identity] = f"it is incomplete or not a checkpoint ({error})"
    return _checked[identity]


def _check_pickle(content: bytes) -> None:
    """Refuse pickles that expand to gigabytes, which ``weights_only`` does not prevent."""
    for code, argument, _ in pickletools.genops(content):
        if code.name == "GLOBAL" and str(argument).rpartition(" ")[2] in ("bytearray", "Tensor"):
            raise ValueError(f"it calls {argument}")


def _identity(path: Path) -> _Identity:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class _Writer:
    """A file for ``torch.save`` that postpones errors to :meth:`finish`.

    Inside torch's archive writer an error would be raised as a different one, or end the process.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            if self._error is None:
                self._file.write(data)
        except OSError as error:
            self._error = error
        return len(data)

    def flush(self) -> None:
        """Does nothing; :meth:`finish` flushes."""

    def finish(self) -> None:
        """Sync everything to disk, or raise the postponed error."""
        if self._error is not None:
            raise self._error
        self._file.flush()
        os.fsync(self._file.fileno())


def write_checkpoint(path: Path, save: Callable[[_Writer], object], keep: Path | None = None) -> None:
    """Write a checkpoint atomically; if that fails (a full disk), the existing file stays unchanged.

    Args:
        path: the file.
        save: writes the content into an open file.
        keep: a new path for the replaced file, if it is intact.
    """
    for scratch in path.parent.glob(f".{path.name}.*"):  # of a killed process; `run_lock` excludes other writers
        scratch.unlink(missing_ok=True)
    with open_atomically(path) as file:
        writer = _Writer(file)
        save(writer)
        writer.finish()
        if keep is not None and path.is_file() and damage(path) is None:
            path.replace(keep)
    _checked[_identity(path)] = None


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint atomically."""
    with source.open("rb") as old, open_atomically(target) as new:
        shutil.copyfileobj(old, new)
