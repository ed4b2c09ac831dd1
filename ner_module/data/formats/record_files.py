"""Files of records (`records.py`) -> sentences: JSONL and JSON, Parquet and saved `datasets` folders.

The last two give integer tags the names of the dataset's own ``ClassLabel``; the line of a record is its row, from 1.
pyarrow and `datasets` are imported where they are needed: they take a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ner_module.data.formats.cells import describe
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_BATCH = 1_000
_SPACE = " \t\r\n"
_GAP = re.compile(f"[{_SPACE}]*(,?)[{_SPACE}]*")
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
        line = line.rstrip(_SPACE)
        if line:
            record, end = _object(path, number, line, len(line) - len(line.lstrip(_SPACE)))
            if end < len(line):
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
    start = end = position + in_list
    while gap := _GAP.match(text, end):
        line += text.count("\n", position, gap.end())
        position = gap.end()
        if position == len(text) or (in_list and text[position] == "]"):
            break
        if in_list and end > start and not gap[1]:
            raise DataError(path, line, "a comma or the end of the list is missing", "correct the JSON")
        record, end = _object(path, line, text, position)
        yield line, record
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


def read_parquet(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a Parquet file."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise _damaged(path, 1, "Parquet file", error) from None
    with file:
        records = _records(path, "Parquet file", file.iter_batches(_BATCH), file.schema_arrow)
        yield from RecordReader(path, options, counts).read_all(records)


def read_dataset(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a folder written by ``Dataset.save_to_disk``."""
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a broken folder makes of it: KeyError, JSON and Arrow errors among them
        raise _damaged(path, None, "datasets folder", error) from None
    if isinstance(dataset, datasets.DatasetDict):
        problem = f"this folder holds several splits ({', '.join(sorted(dataset))})"
        raise DataError(path, None, problem, "name the folder of one of them")
    batches = dataset.with_format("arrow").iter(_BATCH)
    records = _records(path, "datasets folder", batches, dataset.features.arrow_schema)
    yield from RecordReader(path, options, counts).read_all(records)


def _records(path: Path, kind: str, batches: Iterable[Any], schema: Any) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa

    names = _label_names(schema)
    row = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # broken offsets would be read as they are
            for record in batch.to_pylist():
                row += 1
                for column, labels in names.items():
                    ids = record.get(column)
                    if isinstance(ids, list):  # an id out of range is left for the reader of tags to refuse
                        record[column] = [labels[i] if type(i) is int and 0 <= i < len(labels) else i for i in ids]
                yield row, record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, row + 1, kind, error) from None


def _label_names(schema: Any) -> dict[str, list[str]]:
    """The label names of the columns that hold lists of ``ClassLabel``."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        columns = {column: feature.get("feature", feature) for column, feature in features.items()}
        return {column: list(inner["names"]) for column, inner in columns.items() if inner.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _damaged(path: Path, row: int | None, kind: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(path, row, f"the {kind} cannot be read ({reason})", "make or fetch it again")
