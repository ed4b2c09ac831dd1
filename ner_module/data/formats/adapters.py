"""The door for formats of tools: what an extra makes of their files and records, for the readers here.

The readers know plain layouts. An extra that offers ``formats`` (`offers.py`) turns what else there is into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ner_module.data.formats.options import ReadingOptions
from ner_module.offers import call_all


@dataclass
class AnnotatedText:
    """A text with its spans.

    Attributes:
        text: the text.
        spans: as records hold them: ``[start, end, type]``, or objects with such keys.
        words: start and end of each; ``None`` splits the text as `data/words.py` does.
        document: the identity of its document.
        left_out: why it is not read where tags are wanted; such texts are counted by this reason.
    """

    text: str
    spans: Sequence[Any] = ()
    words: list[tuple[int, int]] | None = None
    document: Any = None
    left_out: str | None = None


class Note(str):
    """How a file is read, for those who ask."""


Item: TypeAlias = Any
"""An annotated text, a sentence, a plain record, a note, or a string: what one thing is that was left out."""
Items: TypeAlias = Iterator[tuple[Path, int, Item]]
"""Each with its file and line."""


class FileFormat(NamedTuple):
    """Files of one kind: whether a path, whose file begins with this text, is one; and what is in it."""

    recognises: Callable[[Path, str], bool]
    read: Callable[[Path, ReadingOptions], Items]


class Formats(NamedTuple):
    """What an extra offers.

    Attributes:
        files: by the name of their format.
        adapt: what the records of any file, (line, JSON value) pairs, mean.
        offsets: of one file, counted as ``--data.span_offsets`` says, an object with ``settle`` and ``finish``.
    """

    files: Mapping[str, FileFormat]
    adapt: Callable[[Path, Iterable[tuple[int, Any]], ReadingOptions], Items]
    offsets: Callable[[str], Any]


def offered_formats() -> Formats | None:
    """What is offered by an extra, if one is there."""
    offered: list[Formats] = call_all("formats")
    return offered[0] if offered else None
