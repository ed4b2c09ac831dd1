r"""Files on disk -> lines of text: globs, gzip, encodings, bounds, and what is wrong when a file is not text.

A line ends at ``\n`` or ``\r\n`` and nowhere else: the vertical tab, U+0085 and U+2028, at which `str.splitlines` also
breaks, occur inside words of real corpora.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ner_module.errors import DataError
from ner_module.files import check_regular, shipped

MAX_RECORD = 1 << 24
"""The longest line, table row, JSON record or sentence unless another is asked for, in characters."""
_FREE = 1 << 25
_MAX_EXPANSION = 200  # real text stays below 50

T = TypeVar("T")

_READ_ERRORS = (OSError, EOFError, zlib.error)

# How files begin that are often given in place of text.
_MAGIC = {b"PK\x03\x04": "a zip archive (or a .docx or .xlsx file)", b"%PDF": "a PDF", b"\x89PNG": "a PNG image"}


def expand_files(spec: str | Path | list[str] | list[Path]) -> list[Path]:
    """The files and folders named by a path, a glob or a list of them; each once, the matches of a glob by name."""
    names: list[str | Path] = [spec] if isinstance(spec, (str, Path)) else list(spec)
    if not names:
        raise DataError("(no file)", None, "the list of files is empty", "name at least one file")
    paths: list[Path] = []
    for name in names:
        path = shipped(Path(name).expanduser())
        if path.exists():
            paths.append(path)
        elif glob.has_magic(str(path)):
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (a pathlib glob starts at a folder)
            if not matches:
                raise DataError(str(name), None, "no file matches this pattern", _where_to_look(path))
            paths += map(Path, matches)
        else:
            raise DataError(str(name), None, "no such file", _where_to_look(path))
    return list(dict.fromkeys(paths))


def _where_to_look(path: Path) -> str:
    folder, start = path.parent, f"relative paths start at {Path.cwd()}"
    if not folder.is_dir():
        return f"the folder {folder} does not exist either; {start}"
    near = difflib.get_close_matches(path.name, sorted(entry.name for entry in folder.iterdir()), n=1)
    return f"did you mean {folder / near[0]}?" if near else f"check the name; {start}"


def suffix_of(path: Path) -> str:
    """The ending of a file's name in lower case, without ``.gz``."""
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() != ".gz"), "")


