"""Files and folders that are whole or not there, whatever happens while they are written. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ner_module.errors import DataError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under another name in the same folder and rename it.

    Args:
        path: the file; its folder is made.
        content: text is written as UTF-8 with the line ends it has; half characters are written as ``?``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors="replace"))
    scratch.replace(path)


@contextlib.contextmanager
def folder_written_whole(folder: Path, marker: str = "meta.json") -> Iterator[Path]:
    """A folder to write into that takes its place when the block ends without an error.

    If another process was faster, its result stands.

    Args:
        folder: where it goes.
        marker: a file that a whole folder holds.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    scratch.chmod(0o755)  # a cache may be shared
    try:
        yield scratch
        try:
            scratch.replace(folder)
        except OSError:
            if not (folder / marker).is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object in a file; an empty one where there is no file.

    Raises:
        DataError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no JSON object")
    except ValueError as error:
        advice = "delete it, or run the command that writes it again"
        raise DataError(path, None, f"the file is damaged ({error})", advice) from error
    return found
