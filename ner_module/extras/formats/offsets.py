"""How tools count the characters of a text; offsets that are counted otherwise are told, and read.

Where spans carry quotes, these decide, text by text. Without, each way to count is weighed over the whole file: by the
spans that fit whole words only so, and by those that do only as they stand. A file in which nearly all speak for
another way is refused, and ``--data.span_offsets`` says which way it is.

========================  ============================================================================================
``exclusive``             characters from 0, the end is the first one after the span: as they stand
``inclusive``             the end is the last character
``from_one``              both are one too large
``from_one_inclusive``    the first character is 1, the end is the last one
``utf16``                 UTF-16 units, as JavaScript counts: two for an emoji
``bytes``                 UTF-8 bytes
``crlf_as_one``           a line end of two characters counts as one
``lf_as_two``             a line end of one character counts as two
``nfc, nfd``              as if the text were in that Unicode form
``quotes``                only roughly right: each span is where its quote is nearest
``words``                 beside a list of tokens: words, the end exclusive
``words_inclusive``       the same, the end is the last word
========================  ============================================================================================
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unicodedata import normalize

import regex

from ner_module.data.formats.cells import MisfitError, describe
from ner_module.data.formats.char_spans import CharSpan, check_spans, fits_text
from ner_module.errors import DataError


def _composed(text: str) -> list[int]:
    clusters = regex.findall(r"\X", text)
    return [size for each in clusters for size in (len(normalize("NFC", each)), *[0] * (len(each) - 1))]


_SHIFTS = {"inclusive": (0, 1), "from_one": (-1, -1), "from_one_inclusive": (-1, 0)}
_SIZES: dict[str, Callable[[str], list[int]]] = {  # of each character
    "utf16": lambda text: [1 + (char > "\uffff") for char in text],
    "bytes": lambda text: [len(char.encode("utf-8", "surrogatepass")) for char in text],
    "crlf_as_one": lambda text: [int(pair != ("\r", "\n")) for pair in zip(text, text[1:] + " ", strict=False)],
    "lf_as_two": lambda text: [1 + (two[1] == "\n" and two[0] != "\r") for two in zip(" " + text, text, strict=False)],
    "nfc": _composed,
    "nfd": lambda text: [len(normalize("NFD", char)) for char in text],
}
_COUNTED = (*_SHIFTS, *_SIZES)
_WAYS = ("auto", "exclusive", *_COUNTED, "quotes", "words", "words_inclusive")
_TAG = re.compile(r"[BIESLUM][-_].+")


def convert(text: str, spans: Sequence[CharSpan], way: str) -> list[CharSpan]:
    """Spans that are counted in some way, in characters; -1 for a place that is none."""
    if way in _SHIFTS:
        start, end = _SHIFTS[way]
        return [span._replace(start=span.start + start, end=span.end + end) for span in spans]
    place = {size: index for index, size in enumerate(itertools.accumulate(_SIZES[way](text), initial=0))}
    return [span._replace(start=place.get(span.start, -1), end=place.get(span.end, -1)) for span in spans]


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
        self._has_tags = False
        self._unclear: tuple[int, str] | None = None  # a type that looks like a tag, before that was sure

    def settle(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan], line: int) -> list[CharSpan]:
        """The spans of a text as they are meant; refuses those that cannot be."""
        quoted, auto = any(span.quote is not None for span in spans), self._way == "auto"
        if self._way in _COUNTED:
            spans = convert(text, spans, self._way)
        elif self._way == "quotes":
            places = [find_quote(text, span.quote, span.start) if span.quote else span[:2] for span in spans]
            spans = [span._replace(start=at[0], end=at[1]) for span, at in zip(spans, places, strict=True)]
        elif auto and not quoted:
            self._weigh(text, words, spans, line)
        elif auto and not all(fits_text(text, span) for span in spans):
            for way in _COUNTED:
                found = convert(text, spans, way)
                if all(_is_exact(text, span) for span in found):
                    self._quoted.setdefault(way, line)
                    spans = found
                    break
        try:
            return self._merge(text, check_spans(text, spans), line)
        except MisfitError as misfit:
            problem, advice = misfit.args
            if hint := self._hint(1):
                problem, advice = f"{problem}: {hint[1]}", hint[2].partition(",")[0]
            elif auto and quoted:
                advice = "offsets and text do not belong together: mend them, or take --data.span_offsets quotes"
            elif self._way in _COUNTED:
                problem = f"counted as {self._way}, {problem}"
            raise MisfitError(problem, advice) from None

    def _weigh(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan], line: int) -> None:
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        fits = []
        for start, end, _, _ in spans:  # as they stand, without white space at their ends
            marked = text[max(start, 0) : max(end, 0)]
            inner = start + len(marked) - len(marked.lstrip()), end - len(marked) + len(marked.rstrip())
            fits.append(inner[0] in starts and inner[1] in ends and start < end)
        for way in _SHIFTS if text.isascii() and "\n" not in text else _COUNTED:
            for fit, (start, end, _, _) in zip(fits, convert(text, spans, way), strict=True):
                fits_so = start in starts and end in ends and start < end
                if fits_so and not fit:
                    self._only_so[way].append(line)
                self._only_else[way] += fit and not fits_so

    def _hint(self, least: int) -> tuple[int, str, str] | None:
        """The line where another way to count begins to show, what it looks like and what to do."""
        way = max(_COUNTED, key=lambda way: len(self._only_so[way]))
        lines, other = self._only_so[way], self._only_else[way]
        if len(lines) < max(least, 4 * other):
            return None
        problem = f"the offsets look like {way}: counted so {len(lines):,} more spans fit whole words, {other:,} fewer"
        return lines[0], problem, f"set --data.span_offsets {way}, or exclusive to read them as they stand"

    def finish(self, path: Path) -> str | None:
        """What is to be said; refuses offsets, and types, that all together must mean something else."""
        if hint := self._hint(2):
            raise DataError(path, *hint)
        if self._has_tags and self._unclear is not None:
            line, name = self._unclear
            advice = "put a text with both a B- and an I- of one type first, or leave out the prefixes"
            raise DataError(path, line, f"the type {name!r} is a tag of a word, as a later text shows", advice)
        ways = ", ".join(f"{way} (first at line {line})" for way, line in self._quoted.items())
        return f"offsets are counted as the quotes say: {ways}" if ways else None

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


def _is_exact(text: str, span: CharSpan) -> bool:
    """Whether a span stands where its quote does, without white space around it."""
    marked = text[max(span.start, 0) : max(span.end, 0)]
    return fits_text(text, span) and (marked == marked.strip() or marked == span.quote)
