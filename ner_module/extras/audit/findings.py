"""Problems and remarks about data, in one form for terminal, JSON and messages; numbers and excerpts in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

_CONTEXT = 10  # words on each side
_LONGEST = 100  # characters

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Example:
    """One place in the data: the file, the line (``None`` where it has no lines), and the text there."""

    file: str
    line: int | None
    text: str

    @property
    def place(self) -> str:
        """``file:line``, which terminals and editors turn into a link."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """One kind of problem or remark.

    Attributes:
        code: the kind, for programs; stable between versions.
        severity: ``error`` stops a training or makes it worthless, ``warning`` costs score or makes scores wrong,
            ``info`` is worth knowing.
        count: how many cases (words, sentences, entities or forms: the message says which).
        message: one sentence for people.
        example: the first case, where one can be shown.
        advice: what to do.
        details: further cases and numbers for programs; plain data.
    """

    code: str
    severity: Severity
    count: int
    message: str
    example: Example | None
    advice: str
    details: list[dict[str, Any]] | None = None

    def line(self) -> str:
        """The finding in one line, with its place."""
        place = f"{self.example.place}: " if self.example else ""
        return f"{place}{self.message}; {self.advice}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun, or with a noun and its verb.

    >>> plural(1, "sentence"), plural(1200, "sentence"), plural(2, "entity"), plural(2, "word is", "words are")
    ('1 sentence', '1,200 sentences', '2 entities', '2 words are')
    """
    if count == 1:
        return f"1 {one}"
    return f"{count:,} {many or (f'{one[:-1]}ies' if one.endswith('y') else f'{one}s')}"


def share(part: int, whole: int) -> str:
    """A share as people read it; never 0 % of something.

    >>> share(1, 3), share(1, 5000), share(0, 0)
    ('33 %', '0.02 %', '0 %')
    """
    percent = 100 * part / max(whole, 1)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.2g} %"


def excerpt(tokens: Sequence[str], start: int = 0, end: int = 0) -> str:
    r"""The words of a sentence around those from ``start`` to ``end``, which are put in brackets.

    Invisible characters are written as escapes, so that an example shows what is wrong.

    >>> excerpt(["He", "left", "New", "York", "."], 2, 4)
    'He left [New York] .'
    >>> excerpt(["zero\u200bwidth", ""], 1, 2)
    'zero\\u200bwidth []'
    >>> excerpt([*"abcdefghijklmnopqrstuvwxyz"], 12, 13)
    '… c d e f g h i j k l [m] n o p q r s t u v w …'
    """
    first, last = max(start - _CONTEXT, 0), max(end, start) + _CONTEXT
    before, marked, after = (_visible(part) for part in (tokens[first:start], tokens[start:end], tokens[end:last]))
    words = [*before, f"[{_shortened(' '.join(marked))}]", *after] if end > start else [*before, *after]
    return " ".join([*["…"] * (first > 0), *words, *["…"] * (last < len(tokens))])


def _visible(words: Sequence[str]) -> list[str]:
    escaped = ("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in word) for word in words)
    return [_shortened(word) for word in escaped]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
