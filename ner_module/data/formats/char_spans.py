"""Character spans of annotated text -> tags of its words, by a stated policy that counts what it changes.

Annotation tools let people mark any stretch of characters; a tagger sees words. The policy:

* a span that starts or ends inside a word is **expanded** to whole words; white space at its ends does not count;
* of spans that overlap or nest, the **longest wins** (in characters; then the first), the others are dropped;
* a span that holds no word, and one in several pieces (brat, discontinuous), is dropped;
* a span that occurs twice is one.

Each case is counted in :class:`SpanCounts`. Spans outside the text, or whose quote differs, are errors. Tags are IOB2.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from ner_module.data.formats.cells import MisfitError, describe
from ner_module.tagging import OUTSIDE, join_tag

DISCONTINUOUS = "span in several pieces"


class CharSpan(NamedTuple):
    """A marked stretch of text, in characters; ``quote`` is its text as the file repeats it, if it does."""

    start: int
    end: int
    entity_type: str
    quote: str | None = None


@dataclass
class SpanCounts:
    """Outcomes of the annotated spans (and, where tools export them, of the texts)."""

    spans: int = 0  # all that were read
    kept: int = 0  # those that the tags hold, expanded ones among them
    expanded: int = 0  # kept, but widened to whole words
    nested: int = 0  # dropped: inside a longer span
    overlapping: int = 0  # dropped: crosses a longer span
    duplicate: int = 0  # dropped: the same stretch and type again
    without_word: int = 0  # dropped: empty or white space only
    discontinuous: int = 0  # dropped: in several pieces
    left_out: Counter[str] = field(default_factory=Counter)  # texts and annotations that are not read, by reason
    first_change: tuple[str, int] | None = field(default=None, compare=False)  # its file and line; no duplicate's
    notes: list[tuple[str, str, bool]] = field(default_factory=list, compare=False)  # see `say`

    def say(self, path: Path | str, note: str, is_surprise: bool = False) -> None:
        """Note how a file is read, and whether that may come as a surprise."""
        self.notes.append((str(path), note, is_surprise))

    @property
    def is_clean(self) -> bool:
        """Whether every span of every text was kept unchanged."""
        return self.kept == self.spans and not (self.expanded or self.left_out)

    def add(self, path: Path, of_file: SpanCounts) -> None:
        """Count the outcomes of a further file, which are noted if there is any change."""
        if not of_file.is_clean:
            of_file.say(path, of_file.summary())
        for name, value in vars(of_file).items():
            before = getattr(self, name)
            setattr(self, name, (before or value) if name == "first_change" else before + value)

    def leave_out(self, reason: str) -> None:
        """Count something that was left out by its reason."""
        if reason == DISCONTINUOUS:
            self.spans += 1
            self.discontinuous += 1
        else:
            self.left_out[reason] += 1

    def note(self, path: Path, line: int) -> None:
        """Remember the place when something was changed there first; call it after each text."""
        changes = self.expanded or self.nested or self.overlapping or self.without_word or self.discontinuous
        if changes and self.first_change is None:
            self.first_change = str(path), line

    def summary(self) -> str:
        """One line: how many spans were read and kept, and what was changed.

        >>> SpanCounts(spans=10, kept=9, expanded=2, nested=1).summary()
        '10 spans read, 9 kept; expanded: 2, nested: 1'
        """
        compared = [each.name for each in fields(self)[2:] if each.compare and each.name != "left_out"]
        others = {name.replace("_", " "): getattr(self, name) for name in compared}
        changes = ", ".join(f"{name}: {count:,}" for name, count in (others | self.left_out).items() if count)
        return f"{self.spans:,} spans read, {self.kept:,} kept" + (f"; {changes}" if changes else "")


def tag_words(
    text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[CharSpan], counts: SpanCounts
) -> list[str]:
    """The IOB2 tags of the words at ``offsets`` (in order) from spans inside the text, in any order.

    >>> counts = SpanCounts()
    >>> tag_words("in New York-based", [(0, 2), (3, 6), (7, 17)], [CharSpan(3, 11, "LOC"), CharSpan(7, 11, "LOC")],
    ...           counts), counts.summary()
    (['O', 'B-LOC', 'I-LOC'], '2 spans read, 1 kept; expanded: 1, nested: 1')
    """
    counts.spans += len(spans)
    tags = [OUTSIDE] * len(offsets)
    owner: list[CharSpan | None] = [None] * len(offsets)
    seen: set[tuple[int, int, str]] = set()
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        first, end = bisect_left(offsets, span[:1]), bisect_left(offsets, span[1:2])
        first -= first > 0 and offsets[first - 1][1] > span.start
        if first >= end or span.start == span.end:
            counts.without_word += 1
        elif span[:3] in seen:
            counts.duplicate += 1
        elif rival := next(filter(None, owner[first:end]), None):
            is_inside = rival.start <= span.start and span.end <= rival.end
            counts.nested += is_inside
            counts.overlapping += not is_inside
        else:
            counts.kept += 1
            owner[first:end] = [span] * (end - first)
            tags[first:end] = [join_tag("I", span.entity_type)] * (end - first)
            tags[first] = join_tag("B", span.entity_type)
            counts.expanded += text[span.start : span.end].strip() != text[offsets[first][0] : offsets[end - 1][1]]
        seen.add(span[:3])
    return tags


def locate_words(tokens: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where the words of a text stand in it; ``None`` when they are not all of it but white space, in order."""
    offsets: list[tuple[int, int]] = []
    position = 0
    for token in tokens:
        start = text.find(token, position)
        if not token or start < 0 or text[position:start].strip():
            return None
        position = start + len(token)
        offsets.append((start, position))
    return None if text[position:].strip() else offsets


def check_spans(text: str, spans: list[CharSpan]) -> list[CharSpan]:
    """The spans in characters of ``text``; refuses one that leaves it, or whose quote is not what stands there."""
    for span in spans:
        if fits_text(text, span):
            continue
        start, end, entity_type, quote = span
        problem = f"the span {start} to {end} ({entity_type})"
        if not 0 <= start <= end <= len(text):
            problem = f"{problem} leaves the text of {len(text)} characters"
            raise MisfitError(problem, "correct its offsets (characters from 0, the end exclusive)")
        problem = f"{problem} is {describe(text[start:end])}, but the file quotes {describe(quote)}"
        raise MisfitError(problem, "offsets and text do not belong together; export them again")
    return spans


def fits_text(text: str, span: CharSpan) -> bool:
    """Whether a span is inside a text and stands where its quote does."""
    is_inside = 0 <= span.start <= span.end <= len(text)
    return is_inside and (span.quote is None or same_text(text[span.start : span.end], span.quote))


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same but for white space and their Unicode form."""
    return one.split() == other.split() or normalize("NFC", one).split() == normalize("NFC", other).split()


@lru_cache(1_000)
def check_type(name: str) -> str:
    """An entity type without white space around it; refuses one that cannot be written as part of a tag."""
    cleaned = name.strip()
    if not cleaned or not cleaned.isprintable():
        raise MisfitError(f"the entity type {name!r} is empty or has control characters", "rename it")
    return cleaned
