"""Lists of tokens with spans beside them, which count words, or characters of the text."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from ner_module.data.formats.adapters import AnnotatedText, Item
from ner_module.data.formats.cells import MisfitError
from ner_module.data.formats.char_spans import CharSpan, fits_text, locate_words
from ner_module.data.formats.options import TAGS, WORDS, ReadingOptions
from ner_module.data.formats.records import SPANS, document_of, find_text, list_key, of_tokens, parse_span

_SPANS, _WORDS = frozenset(SPANS), frozenset(WORDS)


class File:
    """What is known of a file while it is read.

    Attributes:
        text_key, label_key, is_tagged: what was asked for.
        tools: what wrote its records.
        controls: the names that marks of text go by: controls of Label Studio, keys of records.
    """

    def __init__(self, options: ReadingOptions) -> None:
        self.text_key, self.label_key = options.text_column_name, options.label_column_name
        self.is_tagged = options.tagged
        self.tools: set[str] = set()
        self.controls: set[str] = set()
        self._way = options.span_offsets
        # What spans beside tokens count, once that is sure: words or characters; and their key.
        self._unit = None if self._way == "auto" else "words" if self._way.startswith("words") else "characters"
        self._key: str | None = None

    def may_hold_spans(self, record: dict[str, Any]) -> bool:
        """Whether a record may hold tokens with spans, by its keys."""
        return bool(self.text_key or self.label_key) or not (_WORDS.isdisjoint(record) or _SPANS.isdisjoint(record))

    def read(self, record: dict[str, Any]) -> Item:
        """Tokens with spans, in words or characters, as a sentence or text; any other record as it is."""
        tokens_key = list_key(record, self.text_key, WORDS, str)
        key = self._key or list_key(record, self.label_key, SPANS, dict, list)
        spans = record.get(key or "")
        if not self.is_tagged or tokens_key is None or not isinstance(spans, list):
            return record
        tags_key = list_key(record, self.label_key, TAGS, str, int)
        if self._key is None and tags_key is not None and (record[tags_key] or tags_key == key):
            return record
        self._key = key
        sentence = of_tokens(record, tokens_key)
        text = find_text(record, None) or " ".join(sentence.tokens)
        places = locate_words(sentence.tokens, text)
        found = [span for each in spans for span in parse_span(each)]
        if self._unit is None:
            self._unit = _unit_of(found, sentence.tokens, text, places or [])
        if self._unit == "characters":
            if places is None:
                raise MisfitError("the tokens are not the words of the text", "correct them, or leave them out")
            return AnnotatedText(text, spans, places, document_of(record))
        if self._way == "words_inclusive":
            found = [span._replace(end=span.end + 1) for span in found]
        return tagged(record, tokens_key, found, self)


def _unit_of(spans: list[CharSpan], tokens: list[str], text: str, places: list[tuple[int, int]]) -> str | None:
    """What spans count, by their quotes, and by where words begin and end; ``None`` where both are the same."""
    quoted = any(span.quote is not None for span in spans)
    borders = {start for start, _ in places}, {end for _, end in places}
    as_text = all(
        fits_text(text, span) and (quoted or (span.start in borders[0] and span.end in borders[1])) for span in spans
    )
    as_words = all(_fits_words(span, tokens) for span in spans)
    if as_words and as_text:
        if all((places[span.start][0], places[span.end - 1][1]) == span[:2] for span in spans):
            return None
        problem = "spans may count the tokens or the characters of the text"
        raise MisfitError(problem, "say which: --data.span_offsets words, or exclusive for characters")
    if as_words or as_text:
        return "words" if as_words else "characters"
    if all(_fits_words(span._replace(end=span.end + 1), tokens) for span in spans):
        problem = "the spans fit the tokens if their ends are inclusive"
        raise MisfitError(problem, "set --data.span_offsets words_inclusive")
    return "characters" if places and max(span.end for span in spans) > len(tokens) and not quoted else "words"


def _fits_words(span: CharSpan, tokens: list[str]) -> bool:
    if not 0 <= span.start < span.end <= len(tokens):
        return False
    return span.quote is None or "".join(tokens[span.start : span.end]).split() == ["".join(span.quote.split())]


def tagged(record: Any, key: str, spans: list[CharSpan], file: File) -> Item:
    """The words under a key, with spans that count them, the ends exclusive."""
    sentence = of_tokens(record, key)
    if not file.is_tagged:
        return sentence
    ends = accumulate(len(word) + 1 for word in sentence.tokens)
    words = [(end - 1 - len(word), end - 1) for word, end in zip(sentence.tokens, ends, strict=True)]
    for start, end, name, _ in spans:
        if not 0 <= start < end <= len(words):
            problem = f"the words {start} to {end - 1} ({name}) do not fit the {len(words)} tokens"
            raise MisfitError(problem, "count words from 0 and correct the span")
    marks = [(words[start][0], words[end - 1][1], name) for start, end, name, _ in spans]
    return AnnotatedText(" ".join(sentence.tokens), marks, words, sentence=sentence)
