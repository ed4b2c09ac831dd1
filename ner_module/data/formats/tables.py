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
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ner_module.data.formats.cells import MisfitError, TagCells, describe, errors_at
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.files import read_lines, take
from ner_module.data.formats.options import DOCUMENTS, TAGS, TEXTS, WORDS, ReadingOptions, find_columns, first_in
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_HEAD_ROWS = 200
_HEAD_LINES = 5_000
_MAX_SENTENCE = 2_000  # without a column of sentence ids, a longer one means that it was overlooked
_MAX_WORDS = 1 << 20
_SENTENCE_IDS = ("sentence_id", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sentence no", "sent #")
_MANY_WORDS = ("tokens", "words", *TEXTS)  # columns that hold more than one word a row
_ITEM = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|-?[0-9]++"""
_ITEMS = re.compile(_ITEM, re.DOTALL)
_LIST = re.compile(rf"\[(?:[\s,]*(?:{_ITEM}))*+[\s,]*\]", re.DOTALL)

_Row = tuple[int, list[str]]  # the line it begins on, and its cells: none for an empty row


class _Layout(NamedTuple):
    """The columns of a table, by number; ``None`` for those that it lacks or that are not wanted."""

    names: tuple[str, ...]  # the header in lower case; empty when there is none
    text: int
    label: int | None
    sentence: int | None
    document: int | None


def read_table(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a table, by commas or by tabs as the format says."""
    lines = read_lines(path, options.encoding, options.max_record)
    rows = _rows(path, lines, "," if options.format == "csv" else "\t", options.max_record)
    rows = itertools.dropwhile(lambda row: not row[1], rows)
    head = take(rows, _HEAD_ROWS, lambda row: sum(map(len, row[1])))
    if not head:
        return
    line, first = head[0]
    with errors_at(path, line):
        layout = _find_layout(first, options)
    head = head[1:] if layout.names else head
    body = _of_width(path, itertools.chain(head, rows), len(first))
    if _has_sentence_rows([cells for _, cells in head if len(cells) == len(first)], layout):
        options = replace(options, text_column_name="words", label_column_name="tags")
        yield from RecordReader(path, options, counts).read_all(_records(path, body, layout))
    else:
        yield from _by_word(path, body, layout, options)


def _rows(path: Path, lines: Iterator[str], separator: str, limit: int) -> Iterator[_Row]:
    head = take(lines, _HEAD_LINES)
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for text in itertools.chain(head, lines):
            size += len(text)
            if size > limit:  # above a long document, far below the rest of a file after an unpaired quotation mark
                raise csv.Error(f"it is longer than {limit >> 20} MiB")
            yield text

    marked = [_is_quoted(line) for line in head if '"' in line] if separator == "\t" else []
    quoting: Literal[0, 3] = csv.QUOTE_NONE if marked.count(False) > marked.count(True) else csv.QUOTE_MINIMAL
    csv.field_size_limit(max(limit, csv.field_size_limit()))
    rows = csv.reader(counted(), delimiter=separator, strict=True, quoting=quoting)
    line = 1
    try:
        for cells in rows:
            yield line, cells if any(cells) else []
            line, size = rows.line_num + 1, 0
    except csv.Error as error:
        advice = "correct it; a quotation mark at the start of a cell needs a second one at its end"
        raise DataError(path, line, f"no valid row ({error})", advice) from None


def _of_width(path: Path, rows: Iterable[_Row], width: int) -> Iterator[_Row]:
    for line, cells in rows:
        if cells and len(cells) != width:
            problem = f"the row has {len(cells)} cell{'s' * (len(cells) != 1)}, the table {width} columns"
            raise DataError(path, line, problem, "complete it, or quote the cells that hold a separator")
        yield line, cells


def _is_quoted(line: str) -> bool:
    """Whether the quotation marks at the start of cells pair up inside the line."""
    try:
        next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return False
    return True


def is_header(cells: Sequence[str], options: ReadingOptions) -> bool:
    """Whether cells name the columns of a table: names that are asked for, or usual ones of words and of tags."""
    lower = [cell.strip().lower() for cell in cells]
    if len(lower) > 1 and first_in(options.names_asked_for, lower) is not None:
        return True
    return first_in((*WORDS, *TEXTS), lower) is not None and first_in(TAGS, lower) is not None


def _find_layout(first: list[str], options: ReadingOptions) -> _Layout:
    """The layout of a table by its first row: its header, or a row of words; refuses one that lacks a column."""
    lower = tuple(cell.strip().lower() for cell in first)
    usual: tuple[str, ...] = () if options.tagged else (*WORDS, *TEXTS)
    if options.text_column_name is None and options.label_column_name is None:
        usual = (*WORDS, *TEXTS, *TAGS, *_SENTENCE_IDS)  # where one of the columns has no such name, it is missed
    names = lower if first_in(usual, lower) or options.names_asked_for or is_header(first, options) else ()
    default = (None, None) if names else (0, -1)
    text, label = find_columns(options, names, len(first), ((*WORDS, *TEXTS), TAGS), default)
    others = [first_in(usual, names) for usual in (_SENTENCE_IDS, DOCUMENTS)]
    return _Layout(names, text, label, *(None if name is None else names.index(name) for name in others))


def _has_sentence_rows(rows: list[list[str]], layout: _Layout) -> bool:
    """Whether a row is a sentence, not a word: a list, or as many tags as words (a tag may hold a space)."""
    if layout.names and layout.names[layout.text] in _MANY_WORDS:
        return True
    for cells in rows if layout.sentence is None else ():
        words = cells[layout.text].strip()
        tags = words if layout.label is None else cells[layout.label].strip()
        if (tags.startswith("[") and len(tags) > 1) or (" " in tags and len(tags.split()) == len(words.split())):
            return True
    return False


def _by_word(path: Path, rows: Iterable[_Row], layout: _Layout, options: ReadingOptions) -> Iterator[Sentence]:
    known = TagCells(options.label_names)
    most = _MAX_SENTENCE if layout.sentence is None else _MAX_WORDS
    words = Sentence([])
    last = 0
    sentence_id, document_id = "", ""
    for line, cells in itertools.chain(rows, [(0, [])]):
        sentence = cells[layout.sentence] if cells and layout.sentence is not None else ""
        document = cells[layout.document] if cells and layout.document is not None else ""
        begins = not cells or sentence not in ("", sentence_id) or document not in ("", document_id)
        if begins and words.tokens:
            words.word_per_line = last - words.line + 1 == len(words.tokens)
            yield words
            words = Sentence([])
        if not cells:
            continue
        if not words.tokens:
            sentence_id, document_id = sentence or sentence_id, document or document_id
            words = Sentence([], [] if options.tagged else None, line, document_id or None)
        last = line
        words.tokens.append(cells[layout.text])
        if len(words.tokens) > most:
            problem = f"{most:,} words without an end of the sentence"
            problem += ", and no column says where one ends" * (layout.sentence is None)
            raise DataError(path, words.line, problem, "add a column sentence_id, or empty rows between sentences")
        if layout.label is not None and words.tags is not None:
            try:
                words.tags.append(known.read(cells[layout.label]))
            except MisfitError as misfit:
                raise DataError(path, line, *misfit.args) from None


def _records(path: Path, rows: Iterable[_Row], layout: _Layout) -> Iterator[tuple[int, Record]]:
    """A record for each sentence, under keys that no usual name can shadow."""
    splits_at_spaces = bool(layout.names) and layout.names[layout.text] in WORDS
    has_words: bool | None = None
    for line, cells in rows:
        if not cells:
            continue
        text = cells[layout.text]
        document = None if layout.document is None else cells[layout.document]
        with errors_at(path, line):
            tags = [] if layout.label is None else _list(cells[layout.label])
            if layout.label is None:  # a cell that is no list is raw text unless its column is called words
                has_words = text.startswith("[") or splits_at_spaces
            elif has_words is None:  # the first row decides
                has_words = not isinstance(tags[0], (list, dict)) if tags else not text or text.startswith("[")
            words = _list(text) if has_words else text
        yield line, {"words": words, "tags": tags, "document": document}


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
    if not _LIST.fullmatch(cell):
        raise MisfitError(f"no list of words or tags: {describe(cell)}", 'write lists as ["New", "York"], in whole')
    try:
        return [ast.literal_eval(item) for item in _ITEMS.findall(cell)]
    except (ValueError, SyntaxError):
        raise MisfitError(f"no strings: {describe(cell)}", "correct their escapes") from None