def open_bytes(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """Open a file for reading bytes, through gzip when its content is; a :class:`DataError` where that fails."""
    try:
        check_regular(path)
        file = path.open("rb")
        if file.read(2) == b"\x1f\x8b":
            file.close()
            return _Unzipped(path)
        file.seek(0)
        return file
    except FileNotFoundError:
        raise DataError(path, None, "no such file", _where_to_look(path)) from None
    except OSError as error:
        problem = "this is a folder, not a file" if path.is_dir() else f"the file cannot be opened ({error.strerror})"
        raise DataError(path, None, problem, "check the path and its permissions") from None


class _Unzipped(gzip.GzipFile):
    """A gzip file that is no bomb."""

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        check_expansion(Path(self.name), self.tell(), self.fileobj.tell())  # type: ignore[union-attr]
        return data


def check_expansion(path: Path, size: int, compressed: int) -> None:
    """Refuse data that grows out of proportion when it is decompressed."""
    if size > max(_FREE, _MAX_EXPANSION * compressed):
        problem = f"{compressed:,} compressed bytes stand for {size:,} or more, as no real data do"
        raise DataError(path, None, problem, "make or fetch the file again, uncompressed if it is as you want it")


def take(items: Iterator[T], count: int, size: Callable[[T], int] = len) -> list[T]:  # type: ignore[assignment]
    """The first ``count`` items, or as many as are larger than :data:`MAX_RECORD` together."""
    taken: list[T] = []
    total = 0
    for item in islice(items, count):
        taken.append(item)
        total += size(item)
        if total > MAX_RECORD:
            break
    return taken


def too_large(path: Path, line: int, what: str, limit: int) -> DataError:
    """The error for what is longer than the limit on records."""
    problem = f"the {what} is longer than {limit >> 20} MiB"
    return DataError(path, line, problem, "divide it, check the format, or raise --data.max_record_mb")


def read_head(path: Path, encoding: str | None, size: int) -> str:
    """The text of the first ``size`` bytes of a file, whatever it is."""
    return _head(path, size).decode(codec_of(path, encoding), "replace")


def _head(path: Path, size: int) -> bytes:
    head = b""
    with open_bytes(path) as file:
        try:
            while len(head) < size and (chunk := file.read1(size - len(head))):
                head += chunk
        except _READ_ERRORS as error:
            raise _damage(path, 1 + head.count(b"\n"), error) from None
    return head


def _damage(path: Path, line: int, error: Exception) -> DataError:
    problem = f"the file is damaged or truncated here ({error})"
    return DataError(path, line, problem, "make or fetch the file again")


def read_lines(path: Path, encoding: str | None = None, limit: int = MAX_RECORD) -> Iterator[str]:
    """The lines of a text file, with their ends, in constant memory; refuses one that is longer than ``limit``."""
    codec = codec_of(path, encoding)
    if encoding is None:
        _refuse_binary(path)
    number = 0
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding=codec, newline="\n") as text:
        try:
            for number, line in enumerate(iter(partial(text.readline, limit + 1), ""), 1):
                if len(line) > limit:
                    raise too_large(path, number, "line", limit)
                yield line
        except UnicodeDecodeError as error:  # in a stretch that begins in the line after the last one
            number += 1 + error.object[: error.start].decode(codec, "replace").count("\n")
            name = "UTF-8" if codec == "utf-8-sig" else codec
            problem = f"the byte 0x{error.object[error.start]:02X} is not {name} text ({error.reason})"
            advice = "name the file's encoding with --data.encoding (latin-1 or cp1252, say), or save it as UTF-8"
            raise DataError(path, number, problem, advice) from None
        except (UnicodeError, *_READ_ERRORS) as error:
            raise _damage(path, number + 1, error) from None


def read_text(path: Path, encoding: str | None, limit: int, what: str = "JSON file") -> str:
    """The whole text of a file; refuses one that is longer than ``limit``."""
    text, size = io.StringIO(newline=""), 0
    for number, line in enumerate(read_lines(path, encoding, limit), 1):
        size += len(line)
        if size > limit:
            raise too_large(path, number, what, limit)
        text.write(line)
    return text.getvalue()


def codec_of(path: Path, encoding: str | None) -> str:
    """Python's name of an encoding, UTF-8 unless named, which skips a byte order mark; refuses an unknown one."""
    encoding = encoding or "utf-8"
    try:
        "".encode(encoding)  # also refuses codecs that are no text encoding
        name = codecs.lookup(encoding).name
        return "utf-8-sig" if name == "utf-8" else name
    except (LookupError, ValueError):
        advice = "name one that Python knows, such as utf-8, latin-1, cp1252, utf-16 or gb18030"
        raise DataError(path, None, f"the encoding {encoding!r} is unknown", advice) from None


def _refuse_binary(path: Path) -> None:
    """Raise for a file that begins like another kind of file, or with what no UTF-8 text does."""
    head = _head(path, 1 << 13)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(path, 1, "the file is UTF-16, not UTF-8", "set --data.encoding utf-16, or save it as UTF-8")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    kind = "a tar archive" if head[257:262] == b"ustar" else kind
    if kind is None and b"\r" in head.strip() and b"\n" not in head:
        raise DataError(path, 1, "the lines end in CR alone, as on old Macs", "save it with LF or CR LF")
    if kind is None and len(head) >= 16 and max(head[::2].count(0), head[1::2].count(0)) * 5 > len(head) * 2:
        kind = "zero bytes, or UTF-16 text without a byte order mark"
    if kind is None and 0 in head:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            kind = "neither text nor a format known here"
    if kind is not None:
        raise DataError(path, 1, f"this is a binary file: {kind}", "name a text file, or its encoding if it is one")
