"""How tools count the characters of a text, and how offsets that are counted otherwise are told and read.

Where a span carries its quote, the quote decides, text by text. Without quotes each way to count is weighed over the
whole file: by the spans that fit whole words only so, and by those that fit only as they stand. Where nearly all speak
for another way the file is refused, and ``--data.span_offsets`` says which way it is.

========================  ============================================================================================
``auto``                  as above
``exclusive``             characters from 0, the end is the first one after the span: as they stand
``inclusive``             the end is the last character of the span
``from_one``              both one too large
``from_one_inclusive``    the first character is 1, the end is the last character
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
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import regex

from ner_module.data.formats.cells import MisfitError, describe
from ner_module.data.formats.char_spans import CharSpan, check_spans, fits_text
from ner_module.errors import DataError

_SHIFTS = {"inclusive": (0, 1), "from_one": (-1, -1), "from_one_inclusive": (-1, 0)}


def _composed(text: str) -> list[int]:
    clusters = regex.findall(r"\X", text)
    return [size for each in clusters for size in (len(unicodedata.normalize("NFC", each)), *[0] * (len(each) - 1))]


_SIZES: dict[str, Callable[[str], list[int]]] = {  # of each character
    "utf16": lambda text: [1 + (char > "\uffff") for char in text],
    "bytes": lambda text: [len(char.encode("utf-8", "surrogatepass")) for char in text],
    "crlf_as_one": lambda text: [int(pair != "\r\n") for pair in map("".join, zip(text, text[1:] + " ", strict=True))],
    "lf_as_two": lambda text: [
        1 + (char == "\n" and last != "\r") for last, char in zip(" " + text, text, strict=False)
    ],
    "nfc": _composed,
    "nfd": lambda text: [len(unicodedata.normalize("NFD", char)) for char in text],
}
_COUNTED = (*_SHIFTS, *_SIZES)
WAYS = ("auto", "exclusive", *_COUNTED, "quotes", "words", "words_inclusive")

_TAG = re.compile(r"[BIESLUM][-_](.+)")


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


def _is_exact(text: str, span: CharSpan) -> bool:
    """Whether a span stands where its quote does, without white space around it."""
    marked = text[max(span.start, 0) : max(span.end, 0)]
    return fits_text(text, span) and (marked == marked.strip() or marked == span.quote)


class CountedOffsets:
    """The offsets of one file, counted as ``--data.span_offsets`` says."""

    def __init__(self, way: str) -> None:
        if way not in WAYS:
            advice = f"choose among {', '.join(WAYS)}"
            raise DataError("--data.span_offsets", None, f"{way!r} is no way to count", advice)
        self._way = "exclusive" if way.startswith("words") else way
        self._only_so: Counter[str] = Counter()  # way -> spans that fit words if they are counted so, and not else
        self._only_else: Counter[str] = Counter()  # way -> spans that fit words as they stand, and not if counted so
        self._has_tags = False
        self._unclear: str | None = None  # a type that looks like a tag, before that was sure

    def settle(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan]) -> list[CharSpan]:
        """The spans of a text as they are meant; refuses those that cannot be."""
        return self._merge(text, self._placed(text, words, spans))

    def _placed(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan]) -> list[CharSpan]:
        if self._way == "quotes":
            for index, (start, _, _, quote) in enumerate(spans):
                if quote is not None:
                    first, end = find_quote(text, quote, start)
                    spans[index] = spans[index]._replace(start=first, end=end)
        elif self._way in _COUNTED:
            found = convert(text, spans, self._way)
            outside = next((span for span, new in zip(spans, found, strict=True) if min(new[:2]) < 0), None)
            if outside is not None:
                problem = f"the span {outside.start} to {outside.end} ({outside.entity_type}) is no place of the text"
                raise MisfitError(f"{problem} counted as {self._way}", "correct it, or leave out --data.span_offsets")
            spans = found
        elif self._way == "auto" and any(span.quote is not None for span in spans):
            if not all(fits_text(text, span) for span in spans):
                ways = (convert(text, spans, way) for way in _COUNTED)
                spans = next((new for new in ways if all(_is_exact(text, span) for span in new)), spans)
        elif self._way == "auto":
            self._weigh(text, words, spans)
        try:
            return check_spans(text, spans)
        except MisfitError as misfit:
            problem, advice = misfit.args
            if self._way == "auto" and (hint := self._hint(1)):
                problem, advice = f"{problem}: {hint.args[0]}", hint.args[1]
            elif any(span.quote is not None for span in spans):
                advice = "offsets and text do not belong together: mend them, or take --data.span_offsets quotes"
            raise MisfitError(problem, advice) from None

    def _weigh(self, text: str, words: list[tuple[int, int]], spans: list[CharSpan]) -> None:
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        fits = [
            span.start + len(marked) - len(marked.lstrip()) in starts
            and span.end - len(marked) + len(marked.rstrip()) in ends
            for span in spans
            for marked in [text[max(span.start, 0) : max(span.end, 0)]]
        ]
        fits = [fit and span.start < span.end for fit, span in zip(fits, spans, strict=True)]
        is_plain = text.isascii() and "\n" not in text
        for way in _SHIFTS if is_plain else _COUNTED:
            for fit, (start, end, _, _) in zip(fits, convert(text, spans, way), strict=True):
                if (start in starts and end in ends and start < end) != fit:
                    (self._only_else if fit else self._only_so)[way] += 1

    def _hint(self, least: int) -> MisfitError | None:
        way = max(_COUNTED, key=lambda way: self._only_so[way])
        so, other = self._only_so[way], self._only_else[way]
        if so < least or so < 4 * other:
            return None
        problem = (
            f"the offsets look like {way}: counted so {so:,} more spans fit whole words, and {other:,} no longer do"
        )
        return MisfitError(problem, f"set --data.span_offsets {way}, or exclusive to read them as they stand")

    def finish(self) -> None:
        """Refuse offsets, and types, that all together must mean something else."""
        if hint := self._hint(2):
            raise hint
        if self._has_tags and self._unclear is not None:
            problem = f"the type {self._unclear!r} is a tag of a word, as a later text shows"
            raise MisfitError(
                problem, "put a text with both a B- and an I- of one type first, or leave out the prefixes"
            )

    def _merge(self, text: str, spans: list[CharSpan]) -> list[CharSpan]:
        """Types that are tags (B-PER, I-PER): a span for each entity, once a text shows that they are."""
        tags = [_TAG.fullmatch(span.entity_type) for span in spans]
        if not spans or not all(tags):
            return spans
        types = {span.entity_type for span in spans}
        self._has_tags = self._has_tags or len({name[2:] for name in types}) < len(types)
        if not self._has_tags:
            self._unclear = spans[0].entity_type
            return spans
        merged: list[CharSpan] = []
        for span in sorted(spans):
            prefix, name = span.entity_type[0], span.entity_type[2:]
            goes_on = prefix in "IELM" and merged and merged[-1].entity_type == name
            if goes_on and not text[merged[-1].end : span.start].strip():
                merged[-1] = merged[-1]._replace(end=span.end)
            else:
                merged.append(span._replace(entity_type=name))
        return merged
