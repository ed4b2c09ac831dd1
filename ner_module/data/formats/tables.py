"""CSV and TSV -> sentences: one word a row, or one sentence a row.

*One word a row*: a column such as ``sentence_id`` or ``Sentence #`` says where a sentence begins (by a new value, or by
any value where the cells between are empty); without one, an empty row ends a sentence. *One sentence a row*: words and
tags are lists as JSON, Python or NumPy print them, or words between spaces.

Quotation marks quote, as in CSV. A TSV file whose marks do not pair up holds them as words, and they are taken as such.
"""

from __future__ import annotations

import ast
import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ner_module.data.formats.records import RecordReader
from ner_module.data.formats.table_layout import TableLayout, find_table_layout
from ner_module.data.formats.tag_cells import describe
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_HEAD_ROWS = 200
_HEAD_LINES = 5_000
# Above the 20,000 words of a long document, far below the rest of a file after a quotation mark that is never closed.
_MAX_CELL = 1 << 24
# Without a column of sentence ids, a longer sentence means that it was overlooked.
_MAX_SENTENCE = 2_000

_ITEM = re.compile(r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|-?[0-9]++""", re.DOTALL)
_BETWEEN = re.compile(r"[\s,]*")

Row = tuple[int, list[str]]


def read_table(path: Path, lines: Iterable[str], separator: str, reader: RecordReader) -> Iterator[Sentence]:
    """Yield the sentences of a table.

    Args:
        path: the file, for messages.
        lines: its lines.
        separator: a comma or a tab.
        reader: knows the columns that were asked for, and reads tags and records.

    Raises:
        DataError: at the first row that does not fit.
    """
    rows = itertools.dropwhile(lambda row: not any(row[1]), _rows(path, lines, separator))
    head = list(itertools.islice(rows, _HEAD_ROWS))
    if not head:
        return
    filled = [row for row in head if any(row[1])]
    layout = find_table_layout(path, filled, reader.text_key, reader.label_key, reader.tagged)
    body = _of_width(path, itertools.chain(head[1:] if layout.names else head, rows), layout)
    yield from (_by_sentence if layout.by_sentence else _by_word)(path, body, layout, reader)


def _rows(path: Path, lines: Iterable[str], separator: str) -> Iterator[Row]:
    """The rows with the line each begins on."""
    lines = iter(lines)
    head = list(itertools.islice(lines, _HEAD_LINES))
    marked = [_is_quoted(line) for line in head if '"' in line] if separator == "\t" else []
    literal = marked.count(False) > marked.count(True)
    if csv.field_size_limit() < _MAX_CELL:
        csv.field_size_limit(_MAX_CELL)
    rows = csv.reader(
        itertools.chain(head, lines),
        delimiter=separator,
        strict=True,
        quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL,
    )
    line = 1
    try:
        for cells in rows:
            yield line, cells
            line = rows.line_num + 1
    except csv.Error as error:
        advice = "correct it; a quotation mark at the start of a cell needs a second one at its end"
        raise DataError(path, line, f"no valid row ({error})", advice) from None


def _is_quoted(line: str) -> bool:
    """Whether the quotation marks at the start of cells pair up inside the line."""
    try:
        next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return False
    return True


def _of_width(path: Path, rows: Iterable[Row], layout: TableLayout) -> Iterator[Row]:
    """The rows, each of the table's width or empty."""
    for line, cells in rows:
        if not any(cells):
            yield line, []
        elif len(cells) == layout.width:
            yield line, cells
        else:
            problem = f"the row has {len(cells)} cell{'s' * (len(cells) != 1)}, the table {layout.width} columns"
            raise DataError(path, line, problem, "complete it, or quote the cells that hold a separator")


def _by_word(path: Path, rows: Iterable[Row], layout: TableLayout, reader: RecordReader) -> Iterator[Sentence]:
    tokens: list[str] = []
    tags: list[str] = []
    begun: tuple[str, str | None] = ("", None)
    first = last = 0
    for line, cells in rows:
        begins = not cells
        if cells:
            sentence = cells[layout.sentence] if layout.sentence is not None else ""
            document = cells[layout.document] if layout.document is not None else None
            begins = (sentence not in ("", begun[0])) or document not in (None, "", begun[1])
        if begins and tokens:
            unbroken = last - first + 1 == len(tokens)
            yield Sentence(tokens, tags if reader.tagged else None, first, begun[1], word_per_line=unbroken)
            tokens, tags = [], []
        if not cells:
            continue
        if not tokens:
            first = line
            begun = (sentence or begun[0], document or begun[1])
        last = line
        tokens.append(cells[layout.text])
        if len(tokens) > _MAX_SENTENCE and layout.sentence is None:
            problem = f"{_MAX_SENTENCE:,} words without an end of the sentence, and no column says where one ends"
            raise DataError(path, first, problem, "add a column sentence_id, or empty rows between sentences")
        if layout.label is not None:
            tags.append(reader.cells.read(cells[layout.label], line))
    if tokens:
        unbroken = last - first + 1 == len(tokens)
        yield Sentence(tokens, tags if reader.tagged else None, first, begun[1], word_per_line=unbroken)


def _by_sentence(path: Path, rows: Iterable[Row], layout: TableLayout, reader: RecordReader) -> Iterator[Sentence]:
    # From here on a row is a record like any other, under keys that no usual name can shadow.
    reader.text_key, reader.label_key = "words", "tags"
    for line, cells in rows:
        if not cells:
            continue
        record: dict[str, Any] = {"document": cells[layout.document]} if layout.document is not None else {}
        text = cells[layout.text]
        if layout.label is not None:
            tags = record["tags"] = _list(path, line, cells[layout.label])
            if reader.spans is None:
                none_marked = not tags and text and not text.startswith("[")
                reader.spans = none_marked or (bool(tags) and isinstance(tags[0], (list, dict)))
            record["words"] = text if reader.spans else _list(path, line, text)
        else:
            as_list = text.startswith("[") or layout.splits_at_spaces
            record["words"] = _list(path, line, text) if as_list else text
        sentence = reader.read(record, line)
        if sentence is not None:
            yield sentence


def _list(path: Path, line: int, cell: str) -> list[Any]:
    """The list in a cell.

    >>> [_list(Path(), 1, cell) for cell in ("['New' 'York']", '["a", "b"]', "O  B-LOC", "[0 3]")]
    [['New', 'York'], ['a', 'b'], ['O', 'B-LOC'], [0, 3]]
    """
    cell = cell.strip(" ")
    if not (cell.startswith("[") and cell.endswith("]")):
        return [part for part in re.split("[ \\t]+", cell) if part]
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        return value
    items: list[Any] = []
    position = _BETWEEN.match(cell, 1).end()  # type: ignore[union-attr]
    while position < len(cell) - 1:
        item = _ITEM.match(cell, position)
        if item is None:
            problem = f"no list of words or tags: {describe(cell[position:])} does not belong in one"
            raise DataError(path, line, problem, 'write lists as ["New", "York"], in whole')
        try:
            items.append(ast.literal_eval(item[0]))
        except (ValueError, SyntaxError):
            raise DataError(path, line, f"no string: {describe(item[0])}", "correct its escapes") from None
        position = _BETWEEN.match(cell, item.end()).end()  # type: ignore[union-attr]
    return items
