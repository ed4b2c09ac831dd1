"""What every reader is given: its options, and where columns are by their usual names."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ner_module.data.formats.cells import NAME_COLUMNS, MisfitError
from ner_module.data.formats.files import MAX_RECORD

# The usual names of columns and keys, the preferred one first. Columns of tables compare in lower case.
WORDS = ("tokens", "words", "token", "word", "form")
TAGS = (
    *("ner_tags", "tags", "labels", "ner_labels", "label", "ner"),
    *("bio_tags", "tag", "ner_tag", "ner_label", "iob", "bio"),
)
TEXTS = ("text", "sentence", "content")
DOCUMENTS = ("document", "document_id", "doc_id")
_NUMBER = re.compile(r"-?[0-9]{1,6}")


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
        span_offsets: how offsets of spans are counted: a name of `extras/formats/offsets.py`; ``auto`` is ``exclusive``
            where nothing speaks against it.
        outside_label: the tag of words outside any entity, where it is not ``O``; no reader's concern.
        max_record_mb: the longest line, row, record or sentence, in MiB of characters.
        tagged: whether tags are wanted. Without them, words and raw text alone are read too, and each line of a text or
            JSONL file yields one sentence, an empty line one without words.
    """

    format: str = "auto"
    encoding: str | None = None
    text_column_name: str | None = None
    label_column_name: str | None = None
    label_names: tuple[str, ...] | None = None
    tagged: bool = True
    max_record_mb: int = MAX_RECORD >> 20
    span_offsets: str = "auto"
    outside_label: str | None = None

    @classmethod
    def of(cls, options: Any, tagged: bool) -> ReadingOptions:
        """From the arguments of ``NERDataModule``, or a mapping of the same names."""
        chosen = {each.name: options[each.name] for each in fields(cls) if each.name != "tagged"}
        chosen["label_names"] = tuple(chosen["label_names"] or ()) or None
        return cls(**chosen, tagged=tagged)

    @property
    def max_record(self) -> int:
        """The longest record in characters."""
        return self.max_record_mb << 20

    @property
    def names_asked_for(self) -> list[str]:
        """The columns that are asked for by name, not by number; in lower case."""
        asked = (self.text_column_name, self.label_column_name)
        return [name.lower() for name in asked if name is not None and not _NUMBER.fullmatch(name)]


def first_in(names: Iterable[str], holder: Container[str]) -> str | None:
    """The first of the names that a record or header has."""
    return next((name for name in names if name in holder), None)


def find_columns(
    options: ReadingOptions,
    names: Sequence[str],
    width: int,
    usual: tuple[Sequence[str], Sequence[str]],
    default: tuple[int | None, int | None],
) -> tuple[int, int | None]:
    """The numbers of the columns of words and of tags: as asked for by name or number, else by their usual names.

    ``names`` are in lower case, none when the columns have none; ``default`` are the numbers where no name says more,
    ``None`` where there must be a name. Without tags, the second number is ``None``.

    Raises:
        MisfitError: there is no such column, or both are the same.

    >>> find_columns(ReadingOptions(text_column_name="-2"), ["word", "pos", "tag"], 3, (WORDS, TAGS), (0, None))
    (1, 2)
    """
    text = _column(options.text_column_name, names, width, usual[0], default[0])
    if not options.tagged:
        return text, None
    label = _column(options.label_column_name, names, width, usual[1], default[1])
    if label == text:
        problem = "the line has a single column" if width == 1 else f"words and tags are both column {text}"
        otherwise = "set --data.format csv where commas or semicolons separate" if width == 1 else NAME_COLUMNS
        raise MisfitError(f"{problem}, so there are no tags", f"add the tags, or {otherwise}")
    return text, label


def _column(asked: str | None, names: Sequence[str], width: int, usual: Sequence[str], default: int | None) -> int:
    if asked is not None and _NUMBER.fullmatch(asked):
        if not -width <= int(asked) < width:
            raise MisfitError(f"column {asked} was asked for, the line has {width}", "count columns from 0")
        return int(asked) % width
    if name := first_in(usual if asked is None else (asked.lower(),), names):
        return names.index(name)
    if asked is None and default is not None:
        return default % width
    problem = f"there is no column {asked!r}" if asked is not None else f"no column is called {', '.join(usual)}"
    known = f"there are {', '.join(map(repr, names[:12]))}" if names else "they have no names"
    raise MisfitError(problem, f"{NAME_COLUMNS} ({known}; a number counts from 0)")
