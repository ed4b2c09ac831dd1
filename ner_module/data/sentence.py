"""One sentence, the common output of all readers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Sentence:
    """A sequence of words that is tagged as a whole: a sentence, a line of text or a whole document.

    Attributes:
        tokens: the words.
        tags: one tag per word as spelt in the file (IOB2 for character spans); ``None`` if tags were not requested.
        line: the line of the first word in its file, from 1; the row in Parquet files and `datasets` folders.
        document: identity of its document; ``None`` if unknown.
        text: the raw text, if the source has it.
        offsets: start and end (exclusive) of each word in ``text``, in characters.
        word_per_line: word ``i`` is on line ``line + i`` of the file (contiguous sentences of column files).
        id: the id of a record for ``predict``.
    """

    tokens: list[str]
    tags: list[str] | None = None
    line: int = 0
    document: str | None = None
    text: str | None = None
    offsets: list[tuple[int, int]] | None = None
    word_per_line: bool = False
    id: str | int | None = None

    def line_of(self, word: int) -> int:
        """The line of a word, or of its sentence if all words share one."""
        return self.line + word if self.word_per_line else self.line
