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

from ner_module.data.formats.cells import describe
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import check_expansion, read_lines, take, too_large
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.records import RecordReader
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.files import check_regular

_BATCH = 1_000
_BATCH_BYTES = 1 << 28
_SPACE = " \t\r\n"
_GAP = re.compile(f"[{_SPACE}]*(,?)[{_SPACE}]*")
_BLANK = re.compile(f"()[{_SPACE}]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder()
_HEAD_LINES = 100
_PIECE = 1 << 16


def read_json(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of JSON objects: one a line (``jsonl``), or in a list or over several lines (``json``)."""
    kind, limit = options.format, options.max_record
    if kind == "spans":
        kind = json_kind(take(read_lines(path, options.encoding, _PIECE, in_pieces=True), _HEAD_LINES))
    if kind == "json":
        records = _json(path, read_lines(path, options.encoding, _PIECE, in_pieces=True), limit)
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
            record, end = _object(path, number, line, len(line) - len(line.lstrip(_SPACE)))
            if end < len(line):
                raise DataError(path, number, f"no valid JSON (extra data at column {end + 1})", "correct or remove it")
            yield number, record
        elif keep_blank:
            yield number, {}


class _Window:
    """A stretch of a text that moves on: what was read is dropped, and more is appended where it is needed."""

    def __init__(self, path: Path, pieces: Iterator[str], limit: int) -> None:
        self.path, self.limit = path, limit
        self.text, self.position, self.line, self.column = "", 0, 1, 0
        self._pieces = pieces

    def grow(self) -> bool:
        """Double what follows the position; false at the end of the file."""
        rest = self.text[self.position :]
        if len(rest) > self.limit:
            raise too_large(self.path, self.line, "JSON record", self.limit)
        more = take(self._pieces, None, most=max(_PIECE, len(rest)))
        start = self.text.rfind("\n", 0, self.position) + 1
        self.column = self.position - start + (0 if start else self.column)
        self.text, self.position = "".join([rest, *more]), 0
        return bool(more)

    def skip(self, gap: re.Pattern[str]) -> str:
        """Move behind a gap; returns its first group."""
        while (found := gap.match(self.text, self.position)) and found.end() == len(self.text) and self.grow():
            pass
        assert found is not None  # it matches nothing, too
        self.move(found.end())
        return str(found[1])

    def move(self, end: int) -> None:
        """Move to a place behind."""
        self.line += self.text.count("\n", self.position, end)
        self.position = end

    def decode(self) -> Any:
        """Read an object or list, and move behind it."""
        before = None
        while True:
            try:
                record, end = _object(self.path, self.line, self.text, self.position, self.column)
            except DataError as error:
                # What is cut is wrong at another place once there is more of it, but for a string without an end.
                if (str(error) == before and "unterminated" not in before) or not self.grow():
                    raise
                before = str(error)
            else:
                if end - self.position > self.limit:
                    raise too_large(self.path, self.line, "JSON record", self.limit)
                self.move(end)
                return record


def _json(path: Path, pieces: Iterator[str], limit: int) -> Iterator[tuple[int, Any]]:
    """The objects of a JSON file: a list of objects, or objects one after the other over any number of lines."""
    window = _Window(path, pieces, limit)
    window.skip(_BLANK)
    opening = window.text[window.position : window.position + 1]
    if opening not in ("[", "{"):
        problem = "the file is not JSON" if opening else "the file is empty"
        raise DataError(path, window.line, problem, "a JSON file here is a list of objects: [{…}, {…}]")
    in_list = opening == "["
    window.position += in_list
    is_first = True
    while True:
        comma = window.skip(_GAP)
        following = window.text[window.position : window.position + 1]
        if not following or (in_list and following == "]"):
            break
        if in_list and not is_first and not comma:
            raise DataError(path, window.line, "a comma or the end of the list is missing", "correct the JSON")
        line, is_first = window.line, False
        yield line, window.decode()
    if in_list and not following:
        raise DataError(path, window.line, "the list does not end", "the file was cut short; make or fetch it again")
    window.position += 1
    window.skip(_BLANK)
    if window.position < len(window.text):
        raise DataError(path, window.line, "something follows the end of the list", "remove it")


def _object(path: Path, line: int, text: str, start: int, column: int = 0) -> tuple[Any, int]:
    """The object or list at a place of a text, and where it ends; the text begins at this column of its file's line."""
    try:
        record, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        column = error.colno + (0 if "\n" in text[: error.pos] else column)
        problem = f"no valid JSON ({error.msg[0].lower()}{error.msg[1:]} at column {column})"
        line += text.count("\n", start, error.pos)
        raise DataError(path, line, problem, "correct or remove it") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(path, line, f"no JSON that can be read ({reason})", "correct or remove it") from None
    if not isinstance(record, (dict, list)):
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

    check_regular(path)
    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        check_expansion(path, sum(group.total_byte_size for group in groups), path.stat().st_size)
        next(file.iter_batches(1), None)  # an error here, where damage would end the process below
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, 1, "Parquet file", error) from None
    with file:
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        # Repeated values take no bytes, so their number counts, too.
        sizes = [max(column.total_uncompressed_size, column.num_values) for column in columns]
        check_expansion(path, sum(sizes), path.stat().st_size)
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
            for record in _rows(batch, limit):
                row += 1
                if record is None:
                    raise too_large(path, row, "row", limit)
                for column, labels in names.items():
                    ids = record.get(column)
                    if isinstance(ids, list):  # an id out of range is left for the reader of tags to refuse
                        record[column] = [labels[i] if type(i) is int and 0 <= i < len(labels) else i for i in ids]
                yield row, record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, row + 1, kind, error) from None


def _rows(batch: Any, limit: int) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch, ``None`` for one that is too large; one by one where they are large together."""
    if batch.nbytes <= limit:
        yield from batch.to_pylist()
        return
    for number in range(len(batch)):
        row = batch.slice(number, 1)
        yield from row.to_pylist() if row.nbytes <= limit else [None]


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
