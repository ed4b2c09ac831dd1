"""One sentence as the rest of the project sees it: what every reader yields, whatever the file looked like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Sentence:
    """A sequence of words that is tagged as a whole: a sentence, a line of text or a whole document.

    Attributes:
        tokens: the words.
        tags: one tag per word as the file spells it (IOB2 where the file held character spans); ``None`` when no tags
            were wanted.
        line: that of the first word in its file, from 1; the row in Parquet files and `datasets` folders.
        document: identity of the document it belongs to; ``None`` where the file does not say.
        text: the raw text, when the source had it.
        offsets: start and end (exclusive) of each word in ``text``, in characters.
        word_per_line: word ``i`` is on line ``line + i`` of the file (unbroken sentences of column files).
        id: what a record to predict calls itself.
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
        """The line of a word, or of its sentence where all words share one."""
        return self.line + word if self.word_per_line else self.line
