"""Checkpoint files that are whole or not there: written beside, checked, and one kept in reserve. No torch.

A checkpoint ``last.ckpt`` is written under another name, flushed to the disk and renamed; ``last.ckpt.sha256`` beside
it holds its checksum as ``sha256sum --check`` reads it. The checkpoint it replaces stays as ``previous.ckpt``.

Whatever the instant at which power or process goes, one of the two is whole *and known to be*:

1. ``last.ckpt.sha256`` names the old and the new sum: the old file is still recognised,
2. ``last.ckpt`` is replaced: the new file is recognised already,
3. ``last.ckpt.sha256`` names the new sum alone,
4. the old file, held by a second name meanwhile, replaces ``previous.ckpt`` in the same three steps.

A checkpoint without a sum (copied elsewhere alone) is checked by the CRC-32 sums of the zip archive it is, which
``torch.load`` does not look at. Directories (sharded checkpoints) are not checked.

Not here: what is in a checkpoint, and which one a command means (`runs.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

_SUM_LINE = re.compile(r"^([0-9a-f]{64}) [ *]", re.MULTILINE)
_STEP_LINE = re.compile(r"^# step (\d+)$", re.MULTILINE)
_BLOCK = 1 << 20


def sum_file(path: Path) -> Path:
    """Where the checksum of a checkpoint lies."""
    return path.with_name(path.name + ".sha256")


def saved_step(path: Path) -> int | None:
    """The optimiser step of a checkpoint, from its checksum file: known also where the checkpoint is damaged."""
    try:
        found = _STEP_LINE.findall(sum_file(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[0]) if found else None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, in words; ``None`` for a whole one. Reads all of it, once in a process."""
    if path.is_dir():
        return None
    identity = _identity(path)
    if path not in _checked or _checked[path][0] != identity:
        _checked[path] = identity, _damage(path)
    return _checked[path][1]


# What was found of files this process has read or written: their identity then, and the damage.
_checked: dict[Path, tuple[tuple[object, ...], str | None]] = {}


def _identity(path: Path) -> tuple[object, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size, _sums(path)


def _damage(path: Path) -> str | None:
    sums = _sums(path)
    if sums:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return None if found in sums else f"its content is not what {sum_file(path).name} says"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        return f"it is incomplete or no checkpoint ({error})"
    return damaged and f"a part of it was changed after it was written ({damaged})"


class _Writer:
    """A file for ``torch.save``, which hashes what goes through it.

    A failed write is kept for later: raised where it occurs, within torch's archive writer, it would come out as
    another error, or end the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=_BLOCK)
        self._sum = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._file.write(data)
                self._sum.update(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """Part of a file's interface; all is flushed in :meth:`finish`."""

    def finish(self) -> str:
        """Bring everything to the disk and return the SHA-256."""
        if self._error is None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            return self._sum.hexdigest()
        with contextlib.suppress(OSError):
            self._file.close()
        raise self._error


def write_checkpoint(path: Path, save: Callable[[_Writer], object], step: int, keep: Path | None = None) -> None:
    """Write a checkpoint so that ``path`` is at every instant the old file or the new one, whole.

    Args:
        path: the file.
        save: writes the content into a file that is open for writing.
        step: the optimiser step, for the checksum file.
        keep: where the file that is replaced goes, if it is whole; ``None`` drops it.

    Raises:
        OSError: the disk is full, say; what was there before is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = _scratch(path), _scratch(path, "old")
    try:
        writer = _Writer(new)
        try:
            save(writer)
        finally:
            digest = writer.finish()
        old_text = None
        if keep is not None and path.is_file() and damage(path) is None:
            old_text = _sum_text(keep, _sums(path), saved_step(path))
            _second_name(path, old)
        _replace(path, new, _sum_text(path, (digest,), step))
        _checked[path] = _identity(path), None
        if keep is not None and old_text is not None:
            _replace(keep, old, old_text)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        for scratch in (new, old):
            scratch.unlink(missing_ok=True)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Give a checkpoint and its sum a second place, without a second copy where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(target)
    _second_name(source, scratch)
    _replace(target, scratch, _sum_text(target, _sums(source), saved_step(source)))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its sum."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    sum_file(path).unlink(missing_ok=True)


def _scratch(path: Path, kind: str = "new") -> Path:
    """A hidden name in the same folder.

    Only one process writes a run's checkpoints, so what a killed one left is overwritten by the next.
    """
    return path.with_name(f".{path.name}.{kind}")


def _second_name(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, other)


def _replace(path: Path, new: Path, sums: str) -> None:
    """Put ``new`` in the place of ``path``; the sums of both are valid while it is done."""
    known = "".join(f"{value}  {path.name}\n" for value in _sums(path)) if path.exists() else ""
    _write_text(sum_file(path), sums + known)
    new.replace(path)
    _flush_folder(path.parent)
    if known or not sums:
        _write_text(sum_file(path), sums)


def _write_text(path: Path, text: str) -> None:
    """Write a small file atomically; an empty one is removed."""
    if not text:
        path.unlink(missing_ok=True)
        return
    scratch = _scratch(path)
    with scratch.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """A rename survives a power cut only when the folder has reached the disk, too."""
    with contextlib.suppress(OSError):  # folders cannot be opened on every system
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sums(path: Path) -> tuple[str, ...]:
    """The sums that are valid for a checkpoint; none where there is no checksum file."""
    try:
        return tuple(_SUM_LINE.findall(sum_file(path).read_text(encoding="utf-8", errors="replace")))
    except FileNotFoundError:
        return ()


def _sum_text(path: Path, sums: tuple[str, ...], step: int | None) -> str:
    note = f"# step {step}\n" if sums and step is not None else ""
    return note + "".join(f"{value}  {path.name}\n" for value in sums)
