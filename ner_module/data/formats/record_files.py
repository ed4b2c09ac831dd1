"""Files of records (`records.py`) -> sentences: JSONL and JSON, Parquet and saved `datasets` folders.

The last two give integer tags the names of the dataset's own ``ClassLabel``; the line of a record is its row, from 1.
pyarrow and `datasets` are imported where they are needed: they take a second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import check_expansion, read_head, read_lines, read_text, too_large
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.records import RecordReader, no_object
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.files import check_regular

_BATCH = 1_000
_BATCH_BYTES = 1 << 28
_SPACE = " \t\r\n"
_GAP = re.compile(f"[{_SPACE}]*(,?)[{_SPACE}]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder()
_HEAD = 1 << 16
_STRETCH = 1 << 14
_NEAR = 16  # characters: a value that is cut is an error this close to its cut, but for a string
_MOST_RECORDS = 16  # of the largest size; a JSON file is read whole


def read_json(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of JSON objects: one a line (``jsonl``), or in a list or over several lines (``json``)."""
    kind, limit = options.format, options.max_record
    if kind == "spans":
        kind = json_kind(read_head(path, options.encoding, _HEAD).split("\n"))
    if kind == "json":
        records = _json(path, read_text(path, options.encoding, _MOST_RECORDS * limit), limit)
    else:
        records = _jsonl(path, read_lines(path, options.encoding, limit), keep_blank=not options.tagged)
    return RecordReader(path, options, counts).read_all(records)


def json_kind(head: Sequence[str]) -> str:
    """``jsonl`` where the first lines are an object each, or at least look like it; else ``json``."""
    first = next(filter(None, (line.strip(_SPACE) for line in head)), "")
    # An object over several lines opens with a short line; a broken line of JSONL holds keys.
    opens_object = len(first) < 3 and first != "{}" and len(head) > 1
    is_pair = first.startswith('["')  # of a text and its spans
    return "json" if (first.startswith("[") and not is_pair) or opens_object else "jsonl"


def _jsonl(path: Path, lines: Iterable[str], keep_blank: bool) -> Iterator[tuple[int, Any]]:
    """The objects of a JSONL file; an empty one for a blank line where output has to follow the input line by line."""
    for number, line in enumerate(lines, 1):
        line = line.rstrip(_SPACE)
        if line:
            record, end = _object(path, number, line, len(line) - len(line.lstrip(_SPACE)), len(line))
            if end < len(line):
                raise DataError(path, number, f"no valid JSON (extra data at column {end + 1})", "correct or remove it")
            yield number, record
        elif keep_blank:
            yield number, {}


def _json(path: Path, text: str, limit: int) -> Iterator[tuple[int, Any]]:
    """The objects of a JSON file: a list of objects, or objects one after the other over any number of lines."""
    start = text.lstrip(_SPACE)[:1]
    if start not in ("[", "{"):
        problem = "the file is not JSON" if start else "the file is empty"
        raise DataError(path, 1, problem, "a JSON file here is a list of objects: [{…}, {…}]")
    in_list, line, position, needs_comma = start == "[", 1, 0, False
    if in_list:
        position = text.index("[") + 1
        line += text.count("\n", 0, position)
    while gap := _GAP.match(text, position):
        line += text.count("\n", position, gap.end())
        position = gap.end()
        if position == len(text) or (in_list and text[position] == "]"):
            break
        if needs_comma and not gap[1]:
            raise DataError(path, line, "a comma or the end of the list is missing", "correct the JSON")
        record, end = _object(path, line, text, position, limit)
        yield line, record
        line += text.count("\n", position, end)
        position, needs_comma = end, in_list
    if in_list and position == len(text):
        raise DataError(path, line, "the list does not end", "the file is truncated; make or fetch it again")
    if text[position + 1 :].strip(_SPACE):
        raise DataError(path, line, "something follows the end of the list", "remove it")


def _object(path: Path, line: int, text: str, start: int, limit: int) -> tuple[Any, int]:
    """The object or list at a place of a text, on this line, and where it ends.

    It is decoded from a stretch of the text that grows until it is whole: 80 MB can become 7 GB of objects.
    """
    size = min(_STRETCH, limit)
    while True:
        stretch = text[start : start + size]
        try:
            record, length = _DECODER.raw_decode(stretch)
            break
        except json.JSONDecodeError as error:
            is_cut = error.msg.startswith("Unterminated") or error.pos + _NEAR > size
            if start + size >= len(text) or not is_cut:
                column = error.colno + (0 if error.lineno > 1 else start - text.rfind("\n", 0, start) - 1)
                problem = f"no valid JSON ({error.msg[0].lower()}{error.msg[1:]} at column {column})"
                raise DataError(path, line + error.lineno - 1, problem, "correct or remove it") from None
            if size >= limit:
                raise too_large(path, line, "JSON record", limit) from None
            size = min(4 * size, limit)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            raise DataError(path, line, f"no JSON that can be read ({reason})", "correct or remove it") from None
    if not isinstance(record, (dict, list)):
        raise DataError(path, line, *no_object(record))
    if _SURROGATE.search(stretch, 0, length):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            advice = "write characters beyond U+FFFF as such, or as two \\u escapes"
            raise DataError(path, line, "a \\u escape is half of a character", advice) from None
    return record, start + length


def read_parquet(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a Parquet file."""
    from pyarrow import ArrowException, parquet

    check_regular(path)
    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        # Repeated values take no bytes, so their number counts, too.
        sizes = [max(column.total_uncompressed_size, column.num_values) for column in columns]
        check_expansion(path, sum(sizes), path.stat().st_size)
        next(file.iter_batches(1), None)  # an error here, where damage would end the process below
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, 1, "Parquet file", error) from None
    with file:
        # Each row of a batch may repeat the largest value of its column.
        batches = file.iter_batches(min(_BATCH, 1 + _BATCH_BYTES // max([1, *sizes])))
        records = _records(path, "Parquet file", batches, file.schema_arrow, options.max_record)
        yield from RecordReader(path, options, counts).read_all(records)


def read_dataset(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a folder written by ``Dataset.save_to_disk``."""
    import datasets

    for entry in path.rglob("*"):
        check_regular(entry)
    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a broken folder makes of it: KeyError, JSON and Arrow errors among them
        raise _damaged(path, None, "datasets folder", error) from None
    if isinstance(dataset, datasets.DatasetDict):
        problem = f"this folder holds several splits ({', '.join(sorted(dataset))})"
        raise DataError(path, None, problem, "name the folder of one of them")
    batches = dataset.with_format("arrow").iter(_BATCH)
    records = _records(path, "datasets folder", batches, dataset.features.arrow_schema, options.max_record)
    yield from RecordReader(path, options, counts).read_all(records)


def _records(path: Path, kind: str, batches: Iterable[Any], schema: Any, limit: int) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa

    names = _label_names(schema)
    row = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # broken offsets would be read as they are
            parts = [batch] if batch.nbytes <= limit else [batch.slice(number, 1) for number in range(len(batch))]
            for part in parts:
                if part.nbytes > limit:
                    raise too_large(path, row + 1, "row", limit)
                for record in part.to_pylist():
                    row += 1
                    for column, labels in names.items():
                        ids = record.get(column)
                        if isinstance(ids, list):  # an id out of range is left for the reader of tags to refuse
                            known = range(len(labels))
                            record[column] = [labels[i] if type(i) is int and i in known else i for i in ids]
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
