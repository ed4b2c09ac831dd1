"""The door for formats of tools: what an extra makes of their files and records, for the readers here.

The readers know plain layouts. An extra that offers ``formats`` (`offers.py`) turns what else there is into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ner_module.data.formats.options import ReadingOptions
from ner_module.data.sentence import Sentence
from ner_module.offers import call_all


@dataclass(slots=True)
class AnnotatedText:
    """A text with its spans."""

    text: str
    spans: Sequence[Any] = ()  # as records hold them: [start, end, type], or objects with such keys
    words: list[tuple[int, int]] | None = None  # start and end of each; None splits as `data/words.py` does
    document: str | None = None
    left_out: str | None = None  # why it is not read where tags are wanted; such texts are counted by this reason
    id: Any = None
    sentence: Sentence | None = None  # to be tagged, where the text was made of words


class Note(str):
    """How a file is read, for those who ask."""


Item: TypeAlias = Any
"""An annotated text, a sentence, a plain record, a note, or a string: what one thing is that was left out."""
Items: TypeAlias = Iterator[tuple[Path, int, Item]]
"""Each with its file and line."""


class FileFormat(NamedTuple):
    """Files of one kind."""

    recognises: Callable[[Path, str], bool]  # by path and the first text of the file
    read: Callable[[Path, ReadingOptions], Items]


class Formats(NamedTuple):
    """What an extra offers."""

    files: Mapping[str, FileFormat]  # by the name of their format
    adapt: Callable[[Path, Iterable[tuple[int, Any]], ReadingOptions], Items]  # (line, JSON value) pairs of any file
    offsets: Callable[[str], Any]  # --data.span_offsets -> for one file, an object with `settle` and `finish`


def offered_formats() -> Formats | None:
    """What is offered by an extra, if one is there."""
    return next(iter(call_all("formats")), None)
