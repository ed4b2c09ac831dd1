"""CSV and TSV -> sentences: one word a row, or one sentence a row.

*One word a row*: a column such as ``sentence_id`` or ``Sentence #`` says where a sentence begins (by a new value, or by
any value where the cells between are empty); without one, an empty row ends a sentence. *One sentence a row*: words and
tags are lists as JSON, Python or NumPy print them, or words between spaces.

Quotation marks quote, as in CSV. A TSV file whose marks do not pair up holds them as words, and they are taken as such.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import (
    DOCUMENTS,
    MANY_WORDS,
    NUMBER,
    SENTENCE_IDS,
    TAGS,
    TEXTS,
    WORDS,
    ReadingOptions,
    first_in,
    is_header,
)
from ner_module.data.formats.records import RecordReader
from ner_module.data.formats.span_records import Record
from ner_module.data.formats.tag_cells import MisfitError, TagCells, describe
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_HEAD_ROWS = 200
_HEAD_LINES = 5_000
# Above the 20,000 words of a long document, far below the rest of a file after a quotation mark that is never closed.
_MAX_CELL = 1 << 24
# Without a column of sentence ids, a longer sentence means that it was overlooked.
_MAX_SENTENCE = 2_000

_WORDS = (*WORDS, *TEXTS)
_ITEM = re.compile(r"""[\s,]*('(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|-?[0-9]++)?""", re.DOTALL)

Row = tuple[int, list[str]]
"""The line it begins on, and its cells; none of them for an empty row."""


@dataclass(frozen=True)
class Layout:
    """The columns of a table, by number.

    Attributes:
        names: the header, lower case; empty when there is none.
        width: the number of columns.
        text: words, tokens or text.
        label: tags; ``None`` when none are wanted.
        sentence: an id that changes, or is filled, where a sentence begins; ``None`` without such a column.
        document: identity of the document, likewise.
    """

    names: tuple[str, ...]
    width: int
    text: int
    label: int | None
    sentence: int | None
    document: int | None

    def has_sentence_rows(self, rows: Iterable[list[str]]) -> bool:
        """Whether a row is a sentence, not a word: a list, or as many tags as words (a tag may hold a space)."""
        if self.names and self.names[self.text] in MANY_WORDS:
            return True
        for cells in rows if self.sentence is None else ():
            words = cells[self.text].strip()
            tags = words if self.label is None else cells[self.label].strip()
            if (tags.startswith("[") and len(tags) > 1) or (" " in tags and len(tags.split()) == len(words.split())):
                return True
        return False


def read_table(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a table, by commas or by tabs as the format says."""
    rows = _rows(path, read_lines(path, options.encoding), "," if options.format == "csv" else "\t")
    rows = itertools.dropwhile(lambda row: not row[1], rows)
    head = list(itertools.islice(rows, _HEAD_ROWS))
    if not head:
        return
    try:
        layout = _find_layout(head[0][1], options)
    except MisfitError as misfit:
        raise DataError(path, head[0][0], *misfit.args) from None
    head = head[1:] if layout.names else head
    body = _of_width(path, itertools.chain(head, rows), layout.width)
    if layout.has_sentence_rows(cells for _, cells in head if len(cells) == layout.width):
        yield from _by_sentence(path, body, layout, options, counts)
    else:
        yield from _by_word(path, body, layout, options)


def _rows(path: Path, lines: Iterator[str], separator: str) -> Iterator[Row]:
    head = list(itertools.islice(lines, _HEAD_LINES))
    marked = [_is_quoted(line) for line in head if '"' in line] if separator == "\t" else []
    quoting: Literal[0, 3] = csv.QUOTE_NONE if marked.count(False) > marked.count(True) else csv.QUOTE_MINIMAL
    if csv.field_size_limit() < _MAX_CELL:
        csv.field_size_limit(_MAX_CELL)
    rows = csv.reader(itertools.chain(head, lines), delimiter=separator, strict=True, quoting=quoting)
    line = 1
    try:
        for cells in rows:
            yield line, cells if any(cells) else []
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


def _find_layout(first: list[str], options: ReadingOptions) -> Layout:
    """The layout of a table by its first row: its header, or a row of words; refuses one that lacks a column."""
    lower = tuple(cell.strip().lower() for cell in first)
    alone = not options.tagged and first_in(_WORDS, lower) is not None
    is_named = any(not NUMBER.fullmatch(name) for name in options.column_names)
    names = lower if is_named or alone or is_header(first, options.column_names) else ()
    option_names = "name the columns with --data.text_column_name and --data.label_column_name"
    if not names and not options.column_names and {*_WORDS, *TAGS, *SENTENCE_IDS}.intersection(lower):
        problem = f"the header {first[:12]} does not name a column of words and one of tags as usual"
        raise MisfitError(problem, f"{option_names} (a number counts from 0)")

    def choose(asked_name: str | None, usual_names: Sequence[str], default: int, what: str) -> int:
        if asked_name is not None and NUMBER.fullmatch(asked_name):
            if -len(first) <= int(asked_name) < len(first):
                return int(asked_name) % len(first)
        elif not names:
            return default % len(first)
        elif found := first_in(usual_names if asked_name is None else (asked_name.lower(),), names):
            return names.index(found)
        problem = f"there is no column {asked_name!r}" if asked_name is not None else f"no column of {what} is named"
        raise MisfitError(problem, f"{option_names} (there are {', '.join(map(repr, first[:12]))})")

    text = choose(options.text_column_name, _WORDS, 0, "words")
    label = choose(options.label_column_name, TAGS, -1, "tags") if options.tagged else None
    if label == text:
        advice = "name two with --data.text_column_name and --data.label_column_name"
        raise MisfitError(f"words and tags would be the same column, {text}", advice)
    others = [first_in(columns, names) for columns in (SENTENCE_IDS, DOCUMENTS)]
    sentence, document = (None if name is None else names.index(name) for name in others)
    return Layout(names, len(first), text, label, sentence, document)


def _of_width(path: Path, rows: Iterable[Row], width: int) -> Iterator[Row]:
    for line, cells in rows:
        if cells and len(cells) != width:
            problem = f"the row has {len(cells)} cell{'s' * (len(cells) != 1)}, the table {width} columns"
            raise DataError(path, line, problem, "complete it, or quote the cells that hold a separator")
        yield line, cells


def _by_word(path: Path, rows: Iterable[Row], layout: Layout, options: ReadingOptions) -> Iterator[Sentence]:
    known = TagCells(options.label_names)
    words = Sentence([], [] if options.tagged else None)
    begun: tuple[str, str | None] = ("", None)  # the ids of the sentence and of its document
    last = 0
    for line, cells in itertools.chain(rows, [(0, [])]):
        sentence = cells[layout.sentence] if cells and layout.sentence is not None else ""
        document = cells[layout.document] if cells and layout.document is not None else None
        begins = not cells or sentence not in ("", begun[0]) or document not in (None, "", begun[1])
        if begins and words.tokens:
            words.word_per_line = last - words.line + 1 == len(words.tokens)
            yield words
            words = Sentence([], [] if options.tagged else None)
        if not cells:
            continue
        if not words.tokens:
            begun = (sentence or begun[0], document or begun[1])
            words.line, words.document = line, begun[1]
        last = line
        words.tokens.append(cells[layout.text])
        if len(words.tokens) > _MAX_SENTENCE and layout.sentence is None:
            problem = f"{_MAX_SENTENCE:,} words without an end of the sentence, and no column says where one ends"
            raise DataError(path, words.line, problem, "add a column sentence_id, or empty rows between sentences")
        if layout.label is not None and words.tags is not None:
            try:
                words.tags.append(known.read(cells[layout.label]))
            except MisfitError as misfit:
                raise DataError(path, line, *misfit.args) from None


def _by_sentence(
    path: Path, rows: Iterable[Row], layout: Layout, options: ReadingOptions, counts: SpanCounts
) -> Iterator[Sentence]:
    # From here on a row is a record like any other, under keys that no usual name can shadow.
    reader = RecordReader(path, replace(options, text_column_name="words", label_column_name="tags"), counts)
    splits_at_spaces = bool(layout.names) and layout.names[layout.text] in WORDS

    def record_of(cells: list[str]) -> Record:
        record: Record = {"words": cells[layout.text]}
        text: str = record["words"]
        if layout.document is not None:
            record["document"] = cells[layout.document]
        if layout.label is not None:
            tags = record["tags"] = _list(cells[layout.label])
            if reader.has_spans is None:
                none_marked = not tags and bool(text) and not text.startswith("[")
                reader.has_spans = none_marked or (bool(tags) and isinstance(tags[0], (list, dict)))
        # Without tags, a cell that is no list is raw text unless its column is called words.
        if (text.startswith("[") or splits_at_spaces) if layout.label is None else not reader.has_spans:
            record["words"] = _list(text)
        return record

    for line, cells in rows:
        if cells:
            try:
                sentence = reader.read(line, record_of(cells))
            except MisfitError as misfit:
                raise DataError(path, line, *misfit.args) from None
            if sentence is not None:
                yield sentence


def _list(cell: str) -> list[Any]:
    """The list in a cell.

    >>> [_list(cell) for cell in ("['New' 'York']", '["a", "b"]', "O  B-LOC", "[0 3]")]
    [['New', 'York'], ['a', 'b'], ['O', 'B-LOC'], [0, 3]]
    """
    cell = cell.strip(" ")
    if not (cell.startswith("[") and cell.endswith("]")):
        return [part for part in re.split("[ \\t]+", cell) if part]
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(cell)
        if isinstance(value, list):
            return value
    items: list[Any] = []
    position = 1
    while (item := _ITEM.match(cell, position)) and item[1] is not None:
        try:
            items.append(ast.literal_eval(item[1]))
        except (ValueError, SyntaxError):
            raise MisfitError(f"no string: {describe(item[1])}", "correct its escapes") from None
        position = item.end()
    position = item.end() if item else position
    if position < len(cell) - 1:
        problem = f"no list of words or tags: {describe(cell[position:])} does not belong in one"
        raise MisfitError(problem, 'write lists as ["New", "York"], in whole')
    return items
