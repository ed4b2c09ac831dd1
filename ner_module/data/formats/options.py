"""What every reader shares: its options, the usual names of columns, the cells of tags, and errors without a line yet.

Which tags are *likely misspelt* can only be said of a whole corpus: `data/tag_spelling.py`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_module.errors import DataError
from ner_module.tagging import has_prefix

# The usual names of columns and keys, the preferred one first. Columns of tables compare in lower case.
WORDS = ("tokens", "words", "token", "word", "form")
TAGS = (
    *("ner_tags", "tags", "labels", "ner_labels", "label", "ner"),
    *("bio_tags", "tag", "ner_tag", "ner_label", "iob", "bio"),
)
TEXTS = ("text", "sentence", "content")
WORD_SPANS = ("entities", "spans")
"""Spans counted in words, beside a list of words."""
CHAR_SPANS = ("spans", "entities", "label", "labels", "annotations", "ner")
"""Spans counted in characters, beside a text."""
SENTENCE_IDS = ("sentence_id", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sentence no", "sent #")
DOCUMENTS = ("document", "document_id", "doc_id")

NAME_COLUMNS = "name the columns with --data.text_column_name and --data.label_column_name"
_NUMBER = re.compile(r"-?[0-9]{1,6}")
_INTEGER_TAG = re.compile(r"-?[0-9]{1,9}")
# A real inventory has hundreds of tags at most; a column of words passes this within a few pages.
_MAX_TAGS = 5_000


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is read; the fields are the options ``--data.…`` of the same names.

    Attributes:
        format: one of ``FORMATS``, or ``auto`` to detect it from the file.
        encoding: of text files; ``None`` is UTF-8, with or without byte order mark.
        text_column_name: where the words (or the text) are: a key or column name, or the number of a column from 0,
            from the end if negative. ``None``: the usual names; in column files the first column.
        label_column_name: where the tags (or the spans) are, likewise; in column files the last column.
        label_names: names of integer tags.
        tagged: whether tags are wanted. Without them, files of words only, raw text (``.txt``, one sentence a line)
            and JSONL with tokens or text are read too, and each line of a text or JSONL file yields one sentence, an
            empty line one without words.
    """

    format: str = "auto"
    encoding: str | None = None
    text_column_name: str | None = None
    label_column_name: str | None = None
    label_names: tuple[str, ...] | None = None
    tagged: bool = True

    @classmethod
    def of(cls, options: Any, tagged: bool) -> ReadingOptions:
        """From the arguments of ``NERDataModule``, or a mapping of the same names."""
        names = tuple(options["label_names"]) if options["label_names"] else None
        columns = options["text_column_name"], options["label_column_name"]
        return cls(options["format"], options["encoding"], *columns, names, tagged)

    @property
    def names_asked_for(self) -> list[str]:
        """The columns that are asked for by name, not by number; in lower case."""
        asked = (self.text_column_name, self.label_column_name)
        return [name.lower() for name in asked if name is not None and not _NUMBER.fullmatch(name)]


class MisfitError(Exception):
    """A problem and an advice; the reader makes a :class:`DataError` of it, which names file and line."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)


@contextmanager
def errors_at(path: Path, line: int | None) -> Iterator[None]:
    """Turn a misfit in the block into a :class:`DataError` at this line."""
    try:
        yield
    except MisfitError as misfit:
        raise DataError(path, line, *misfit.args) from None


def first_in(names: Iterable[str], holder: Container[str]) -> str | None:
    """The first of the names that a record or header has."""
    return next((name for name in names if name in holder), None)


def find_column(
    asked: str | None, usual: Iterable[str], names: Sequence[str], width: int, default: int | None = None
) -> int:
    """The number of a column: the one asked for by name or number, else one with a usual name, else ``default``.

    ``names`` are the columns' names in lower case, empty when they have none.

    Raises:
        MisfitError: there is no such column.

    >>> find_column(None, TAGS, ["word", "pos", "tag"], 3), find_column("-1", TAGS, [], 4)
    (2, 3)
    """
    known = f"there are {', '.join(map(repr, names[:12]))}" if names else "they have no names"
    advice = f"{NAME_COLUMNS} ({known}; a number counts from 0)"
    if asked is None:
        name = first_in(usual, names)
        if name is None and default is None:
            raise MisfitError(f"no column is called {', '.join(usual)}", advice)
        return names.index(name) if name is not None else (default or 0) % width
    if asked.lower() in names:
        return names.index(asked.lower())
    if _NUMBER.fullmatch(asked):
        if -width <= int(asked) < width:
            return int(asked) % width
        raise MisfitError(f"column {asked} was asked for, the line has {width}", "count columns from 0")
    raise MisfitError(f"there is no column {asked!r}", advice)


class TagCells:
    """Reads the tag cells of one file, each distinct cell once: integers get their names, what is no tag is refused."""

    def __init__(self, label_names: tuple[str, ...] | None = None) -> None:
        self.label_names = label_names
        self.known: dict[object, str] = {}
        """Cell -> tag, for readers that look up the usual case themselves."""

    def read(self, cell: object) -> str:
        """The tag of a cell: a string, or an integer with ``label_names``.

        Raises:
            MisfitError: the cell holds no tag.
        """
        if type(cell) is not str and type(cell) is not int:
            advice = "tags are strings, or integers with --data.label_names"
            raise MisfitError(f"a tag is {describe(cell)}", advice)
        if cell in self.known:
            return self.known[cell]
        names = self.label_names
        tag = cell.strip(" \t\r") if isinstance(cell, str) else str(cell)
        if isinstance(cell, int) or (names is not None and tag not in names and _INTEGER_TAG.fullmatch(tag)):
            if names is None:
                raise MisfitError(f"the tag {tag} is an integer without a name", "name them with --data.label_names")
            if not 0 <= int(tag) < len(names):
                problem = f"the tag {int(tag)} is not among the names, which are 0 to {len(names) - 1}"
                raise MisfitError(problem, "correct the tag or complete --data.label_names")
            tag = names[int(tag)]
        elif not tag:
            raise MisfitError("the tag is empty", "write O for a word outside any entity")
        elif tag[0] in "BIESLUO" and tag[1:] in ("-", "_"):
            raise MisfitError(f"the tag {tag!r} names no entity type", "write it out, as in B-PER")
        elif not tag.isprintable() or (" " in tag and not has_prefix(tag)):
            problem = f"the tag {tag!r} holds white space or control characters"
            raise MisfitError(problem, "name the tag column, or correct it")
        elif len(self.known) >= _MAX_TAGS:
            problem = f"the tag column holds more than {_MAX_TAGS:,} different values, as a column of words would"
            raise MisfitError(problem, NAME_COLUMNS)
        self.known[cell] = tag
        return tag

    def read_all(self, cells: Iterable[object]) -> list[str]:
        """The tags of a sentence; a misfit says at which word."""
        tags: list[str] = []
        try:
            for cell in cells:
                tags.append(self.read(cell))
        except MisfitError as misfit:
            problem, advice = misfit.args
            raise MisfitError(f"{problem} (word {len(tags) + 1} of the sentence)", advice) from None
        return tags


def describe(value: object) -> str:
    """A value of parsed data in a few words, for messages.

    >>> describe([1, 2]), describe("x" * 50), describe(None)
    ('a list of 2', "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object with " + (", ".join(map(repr, list(value)[:8])) or "no keys")
    text = repr(value)
    return text if len(text) <= 32 else text[:30] + "…" + text[-1]
