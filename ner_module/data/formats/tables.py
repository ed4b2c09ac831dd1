"""CSV and TSV -> sentences: one word a row, or one sentence a row.

*One word a row*: a column such as ``sentence_id`` or ``Sentence #``, or one whose cells count sentences, says where a
sentence begins (by a new value, or by any value where the cells between are empty); an empty row ends a sentence.
*One sentence a row*: words and tags are lists as JSON, Python, pandas or NumPy print them, or words between spaces.

What separates the cells of a ``.csv`` (commas, semicolons, tabs, bars) and which column holds what is detected from
content (`contents.py`). Quotation marks quote, as in CSV. A TSV file whose marks do not pair up holds them as words,
and they are taken as such. A word holds no line end.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ner_module.data.formats.cells import MisfitError, TagCells, describe, errors_at, is_tag
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.columns import DOCSTART
from ner_module.data.formats.contents import (
    PLAIN_COMMENT,
    are_no_words,
    choose_columns,
    is_header,
    refuse_text,
    sentences_counted,
    tag_columns,
)
from ner_module.data.formats.files import read_lines, take
from ner_module.data.formats.options import DOCUMENTS, TAGS, TEXTS, WORDS, ReadingOptions, first_in
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.sentence import Sentence
from ner_module.data.spelling import LIKE_OUTSIDE
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, has_prefix

_HEAD_ROWS = 2_000
_HEAD_LINES = 5_000
_MAX_SENTENCE = 2_000  # without a column of sentence ids, a longer one means that it was overlooked
_MAX_WORDS = 1 << 20
_SENTENCE_IDS = ("sentence_id", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sentence no", "sent #")
_MANY_WORDS = ("tokens", "words", *TEXTS)  # columns that hold more than one word a row
_ABOVE = re.compile(rf"{PLAIN_COMMENT.pattern}|# \S+ ")  # comments; a column may be called "# sentence"
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_NO_WORD = {"", DOCSTART, OUTSIDE, "-X-", "_"}  # rows between sentences, where a column file was made a table
_ITEM = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|-?[0-9]++"""
_ITEMS = re.compile(_ITEM, re.DOTALL)
# A list in {'entities': […]} or array([…], dtype=object), and a tuple of strings.
_WRAPPED = re.compile(r"""^(?:\{\s*['"]entities['"]\s*:|array\()\s*(\[.*\])\s*,?\s*(?:dtype=\w+)?\s*[)}]$""", re.DOTALL)
_TUPLE = re.compile(r"""^\((['"].*['"],?)\)$""", re.DOTALL)
_BEGINS_LIST = re.compile(r"""\[\s*(?:['"\[({]|[-\s,0-9]*\]$)|\{['"]""")  # [sic] and [1] begin words
_LIST = re.compile(rf"\[(?:[\s,]*(?:{_ITEM}))*+[\s,]*\]", re.DOTALL)

_Row = tuple[int, list[str], int]  # the line it begins on, its cells (none for an empty row), the line it ends on


class _Layout(NamedTuple):
    """The columns of a table, by number; ``None`` for those that it lacks or that are not wanted."""

    names: tuple[str, ...]  # the header in lower case; empty when there is none
    text: int
    label: int | None
    sentence: int | None
    document: int | None


