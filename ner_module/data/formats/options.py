"""What every reader shares: the options it gets whole, and what columns and keys are usually called."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
NUMBER = re.compile(r"-?[0-9]{1,6}")
"""A column that is named by its number, from 0 or from the end."""
MANY_WORDS = ("tokens", "words", *TEXTS)
"""Columns of a table that hold more than one word a row."""


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
    def column_names(self) -> list[str]:
        """The columns asked for, of words and of tags."""
        return [name for name in (self.text_column_name, self.label_column_name) if name is not None]


def first_in(names: Iterable[str], holder: Container[str]) -> str | None:
    """The first of the names that a record or header has."""
    return next((name for name in names if name in holder), None)


def is_header(cells: Sequence[str], asked: Iterable[str]) -> bool:
    """Whether cells name the columns of a table: asked-for names, or usual ones of words and of tags.

    >>> is_header(["Sentence #", "Word", "POS", "Tag"], []), is_header(["word", "O"], [])
    (True, False)
    """
    lower = [cell.strip().lower() for cell in cells]
    if len(lower) > 1 and any(name.lower() in lower for name in asked if not NUMBER.fullmatch(name)):
        return True
    return first_in((*WORDS, *TEXTS), lower) is not None and first_in(TAGS, lower) is not None
