"""JSONL and JSON files -> (line, record), one record at a time, in constant memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.formats.tag_cells import describe
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_CHUNK = 1 << 16
_HEAD_LINES = 100


def read_records(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a file of JSON objects, one a line (``jsonl``) or in a list (``json``).

    Raises:
        DataError: at the line that is not JSON or does not fit.
    """
    lines = read_lines(path, options.encoding)
    kind = options.format
    if kind == "spans":
        head = list(islice(lines, _HEAD_LINES))
        kind, lines = json_kind(head), chain(head, lines)
    records = _json(path, lines) if kind == "json" else _jsonl(path, lines, keep_blank=not options.tagged)
    return RecordReader(path, options, counts).read_all(records)


def json_kind(head: Sequence[str]) -> str:
    """``jsonl`` where the first lines are an object each, or at least look like it; else ``json``."""
    first = next((line.strip(" \t\r\n") for line in head if line.strip(" \t\r\n")), "")
    # An object over several lines opens with a short line; a broken line of JSONL holds keys.
    opens_object = len(first) < 3 and len(head) > 1 and not _is_json(first)
    return "json" if first.startswith("[") or opens_object else "jsonl"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _jsonl(path: Path, lines: Iterable[str], keep_blank: bool) -> Iterator[tuple[int, Record]]:
    """The objects of a JSONL file; an empty one for a blank line where output has to follow the input line by line."""
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t\r\n"):
            if keep_blank:
                yield number, {}
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _no_json(path, number, error) from None
        yield number, _checked(path, number, record, line)


def _json(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON file: a list of objects, or objects one after the other over any number of lines."""
    text = _Text(lines)
    in_list = text.peek() == "["
    if in_list:
        text.skip()
    elif text.peek() != "{":
        problem = "the file is not JSON" if text.peek() else "the file is empty"
        raise DataError(path, text.line, problem, "a JSON file here is a list of objects: [{…}, {…}]")
    while char := text.peek():
        if in_list and char == "]":
            text.skip()
            if text.peek():
                raise DataError(path, text.line, "something follows the end of the list", "remove it")
            return
        line, record, source = text.decode(path)
        yield line, _checked(path, line, record, source)
        if in_list and text.peek() == ",":
            text.skip()
        elif in_list and text.peek() != "]":
            raise DataError(path, text.line, "a comma or the end of the list is missing", "correct the JSON")
    if in_list:
        raise DataError(path, text.line, "the list does not end", "the file was cut short; make or fetch it again")


class _Text:
    """A window on the text of a JSON file."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._position = 0
        self.line = 1
        """Where the window's position is in the file."""

    def _read_more(self, size: int) -> bool:
        parts, length = [self._buffer[self._position :]], 0
        for line in self._lines:
            parts.append(line)
            length += len(line)
            if length >= size:
                break
        self._buffer, self._position = "".join(parts), 0
        return length > 0

    def _advance(self, position: int) -> None:
        self.line += self._buffer.count("\n", self._position, position)
        self._position = position

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            if found := _NOT_SPACE.search(self._buffer, self._position):
                self._advance(found.start())
                return found[0]
            self._advance(len(self._buffer))
            if not self._read_more(_CHUNK):
                return ""

    def skip(self) -> None:
        """Step over one character."""
        self._position += 1

    def decode(self, path: Path) -> tuple[int, Any, str]:
        """The next value, with the line it starts on and its source."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                # Not all of the value may be in the window yet; a string without an end is reported at its start.
                near_end = error.pos + 16 > len(self._buffer) or error.msg.startswith("Unterminated string")
                if near_end and self._read_more(size):
                    size *= 2
                    continue
                line = self.line + self._buffer.count("\n", self._position, error.pos)
                raise _no_json(path, line, error) from None
            except (ValueError, RecursionError) as error:
                raise _no_json(path, self.line, error) from None
            line, source = self.line, self._buffer[self._position : end]
            self._advance(end)
            return line, value, source


def _checked(path: Path, line: int, record: object, source: str) -> Record:
    if not isinstance(record, dict):
        problem = f"this is not a JSON object but {describe(record)}"
        raise DataError(
            path, line, problem, "give every sentence as an object, {…}; a list of them goes in a .json file"
        )
    if "\\u" in source and _SURROGATE.search(source):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            advice = "write characters beyond U+FFFF as such, or as two \\u escapes"
            raise DataError(path, line, "a \\u escape is half of a character", advice) from None
    return record


def _no_json(path: Path, line: int, error: Exception) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        problem = f"no valid JSON ({error.msg[0].lower()}{error.msg[1:]} at column {error.colno})"
    else:
        problem = f"no JSON that can be read ({'nested too deeply' if isinstance(error, RecursionError) else error})"
    return DataError(path, line, problem, "correct or remove it")
