"""What every reader is given: its options, and where columns are by their usual names."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, fields
from typing import Any

from ner_module.data.formats.files import MAX_RECORD

# The usual names of columns and keys, the preferred one first. Columns of tables compare in lower case.
WORDS = ("tokens", "words", "token", "word", "form")
TAGS = (
    *("ner_tags", "tags", "labels", "ner_labels", "label", "ner"),
    *("bio_tags", "tag", "ner_tag", "ner_label", "iob", "bio"),
)
TEXTS = ("text", "sentence", "content", "data")
DOCUMENTS = ("document", "document_id", "doc_id")
NUMBER = re.compile(r"-?[0-9]{1,6}")
"""A column by its number from 0, or from the end."""


@dataclass(frozen=True)
class ReadingOptions:
    """How a file is read: the options ``--data.…`` of the same names, and whether it is annotated.

    Attributes:
        format: one of ``FORMATS``, or ``auto`` to detect it from the file.
        text_column_name, label_column_name: a key or column name, or the number of a column from 0, from the end if
            negative. ``None``: the usual names.
        span_offsets: a name of `extras/formats/offsets.py`; ``auto`` is ``exclusive`` where nothing speaks against it.
        outside_label: no reader's concern.
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
        return [name.lower() for name in asked if name is not None and not NUMBER.fullmatch(name)]


def first_in(names: Iterable[str], holder: Container[str]) -> str | None:
    """The first of the names that a record or header has."""
    return next((name for name in names if name in holder), None)
