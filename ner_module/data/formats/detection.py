"""Which format a file is in, told from its content first and its name second."""

from __future__ import annotations

import codecs
import io
import json
from pathlib import Path

from ner_module.data.formats.files import codec_of, read_head
from ner_module.data.formats.table_layout import known_header
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, has_prefix

FORMATS = ("conll", "jsonl", "json", "spans", "csv", "tsv", "parquet", "brat", "datasets", "text")

_HEAD = 1 << 16

_COLUMN_SUFFIXES = (".conll", ".conllu", ".conllup", ".bio", ".iob", ".iob2", ".tsv", ".col", ".ner")


def detect_format(
    path: Path,
    *,
    tagged: bool = True,
    encoding: str | None = None,
    text_column_name: str | None = None,
    label_column_name: str | None = None,
) -> str:
    """Tell the format of a file or folder.

    Args:
        path: a file, or the folder of a brat collection or a saved `datasets` dataset.
        tagged: whether tags are wanted; without them a ``.txt`` file is raw text unless it is plainly made of tagged
            columns.
        encoding: the encoding of a text file; UTF-8 by default.
        text_column_name: column names that are asked for; a first line that holds them is a header.
        label_column_name: likewise.

    Raises:
        DataError: a folder that is neither, or a path that does not exist.
    """
    if path.is_dir():
        return _folder_format(path)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".parquet" or _is_parquet(path):
        return "parquet"
    text, lines = _start_of(path, encoding)
    if suffix == ".txt" and not tagged:
        return "conll" if _has_tagged_columns(lines) else "text"
    if suffix in (".jsonl", ".ndjson", ".json") or (suffix != ".csv" and _opens_json(text)):
        return _json_format(text, lines)
    separators = {".csv": ",", ".tsv": "\t"}
    names = [name for name in (text_column_name, label_column_name) if name is not None]
    for separator in separators.get(suffix, "\t,"):
        if lines and known_header(lines[0], separator, names):
            return "csv" if separator == "," else "tsv"
    if suffix == ".csv":
        return "csv"
    if not tagged and suffix not in _COLUMN_SUFFIXES and _may_be_text(lines):
        problem = "this may be raw text or columns"
        raise DataError(path, None, problem, "set --data.format to text or conll, or name the file .txt or .conll")
    return "conll"


def _is_parquet(path: Path) -> bool:
    """Whether a file begins and ends as Parquet does; a first word can be PAR1."""
    if read_head(path, 4) != b"PAR1":
        return False
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return file.read() == b"PAR1"


def detect_json(path: Path, encoding: str | None) -> str:
    """``json`` for a file that is a list or objects over several lines, ``jsonl`` for an object a line."""
    return _json_format(*_start_of(path, encoding))


def _start_of(path: Path, encoding: str | None) -> tuple[str, list[str]]:
    """The first characters of a text file, and the whole lines among them."""
    head = read_head(path, _HEAD)
    try:
        text = codecs.getincrementaldecoder(codec_of(path, encoding))("replace").decode(head)
    except UnicodeError:  # UTF-16 without its mark; reading says so
        text = head.decode("utf-8", "replace")
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="\n")]
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # cut in the middle
    return text, lines


def _folder_format(path: Path) -> str:
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return "datasets"
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(entry.name for entry in path.iterdir() if entry.is_dir())) or "none"
        raise DataError(path, None, f"this folder holds several splits ({splits})", "name the folder of one of them")
    if any(path.glob("*.ann")) or any(path.glob("**/*.ann")):
        return "brat"
    advice = "name a file, a glob such as folder/*.conll, a brat folder (.txt and .ann) or a saved datasets folder"
    raise DataError(path, None, "this folder is not a dataset", advice)


def _opens_json(text: str) -> bool:
    """Whether a file begins with an object or a list of objects."""
    stripped = text.lstrip(" \t\r\n")
    after = stripped[1:].lstrip(" \t\r\n")[:1]
    return (stripped[:1] == "{" and after in ('"', "}")) or (stripped[:1] == "[" and after == "{")


def _json_format(text: str, lines: list[str]) -> str:
    """``jsonl`` when the first line is a whole object, or when the file at least looks like lines of objects."""
    stripped = text.lstrip(" \t\r\n")
    if stripped.startswith("["):
        return "json"
    first = next((line for line in lines if line.strip(" \t")), "")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # An object over several lines opens with a short line; a broken line of JSONL holds keys.
        return "json" if len(first.strip()) < 3 and len(lines) > 1 else "jsonl"
    return "jsonl"


def _may_be_text(lines: list[str]) -> bool:
    """Whether untagged lines are several words between spaces, as sentences are, and not plainly columns."""
    rows = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    spaced = any(" " in row.strip() for row in rows) and not any("\t" in row for row in rows)
    return spaced and not _has_tagged_columns(rows)


def _has_tagged_columns(lines: list[str]) -> bool:
    """Whether every line is words and a tag: a constant number of columns, the last one ``O`` or prefixed."""
    rows = [line.split() for line in lines if line.strip() and not line.startswith("-DOCSTART-")]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return False
    return all(row[-1] == OUTSIDE or ("-" in row[-1] and has_prefix(row[-1])) for row in rows)
