"""How tools count the characters of a text: other ways to count offsets are detected, and read on request.

Where spans carry quotes, these decide, text by text. Without, each way to count is weighed over the whole file: by the
spans that fit whole words only so, and by those that do only as they stand. A file in which nearly all speak for
another way is refused, and ``--data.span_offsets`` says which way it is; `docs/data.md` has what each of them means.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

from ner_module.data.formats.cells import MisfitError, describe
from ner_module.data.formats.char_spans import CharSpan, check_spans, fits_text
from ner_module.errors import DataError

_SHIFTS = {"inclusive": (0, 1), "from_one": (-1, -1), "from_one_inclusive": (-1, 0)}
# What is counted of a text, how large a unit of it is, and back to the text.
_FORMS: dict[str, tuple[Callable[[str], Any], int, Callable[[Any], str]]] = {
    "utf16": (lambda text: text.encode("utf-16-le"), 2, lambda units: units.decode("utf-16-le", "ignore")),
    "bytes": (str.encode, 1, partial(bytes.decode, errors="ignore")),
    "crlf_as_one": (lambda text: text.replace("\r\n", "\n"), 1, lambda text: text.replace("\n", "\r\n")),
    "lf_as_two": (lambda text: text.replace("\n", "\r\n"), 1, lambda text: text.replace("\r\n", "\n")),
    "nfc": (partial(normalize, "NFC"), 1, partial(normalize, "NFD")),
    "nfd": (partial(normalize, "NFD"), 1, partial(normalize, "NFC")),
}
_COUNTED = (*_FORMS, *_SHIFTS)
_WAYS = ("auto", "exclusive", *_COUNTED, "quotes", "words", "words_inclusive")
_FEW = 10  # fewer spans inside words say little
_TAG = re.compile(r"[BIESLUM][-_].+")


def convert(text: str, spans: Sequence[CharSpan], way: str) -> list[CharSpan]:
    """Spans that are counted in some way, in characters; -1 for a place that is none."""
    if way in _SHIFTS:
        start, end = _SHIFTS[way]
        return [span._replace(start=span.start + start, end=span.end + end) for span in spans]
    counted, unit, back = _FORMS[way]
    whole, places, ours, theirs = counted(text), {}, 0, 0
    for offset in sorted({at for span in spans for at in span[:2] if at >= 0}):
        step = back(whole[theirs * unit : offset * unit])
        if text.startswith(step, ours) and len(counted(step)) == (offset - theirs) * unit:
            ours, theirs = ours + len(step), offset
            places[offset] = ours
    return [span._replace(start=places.get(span.start, -1), end=places.get(span.end, -1)) for span in spans]


def find_quote(text: str, quote: str, near: int) -> tuple[int, int]:
    """Where a quote stands in a text, nearest to a place; its white space may differ."""
    found = re.finditer(r"\s+".join(map(re.escape, quote.split())) or "$.", text)
    places = [match.span() for match in found]
    if not places:
        raise MisfitError(f"the quote {describe(quote)} is not in the text", "correct it, or remove the span")
    return min(places, key=lambda place: abs(place[0] - near))


class CountedOffsets:
    """The offsets of one file, counted as ``--data.span_offsets`` says."""

    def __init__(self, way: str) -> None:
        if way not in _WAYS:
            problem = f"{way!r} is no way to count"
            raise DataError("--data.span_offsets", None, problem, f"choose among {', '.join(_WAYS)}")
        self._way = "exclusive" if way.startswith("words") else way
        self._quoted: dict[str, int] = {}  # way that quotes spoke for -> first line
        self._only_so: dict[str, list[int]] = {way: [] for way in _COUNTED}  # lines of spans that fit words only so
        self._only_else: Counter[str] = Counter()  # spans that fit words as they stand, and not if counted so
        self._fitting = 0  # more of these
        self._inside: list[int] = []  # lines of spans that begin and end inside words
        self._cut: dict[str, list[str]] = {"begin": [], "end": []}  # marks of which one end is inside a word
        self._seen = 0  # spans without quotes
        self._has_tags = False
        self._unclear: tuple[int, str] | None = None  # a type that looks like a tag, before that was sure

    def settle(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan], line: int) -> list[CharSpan]:
        """The spans of a text as they are meant; refuses those that cannot be."""
        auto = self._way == "auto"
        if self._way in _COUNTED:
            spans = convert(text, spans, self._way)
        elif self._way == "quotes":
            places = [find_quote(text, span.quote, span.start) if span.quote else span[:2] for span in spans]
            spans = [span._replace(start=at[0], end=at[1]) for span, at in zip(spans, places, strict=True)]
        quoted = any(span.quote is not None for span in spans)
        if auto and spans and not quoted:
            self._weigh(text, words, spans, line)
        try:
            return self._merge(text, check_spans(text, spans), line)
        except MisfitError as misfit:
            problem, advice = misfit.args
        for way in _COUNTED if auto and quoted else ():
            found = convert(text, spans, way)
            if all(_is_exact(text, span) for span in found):
                self._quoted.setdefault(way, line)
                return self._merge(text, found, line)
        if hint := self._hint(1):
            problem, advice = f"{problem}: {hint[1]}", hint[2].partition(",")[0]
        elif auto and quoted:
            advice = "offsets and text do not belong together: correct them, or set --data.span_offsets quotes"
        elif self._way in _COUNTED:
            problem = f"counted as {self._way}, {problem}"
        raise MisfitError(problem, advice)

    def _weigh(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan], line: int) -> None:
        def fits(start: int, end: int) -> bool:
            first, after = bisect_left(words, (start,)), bisect_left(words, (end,))
            return first < after and words[first][0] == start and words[after - 1][1] == end

        is_plain = text.isascii() and "\n" not in text
        as_it_stands = [fits(span.start, span.end) or fits(*_stripped(text, span)) for span in spans]
        self._seen += len(spans)
        if is_plain and all(as_it_stands):  # counts against all other ways, though a few would fit so, too
            self._fitting += len(spans)
            return
        starts, ends = ({word[side] for word in words} for side in (0, 1))
        for span, fit in zip(spans, as_it_stands, strict=True):
            start, end = _stripped(text, span)
            if not fit and (start not in starts) == (end not in ends):
                self._inside += [line] * (start not in starts)
            elif not fit:
                self._cut["end" if start in starts else "begin"].append(text[start:end])
        for way in _SHIFTS if is_plain else _COUNTED:
            if way in _FORMS and len(_FORMS[way][0](text)) == len(text) * _FORMS[way][1]:
                continue  # it makes no difference here
            for fit, (start, end, _, _) in zip(as_it_stands, convert(text, spans, way), strict=True):
                if fits(start, end) and not fit:
                    self._only_so[way].append(line)
                self._only_else[way] += fit and not fits(start, end)

    def _hint(self, least: int) -> tuple[int, str, str] | None:
        """The line where another way to count begins to show, what it looks like and what to do."""
        against = {way: self._only_else[way] + self._fitting * (way in _SHIFTS) for way in _COUNTED}
        way = max(_COUNTED, key=lambda way: len(self._only_so[way]) - 4 * against[way])
        lines, other = self._only_so[way], against[way]
        if len(lines) < max(least, 4 * other):
            return None
        problem = f"the offsets look like {way}: counted so {len(lines):,} more spans fit whole words, {other:,} fewer"
        return lines[0], problem, f"set --data.span_offsets {way}, or exclusive to read them as they stand"

    def finish(self, path: Path) -> str | None:
        """What is to be said; refuses offsets, and types, that all together must mean something else."""
        if hint := self._hint(2):
            raise DataError(path, *hint)
        if len(self._inside) >= max(_FEW, self._seen / 2):
            problem = f"{len(self._inside):,} of {self._seen:,} spans begin and end inside words, as shifted ones do"
            advice = "correct them, add their quotes, or set --data.span_offsets exclusive to read them as they are"
            raise DataError(path, self._inside[0], problem, advice)
        if self._has_tags and self._unclear is not None:
            line, name = self._unclear
            advice = "put a text with both a B- and an I- of one type first, or leave out the prefixes"
            raise DataError(path, line, f"the type {name!r} is a tag of a word, as a later text shows", advice)
        ways = ", ".join(f"{way} (first at line {line})" for way, line in self._quoted.items())
        notes = [f"offsets are counted as the quotes say: {ways}"] if ways else []
        for what, marked in self._cut.items():
            if len(marked) >= max(_FEW, self._seen / 2):
                shown = ", ".join(map(describe, dict.fromkeys(marked[:3])))
                problem = f"{len(marked):,} of {self._seen:,} spans {what} inside words"
                notes.append(f"{problem}, which are taken whole: {shown}")
        return "; ".join(notes) or None

    def _merge(self, text: str, spans: list[CharSpan], line: int) -> list[CharSpan]:
        """Types that are tags (B-PER, I-PER): a span for each entity, once a text shows that they are."""
        types = {span.entity_type for span in spans}
        if not types or not all(map(_TAG.fullmatch, types)):
            return spans
        self._has_tags = self._has_tags or len({name[2:] for name in types}) < len(types)
        if not self._has_tags:
            self._unclear = self._unclear or (line, spans[0].entity_type)
            return spans
        merged: list[CharSpan] = []
        for span in sorted(spans, key=lambda span: span[:2]):
            goes_on = span.entity_type[0] in "IELM" and merged and merged[-1].entity_type == span.entity_type[2:]
            if goes_on and not text[merged[-1].end : span.start].strip():
                merged[-1] = merged[-1]._replace(end=span.end)
            else:
                merged.append(span._replace(entity_type=span.entity_type[2:]))
        return merged


def _stripped(text: str, span: CharSpan) -> tuple[int, int]:
    """Start and end without the white space that is marked with a span."""
    marked = text[max(span.start, 0) : max(span.end, 0)]
    return span.start + len(marked) - len(marked.lstrip()), span.end - len(marked) + len(marked.rstrip())


def _is_exact(text: str, span: CharSpan) -> bool:
    """Whether a span stands where its quote does, without white space around it."""
    return fits_text(text, span) and (_stripped(text, span) == span[:2] or text[span.start : span.end] == span.quote)
