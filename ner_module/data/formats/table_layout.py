"""Tells what the columns of a table hold: words, tags, sentence ids, and whether a row is a word or a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ner_module.data.formats.records import DOCUMENT_KEYS, TAG_KEYS, TEXT_KEYS, TOKEN_KEYS
from ner_module.errors import DataError

_WORD_NAMES = (*TOKEN_KEYS, "form", *TEXT_KEYS)
_TAG_NAMES = (*TAG_KEYS, "ner_tag", "ner_label", "iob", "bio")
_SENTENCE_NAMES = ("sentence_id", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sentence no", "sent #")
# Columns of these names hold more than one word a row.
_PLURAL_NAMES = ("tokens", "words", *TEXT_KEYS)

_INTEGER = re.compile(r"-?[0-9]{1,6}")


@dataclass(frozen=True)
class TableLayout:
    """The columns of a table, by number.

    Attributes:
        names: the header, lower case; empty when there is none.
        width: the number of columns.
        text: words, tokens or text.
        label: tags; ``None`` when none are wanted.
        sentence: an id that changes, or is filled, where a sentence begins; ``None`` without such a column.
        document: identity of the document, likewise.
        by_sentence: a row is a sentence, not a word.
    """

    names: tuple[str, ...]
    width: int
    text: int
    label: int | None
    sentence: int | None
    document: int | None
    by_sentence: bool

    @property
    def splits_at_spaces(self) -> bool:
        """Whether a cell of words that is no list is cut at spaces even without tags (else it is raw text)."""
        return bool(self.names) and self.names[self.text] in TOKEN_KEYS


def known_header(line: str, separator: str, names: Sequence[str]) -> bool:
    """Whether a line names the columns of a table: asked-for names, or usual ones of words and of tags.

    >>> known_header("Sentence #,Word,POS,Tag", ",", []), known_header("word O", " ", [])
    (True, False)
    """
    return _is_header([cell.strip(' "') for cell in line.split(separator)], names)


def _is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    lower = [cell.strip().lower() for cell in cells]
    if len(lower) > 1 and any(name.lower() in lower for name in names):
        return True
    return any(name in lower for name in _WORD_NAMES) and any(name in lower for name in _TAG_NAMES)


def find_table_layout(
    path: Path,
    rows: Sequence[tuple[int, list[str]]],
    text_column_name: str | None,
    label_column_name: str | None,
    tagged: bool,
) -> TableLayout:
    """The layout of a table that begins with ``rows`` (line, cells); a recognised header is the first of them.

    Raises:
        DataError: a column that was asked for, or one of words or tags, is not there.
    """
    line, first = rows[0]
    asked = [
        name for name in (text_column_name, label_column_name) if name is not None and not _INTEGER.fullmatch(name)
    ]
    lower = tuple(cell.strip().lower() for cell in first)
    alone = not tagged and any(name in lower for name in _WORD_NAMES)
    names = lower if asked or alone or _is_header(first, asked) else ()
    width = len(first)
    usual_names = {*_WORD_NAMES, *_TAG_NAMES, *_SENTENCE_NAMES}
    if not names and text_column_name is None and label_column_name is None and usual_names.intersection(lower):
        advice = "name the columns with --data.text_column_name and --data.label_column_name (a number counts from 0)"
        problem = f"the header {first[:12]} does not name a column of words and one of tags as usual"
        raise DataError(path, line, problem, advice)

    def choose(asked_name: str | None, usual: Sequence[str], default: int, what: str) -> int:
        if asked_name is not None and _INTEGER.fullmatch(asked_name):
            if -width <= int(asked_name) < width:
                return int(asked_name) % width
        elif not names:
            return default % width
        else:
            wanted = [asked_name.lower()] if asked_name is not None else usual
            if found := [names.index(name) for name in wanted if name in names]:
                return found[0]
        problem = f"there is no column {asked_name!r}" if asked_name is not None else f"no column of {what} is named"
        listed = ", ".join(repr(cell) for cell in first[:12])
        advice = f"name the columns with --data.text_column_name and --data.label_column_name (there are {listed})"
        raise DataError(path, line, problem, advice)

    text = choose(text_column_name, _WORD_NAMES, 0, "words")
    label = choose(label_column_name, _TAG_NAMES, -1, "tags") if tagged else None
    if label == text:
        advice = "name two with --data.text_column_name and --data.label_column_name"
        raise DataError(path, line, f"words and tags would be the same column, {text}", advice)
    sentence = next((names.index(name) for name in _SENTENCE_NAMES if name in names), None)
    document = next((names.index(name) for name in DOCUMENT_KEYS if name in names), None)
    if names and names[text] in _PLURAL_NAMES:
        by_sentence = True
    else:
        body = [cells for _, cells in (rows[1:] if names else rows) if len(cells) == width]
        by_sentence = sentence is None and any(_is_sentence(cells, text, label) for cells in body)
    return TableLayout(names, width, text, label, sentence, document, by_sentence)


def _is_sentence(cells: Sequence[str], text: int, label: int | None) -> bool:
    """Whether a row holds a list, or as many tags as words (a single tag may hold a space)."""
    words = cells[text].strip()
    tags = words if label is None else cells[label].strip()
    return (tags.startswith("[") and len(tags) > 1) or (" " in tags and len(tags.split()) == len(words.split()))
