"""Atomic, durable and verified files and folders. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from ner_module.errors import DataError, RunError

log = logging.getLogger(__name__)

MAX_TEXT = 1 << 25
"""The largest JSON or text file, in bytes, read as a whole; as Python objects it takes up to 24 times as much."""
_AGAIN = "delete it, or run the command that writes it again"

CHECKSUMS = "checksums.json"
"""The file with size, modification time and SHA-256 of all other files of its folder."""


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path``, synced to disk, if the block ends without an error; creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # two processes may write the same file
    try:
        with scratch.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write content atomically; text as UTF-8 with its own line ends, lone surrogates as ``?``."""
    with open_atomically(path) as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8", errors="replace"))


def write_or_warn(path: Path, content: str) -> bool:
    """Write content atomically; on failure warn and return ``False``, so that training continues."""
    try:
        write_atomically(path, content)
    except OSError as error:
        log.warning("%s could not be written (%s); training continues", path, error.strerror)
        return False
    return True


def cache_folder(chosen: str | None = None) -> Path:
    """The cache folder: ``chosen``, or else the user's."""
    chosen = chosen or os.environ.get("NER_MODULE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "ner_module"


def try_lock(file: IO[Any]) -> bool:
    """Try to take the operating system's lock on an open file; returns true where there are no locks.

    The lock ends with the process or when the file is closed, is not inherited by child processes, and holds between
    machines on network file systems.
    """
    try:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):
        pass
    return True


def sync(path: Path) -> None:
    """Sync a file to disk, or the entries of a folder, without which a rename does not survive a power cut."""
    with contextlib.suppress(OSError):  # not every system can open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def folder_written_whole(
    folder: Path, checksums: bool = False, lasting: bool = True, replace: bool = False
) -> Iterator[Path]:
    """A temporary folder that is renamed to ``folder`` if the block ends without an error.

    If another process was faster, its result is kept, unless ``replace`` is true.

    Args:
        folder: the final path.
        checksums: add :data:`CHECKSUMS`, for :func:`folder_problem`.
        lasting: sync to disk; not needed for temporary folders.
        replace: remove an existing folder once the new one is in place.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    scratch.chmod(0o755)  # a cache may be shared
    try:
        yield scratch
        files = sorted(path for path in scratch.iterdir() if path.is_file())
        for path in files if lasting else ():
            sync(path)
        if checksums:
            found = {path.name: [path.stat().st_size, path.stat().st_mtime_ns, sha256_of(path)] for path in files}
            write_atomically(scratch / CHECKSUMS, json.dumps(found, indent=1))
        try:
            put_in_place(scratch, folder) if replace else scratch.replace(folder)
        except OSError:
            if replace or not (folder.is_dir() and any(folder.iterdir())):
                raise
        if lasting:
            sync(folder)
            sync(folder.parent)
    except OSError as error:
        if error.errno and error.filename is None:  # a full disk: the error names no file
            raise type(error)(error.errno, os.strerror(error.errno), str(folder)) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(new: Path, target: Path) -> None:
    """Move a file or folder to ``target``; an older one there is removed only afterwards."""
    if not target.is_dir():
        new.replace(target)
        return
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    target.rename(old)
    new.rename(target)
    shutil.rmtree(old)


def folder_problem(folder: Path) -> str | None:
    """What is wrong with a folder that was written with checksums; ``None`` for an intact one.

    Only files whose modification time has changed are read.
    """
    try:
        known: dict[str, tuple[int, int, str]] = json.loads((folder / CHECKSUMS).read_text(encoding="ascii"))
        for name, (size, time, sha256) in known.items():
            stat = (folder / name).stat()
            if stat.st_size != size:
                return f"{name} has {stat.st_size:,} bytes where {size:,} were written"
            if stat.st_mtime_ns != time and sha256_of(folder / name) != sha256:
                return f"{name} does not match its checksum"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (AttributeError, OSError, TypeError, ValueError) as error:
        return f"{CHECKSUMS} cannot be read ({type(error).__name__})"
    return None


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a socket, which may never end, with a :class:`DataError`."""
    if path.exists() and not path.is_file() and not path.is_dir():
        advice = "name a file; `predict` reads a pipe as standard input, with --data.predict_file -"
        raise DataError(path, None, "this is a pipe or a device, not a regular file", advice)


def check_archive(archive: zipfile.ZipFile) -> None:
    """Raise ``BadZipFile`` for a zip bomb; torch stores entries uncompressed, so they cannot exceed the file's size."""
    assert archive.filename is not None
    if sum(entry.file_size for entry in archive.infolist()) > Path(archive.filename).stat().st_size:
        raise zipfile.BadZipFile("its entries are larger than the file")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, computed in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, most: int = MAX_TEXT, errors: str = "strict") -> str:
    """Read a whole text file.

    Raises:
        DataError: not a regular file, not UTF-8, or larger than ``most`` bytes.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"it is larger than {most >> 20} MiB")
        return content.decode("utf-8", errors)
    except ValueError as error:
        raise DataError(path, None, f"the file is damaged ({error})", _AGAIN) from error


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its own checksum, for :func:`read_json_object`."""
    content = json.loads(json.dumps({key: value for key, value in content.items() if key != "checksum"}))
    return content | {"checksum": _checksum(content)}


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest()


def read_json_object(path: Path, most: int = MAX_TEXT) -> dict[str, Any]:
    """Read a JSON object from a file, without its checksum; an empty one if there is no file.

    Raises:
        DataError: the file holds something else, does not match its checksum, or is too large.
    """
    if path.is_dir() or not path.exists():
        return {}
    try:
        found = json.loads(read_text(path, most))
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        if (recorded := found.pop("checksum", None)) is not None and recorded != _checksum(found):
            raise ValueError("its content does not match its checksum")
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(path, None, f"the file is damaged ({error})", _AGAIN) from error
    return found


def check_output(
    output: Path, is_own: Callable[[Path], bool], inputs: Iterable[Path] = (), overwrite: bool | None = None
) -> None:
    """Refuse to overwrite files of others or inputs of the command, with a :class:`RunError`.

    Args:
        output: the file or folder to write.
        is_own: whether an existing one was written by this command before.
        inputs: files and folders that must not be overwritten.
        overwrite: the option ``--overwrite``; ``None`` for commands without it, which replace their own output.
    """
    if output.is_symlink():
        raise RunError(f"{output} is a link to {output.readlink()}: name the file itself, or another --output")
    place = output.resolve()
    for path in inputs:
        # Parents of an input, too, since a folder is replaced as a whole.
        if path.exists() and (place == path.resolve() or place in path.resolve().parents):
            raise RunError(f"{output} is or contains {path}, an input of this command: choose another output")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output.is_file() or output.is_dir()):
        raise RunError(f"{output} is neither a file nor a folder: choose another output")
    if overwrite is False:
        raise RunError(f"{output} exists already: choose another output, or add --overwrite")
    try:
        own = is_own(output)
    except OSError as error:  # such as /proc/PID/mem, which looks like a regular file
        raise RunError(f"{output} cannot be read ({error.strerror}): choose another output") from error
    if not own:
        raise RunError(f"{output} exists and was not written by this command: choose another output, or remove it")


def shipped(path: Path) -> Path:
    """Resolve ``configs/…`` and the bundled corpus, if not found here, in the clone or the package."""
    package, given = Path(__file__).parent, path.parts
    ours = given[:1] == ("configs",) or given[:3] == ("ner_module", "data", "sample")
    places = [path, *(folder / path for folder in (package.parent, package) if ours)]
    return next(filter(Path.exists, places), path)
