"""How files are read: the options that every reader gets whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