def read_table(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a table, by tabs or, if the format is CSV, by what separates its first lines."""
    lines = read_lines(path, options.encoding, options.max_record)
    start = take(lines, _HEAD_ROWS)
    if start and start[0].lower().startswith("sep="):  # for Excel
        start[0] = "\n"
    separator = "\t" if options.format == "tsv" else max(_SEPARATORS, key=lambda each: _even_rows(start, each))
    rows = _rows(path, itertools.chain(start, lines), separator, options.max_record, _is_spaced(start, separator))
    rows = itertools.dropwhile(
        lambda row: not row[1] or (_ABOVE.match(row[1][0]) and not any(map(is_tag, row[1]))), rows
    )
    head = take(rows, _HEAD_ROWS, lambda row: sum(map(len, row[1])))
    if not head:
        return
    line, first, _ = head[0]
    full = [cells for _, cells, _ in head if len(cells) == len(first)]
    counts.say(path, f"{len(first)} columns separated by {_SEPARATORS[separator]}")
    with errors_at(path, line):
        has_breaks = any(not cells for _, cells, _ in head)
        layout = _find_layout(full, options, has_breaks, partial(counts.say, path))
    body = _of_width(path, itertools.chain(head[bool(layout.names) :], rows), len(first), layout)
    if _has_sentence_rows(full[bool(layout.names) :], layout):
        text, label = (f"column {layout.names[n] if layout.names and n is not None else n}" for n in layout[1:3])
        options = replace(options, text_column_name=text, label_column_name=label)
        yield from RecordReader(path, options, counts).read_all(_records(path, body, layout, text, label))
    else:
        yield from _by_word(path, body, layout, options)


def _even_rows(lines: list[str], separator: str) -> int:
    """How many of the first rows have several cells, as many as the first one has."""
    try:
        filled = (line for line in lines if line.strip() and line[0] != "#")
        rows = list(csv.reader(filled, delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return 0
    return sum(len(cells) == len(rows[0]) > 1 for cells in rows)


def _is_spaced(lines: list[str], separator: str) -> bool:
    """Whether a space follows nearly every separator."""
    return sum(line.count(f"{separator} ") for line in lines) > 0.9 * sum(line.count(separator) for line in lines)


def _rows(path: Path, lines: Iterator[str], separator: str, limit: int, is_spaced: bool) -> Iterator[_Row]:
    line = size = 0
    head: list[str] = []
    is_quoting: bool | None = None if separator == "\t" else True
    while not is_quoting and (head := take(lines, _HEAD_LINES)):  # the first lines with marks decide, wherever they are
        marked = [_is_quoted(text) for text in head if '\t"' in "\t" + text] if is_quoting is None else []
        is_quoting = marked.count(True) >= marked.count(False) if marked else is_quoting
        for text in head if not is_quoting else ():
            line += 1
            cells = text.rstrip("\r\n").split("\t")
            yield line, cells if any(cells) else [], line

    def counted() -> Iterator[str]:
        nonlocal size
        for text in itertools.chain(head, lines):
            size += len(text)
            if size > limit:  # above a long document, far below the rest of a file after an unpaired quotation mark
                raise csv.Error(f"it is longer than {limit >> 20} MiB")
            yield text

    csv.field_size_limit(max(limit, csv.field_size_limit()))
    before = line
    rows = csv.reader(counted() if is_quoting else (), delimiter=separator, strict=True, skipinitialspace=is_spaced)
    try:
        for cells in rows:
            first, line, size = line + 1, before + rows.line_num, 0
            yield first, cells if any(cells) else [], line
    except csv.Error as error:
        advice = "correct it; a quotation mark at the start of a cell needs a second one at its end"
        raise DataError(path, line + 1, f"no valid row ({error})", advice) from None


def _of_width(path: Path, rows: Iterable[_Row], width: int, layout: _Layout) -> Iterator[_Row]:
    for row in rows:
        line, cells, _ = row
        if cells and len(cells) != width:
            if PLAIN_COMMENT.match(cells[0]):
                continue
            problem = f"the row has {len(cells)} cell{'s' * (len(cells) != 1)}, the table {width} columns"
            raise DataError(path, line, problem, "complete or remove it, or quote the cells that hold a separator")
        is_end = cells and layout.sentence is None and cells[layout.text] in ("", DOCSTART) and {*cells} <= _NO_WORD
        yield (line, [], line) if is_end else row


def _is_quoted(line: str) -> bool:
    """Whether the quotation marks at the start of cells pair up inside the line."""
    try:
        next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return False
    return True


def is_table(cells: Sequence[str], options: ReadingOptions) -> bool:
    """Whether cells name the columns of a table: names that are asked for, or usual ones of words and of tags."""
    lower = [cell.strip().lower() for cell in cells]
    if len(lower) > 1 and first_in(options.names_asked_for, lower) is not None:
        return True
    return first_in((*WORDS, *TEXTS), lower) is not None and first_in(TAGS, lower) is not None


def _find_layout(
    rows: list[list[str]], options: ReadingOptions, has_breaks: bool, say: Callable[[str, bool], None]
) -> _Layout:
    """The layout of a table by its first rows, of which ``say`` gets notes; refuses one that lacks a column."""
    first = rows[0]
    lower = tuple(cell.strip().lower() for cell in first)
    asked = (options.text_column_name, options.label_column_name)
    usual: tuple[str, ...] = (*WORDS, *TEXTS)
    if asked == (None, None):
        usual = (*usual, *TAGS, *_SENTENCE_IDS)  # where one of the columns has no such name, it is missed
    is_named = is_table(first, options) or is_header(rows) or bool(options.names_asked_for)
    names = lower if is_named or (not (options.tagged and any(asked)) and first_in(usual, lower)) else ()
    if names:
        say("the first row names the columns", first_in((*WORDS, *TEXTS, *TAGS), names) is None)
    body = rows[1:] if names else rows
    columns = list(zip(*body, strict=True)) or [()] * len(first)
    tags = next((column.number for column in tag_columns(body) if column.rank == 3), None)
    counting = {number: count for number, cells in enumerate(columns) if (count := sentences_counted(cells))}
    left = [n for n, cells in enumerate(columns) if n != tags and n not in counting and not are_no_words(cells)]
    default = (left[0] if len(left) == 1 else None, tags) if names else (min([*left, len(first) - 1]), -1)
    of_words_and_tags = (*WORDS, *TEXTS), (*TAGS, "entities", "spans")
    text, label, found = choose_columns(options, names, body, of_words_and_tags, default, (), say)
    if label is not None and not found:
        refuse_text(options, columns[text], columns[label], bool(names))
    ids = (first_in(usual, names) for usual in (_SENTENCE_IDS, DOCUMENTS))
    sentence, document = (None if name is None else names.index(name) for name in ids)
    if sentence is None and not has_breaks:
        sentence = max(counting.keys() - {text, label, document}, key=counting.__getitem__, default=None)
        if sentence is not None and document is None:  # it numbers documents where another one counts anew in each
            pairs = {n: zip(columns[sentence], columns[n], strict=True) for n in range(len(first)) if n != label}
            counts = {n: sentences_counted([" ".join(pair) for pair in both]) for n, both in pairs.items() if n != text}
            finest = max(counts, key=counts.__getitem__)
            sentence, document = (finest, sentence) if counts[finest] > counting[sentence] else (sentence, None)
    if sentence is not None and not sentences_counted(columns[sentence]):
        runs = [name for name, _ in itertools.groupby(columns[sentence]) if name]
        if len(runs) > 2 * len(set(runs)):
            say(f"column {sentence} comes back to earlier sentences: sort the rows, if these are whole", True)
    said = {"words": text, "tags": label, "sentence numbers": sentence, "documents": document}
    where = ", ".join(f"{what} {n}" + (f" ({names[n]})" if names else "") for what, n in said.items() if n is not None)
    say(f"columns, counted from 0: {where}", False)
    return _Layout(names, text, label, sentence, document)


def _has_sentence_rows(rows: list[list[str]], layout: _Layout) -> bool:
    """Whether a row is a sentence, not a word: a list, or as many tags as words (a tag may hold a space)."""
    for cells in rows:
        words = cells[layout.text].strip()
        tags = words if layout.label is None else cells[layout.label].strip()
        parts = tags.split()
        are_alike = len({has_prefix(tag) for tag in parts if tag not in (OUTSIDE, *LIKE_OUTSIDE)}) < 2
        has_both = layout.label is not None and len(parts) == len(words.split()) > 1
        if _BEGINS_LIST.match(tags) or (has_both and are_alike):
            return True
    if layout.sentence is not None and sentences_counted([cells[layout.sentence] for cells in rows]):
        return False
    return bool(layout.names) and layout.names[layout.text] in _MANY_WORDS


def _by_word(path: Path, rows: Iterable[_Row], layout: _Layout, options: ReadingOptions) -> Iterator[Sentence]:
    known, most = TagCells(options.label_names), _MAX_SENTENCE if layout.sentence is None else _MAX_WORDS
    text, label, by, of = layout.text, layout.label if options.tagged else None, layout.sentence, layout.document
    words = Sentence([])
    last = 0
    sentence_id, document_id = "", ""
    for line, cells, end in itertools.chain(rows, [(0, list[str](), 0)]):
        sentence = cells[by] if cells and by is not None else ""
        document = cells[of] if cells and of is not None else ""
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
        if end > line:
            problem = f"a cell holds a line end: a quotation mark joins the lines {line} to {end}"
            raise DataError(path, line, problem, "double or remove the mark, for a word holds no line end")
        words.tokens.append(cells[text])
        if len(words.tokens) > most:
            problem = f"{most:,} words without an end of the sentence"
            problem += ", and no column says where one ends" * (by is None)
            raise DataError(path, words.line, problem, "add a column sentence_id, or empty rows between sentences")
        if label is not None and words.tags is not None:
            try:
                words.tags.append(known.known.get(cells[label]) or known.read(cells[label]))
            except MisfitError as misfit:
                raise DataError(path, line, *misfit.args) from None


def _records(
    path: Path, rows: Iterable[_Row], layout: _Layout, text_key: str, label_key: str
) -> Iterator[tuple[int, Record]]:
    """A record for each sentence, under keys that no usual name can shadow."""
    splits_at_spaces = bool(layout.names) and layout.names[layout.text] in WORDS
    has_words: bool | None = None
    for line, cells, _ in rows:
        if not cells:
            continue
        text = cells[layout.text]
        document = None if layout.document is None else cells[layout.document]
        name = cells[layout.names.index("id")] if "id" in layout.names else None
        with errors_at(path, line):
            tags = [] if layout.label is None else _list(cells[layout.label])
            if layout.label is None:  # a cell that is no list is raw text unless its column is called words
                has_words = bool(_BEGINS_LIST.match(text)) or splits_at_spaces
            elif has_words is None:  # the first row decides
                is_list = not text or _BEGINS_LIST.match(text) is not None
                has_words = not isinstance(tags[0], (list, dict)) if tags else is_list
            words = _list(text) if has_words else text
        yield line, {text_key: words, label_key: tags, "document": document, "id": name}


def _list(cell: str) -> list[Any]:
    """The list in a cell.

    >>> [_list(cell) for cell in ("['New' 'York']", '["a", "b"]', "O  B-LOC", "[0 3]")]
    [['New', 'York'], ['a', 'b'], ['O', 'B-LOC'], [0, 3]]
    """
    cell = _TUPLE.sub(r"[\1]", _WRAPPED.sub(r"\1", cell.strip(" ")))
    if not _BEGINS_LIST.match(cell):
        return [part for part in re.split("[ \\t]+", cell) if part]
    with contextlib.suppress(ValueError, RecursionError, SyntaxError, MemoryError):
        is_python = re.match(r"\[\s*[(\[{]", cell) and "'" in cell  # lists of tuples, lists or dictionaries
        value = ast.literal_eval(cell) if is_python else json.loads(cell)
        if isinstance(value, list):
            return [list(item) if isinstance(item, tuple) else item for item in value]
    if not _LIST.fullmatch(cell):
        raise MisfitError(f"no list of words or tags: {describe(cell)}", 'write lists as ["New", "York"], in whole')
    try:
        return [ast.literal_eval(item) for item in _ITEMS.findall(cell)]
    except (ValueError, SyntaxError):
        raise MisfitError(f"no strings: {describe(cell)}", "correct their escapes") from None
