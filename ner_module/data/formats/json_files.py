"""JSONL and JSON files -> the sentences of their objects (`records.py`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import ReadingOptions, describe
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_SPACE = " \t\r\n"
_GAP = re.compile(f"[{_SPACE}]*")
_GAP_IN_LIST = re.compile(f"[{_SPACE}]*(,?)[{_SPACE}]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder()
_HEAD_LINES = 100


def read_json(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of JSON objects: one a line (``jsonl``), or in a list or over several lines (``json``)."""
    lines = read_lines(path, options.encoding)
    kind = options.format
    if kind == "spans":
        head = list(islice(lines, _HEAD_LINES))
        kind, lines = json_kind(head), chain(head, lines)
    records = _json(path, lines) if kind == "json" else _jsonl(path, lines, keep_blank=not options.tagged)
    return RecordReader(path, options, counts).read_all(records)


def json_kind(head: Sequence[str]) -> str:
    """``jsonl`` where the first lines are an object each, or at least look like it; else ``json``."""
    first = next(filter(None, (line.strip(_SPACE) for line in head)), "")
    # An object over several lines opens with a short line; a broken line of JSONL holds keys.
    opens_object = len(first) < 3 and first != "{}" and len(head) > 1
    return "json" if first.startswith("[") or opens_object else "jsonl"


def _jsonl(path: Path, lines: Iterable[str], keep_blank: bool) -> Iterator[tuple[int, Record]]:
    """The objects of a JSONL file; an empty one for a blank line where output has to follow the input line by line."""
    for number, line in enumerate(lines, 1):
        start = len(line) - len(line.lstrip(_SPACE))
        if start < len(line):
            record, end = _object(path, number, line, start)
            if line[end:].strip(_SPACE):
                raise DataError(path, number, f"no valid JSON (extra data at column {end + 1})", "correct or remove it")
            yield number, record
        elif keep_blank:
            yield number, {}


def _json(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON file: a list of objects, or objects one after the other over any number of lines."""
    text = "".join(lines)
    position = len(text) - len(text.lstrip(_SPACE))
    line = 1 + text.count("\n", 0, position)
    opening = text[position : position + 1]
    if opening not in ("[", "{"):
        problem = "the file is not JSON" if opening else "the file is empty"
        raise DataError(path, line, problem, "a JSON file here is a list of objects: [{…}, {…}]")
    in_list = opening == "["
    gap, end = _GAP, position + in_list
    while True:
        between = gap.match(text, end)
        assert between is not None
        line += text.count("\n", position, between.end())
        position = between.end()
        if position == len(text) or (in_list and text[position] == "]"):
            break
        if gap is _GAP_IN_LIST and not between[1]:
            raise DataError(path, line, "a comma or the end of the list is missing", "correct the JSON")
        record, end = _object(path, line, text, position)
        yield line, record
        gap = _GAP_IN_LIST if in_list else _GAP
    if in_list and position == len(text):
        raise DataError(path, line, "the list does not end", "the file was cut short; make or fetch it again")
    if text[position + 1 :].strip(_SPACE):
        raise DataError(path, line, "something follows the end of the list", "remove it")


def _object(path: Path, line: int, text: str, start: int) -> tuple[Record, int]:
    """The object at a place of a text, on this line of its file, and where it ends."""
    try:
        record, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        problem = f"no valid JSON ({error.msg[0].lower()}{error.msg[1:]} at column {error.colno})"
        line += text.count("\n", start, error.pos)
        raise DataError(path, line, problem, "correct or remove it") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(path, line, f"no JSON that can be read ({reason})", "correct or remove it") from None
    if not isinstance(record, dict):
        problem = f"this is not a JSON object but {describe(record)}"
        advice = "give every sentence as an object, {…}; a list of them goes in a .json file"
        raise DataError(path, line, problem, advice)
    if _SURROGATE.search(text, start, end):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            advice = "write characters beyond U+FFFF as such, or as two \\u escapes"
            raise DataError(path, line, "a \\u escape is half of a character", advice) from None
    return record, end
