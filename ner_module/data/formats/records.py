"""Records (JSON objects, table rows) -> sentences: lists of tokens and tags, or text with character spans.

Shared by every format whose unit is a record. Which of the two kinds a file holds is told from its first record; every
later one must have the same keys. `span_records.py` knows what the annotation tools write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import SpanCounts, locate_words, tag_words
from ner_module.data.formats.span_records import (
    TEXT_KEYS,
    find_spans,
    find_text,
    given_words,
    is_rejected,
    read_span,
    span_key,
)
from ner_module.data.formats.tag_cells import TagCells, describe
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError, SchemeError
from ner_module.tagging import Span, spans_to_tags

__all__ = ["DOCUMENT_KEYS", "TAG_KEYS", "TEXT_KEYS", "TOKEN_KEYS", "RecordReader"]

TOKEN_KEYS = ("tokens", "words", "token", "word")
TAG_KEYS = ("ner_tags", "tags", "labels", "ner_labels", "label", "ner", "bio_tags", "tag")
_WORD_SPAN_KEYS = ("entities", "spans")
DOCUMENT_KEYS = ("document", "document_id", "doc_id")


class RecordReader:
    """Turns the records of one file into sentences.

    Args:
        path: the file, for messages.
        text_column_name: the key of the tokens or of the text; found among the usual ones by default.
        label_column_name: the key of the tags or of the spans, likewise.
        label_names: names of integer tags.
        tagged: whether tags are wanted; without them a record needs only tokens or text.
        counts: what became of character spans is added here.
        spans: ``True`` or ``False`` force text with spans, or tokens with tags.
    """

    def __init__(
        self,
        path: Path,
        text_column_name: str | None,
        label_column_name: str | None,
        label_names: list[str] | None,
        tagged: bool,
        counts: SpanCounts,
        spans: bool | None = None,
    ) -> None:
        self.path = path
        self.text_key = text_column_name
        self.label_key = label_column_name
        self.tagged = tagged
        self.counts = counts
        self.spans = spans
        self.cells = TagCells(path, label_names)

    def read(self, record: dict[str, Any], line: int) -> Sentence | None:
        """The sentence of a record; ``None`` for a text that its annotator rejected.

        Raises:
            DataError: a key is missing, or what it holds does not fit.
        """
        if not self.tagged:
            return self._read_untagged(record, line)
        if self.spans is None:
            self.spans = self._has_spans(record, line)
        return self._read_spans(record, line) if self.spans else self._read_tags(record, line)

    def _has_spans(self, record: dict[str, Any], line: int) -> bool:
        if self._token_key(record) is not None and (self.label_key or self._tag_key(record)) is not None:
            return False
        if find_text(record, self.text_key) is not None:
            return True
        keys = f"the keys are {', '.join(map(repr, list(record)[:12]))}" if record else "the object has no keys"
        advice = f"{keys}: name them with --data.text_column_name and --data.label_column_name"
        raise DataError(self.path, line, "neither tokens with tags nor text with spans were found", advice)

    def _token_key(self, record: dict[str, Any]) -> str | None:
        keys = TOKEN_KEYS if self.text_key is None else (self.text_key,)
        return next((key for key in keys if _is_list_of(record.get(key), str)), None)

    def _tag_key(self, record: dict[str, Any]) -> str | None:
        tags = (key for key in TAG_KEYS if _is_list_of(record.get(key), (str, int)))
        spans = (key for key in _WORD_SPAN_KEYS if _is_list_of(record.get(key), dict))
        return next(tags, None) or next(spans, None)

    def _read_tags(self, record: dict[str, Any], line: int) -> Sentence:
        if self.text_key is None:
            self.text_key = self._token_key(record) or TOKEN_KEYS[0]
        if self.label_key is None:
            self.label_key = self._tag_key(record) or TAG_KEYS[0]
        tokens = self._tokens(record, self.text_key, line)
        tags = self._value(record, self.label_key, line)
        if not isinstance(tags, list):
            problem = f"{self.label_key!r} is {describe(tags)}, not a list of tags"
            raise DataError(self.path, line, problem, "give one tag per token")
        if self.label_key in _WORD_SPAN_KEYS:
            return self._sentence(record, line, tokens, self._word_span_tags(tags, len(tokens), line))
        if len(tags) != len(tokens):
            problem = f"{len(tokens)} tokens in {self.text_key!r}, but {len(tags)} tags in {self.label_key!r}"
            raise DataError(self.path, line, problem, "give one tag per token")
        known, types = self.cells.known, set(map(type, tags))
        if types <= {str} or types == {int}:
            names = [known.get(tag) or self.cells.read(tag, line, word) for word, tag in enumerate(tags)]
        else:
            names = [self.cells.read(tag, line, word) for word, tag in enumerate(tags)]
        return self._sentence(record, line, tokens, names)

    def _word_span_tags(self, items: list[Any], length: int, line: int) -> list[str]:
        """IOB2 tags from spans in words, end exclusive, as this project's predictions on tokens have them."""
        spans = [span for item in items for span in read_span(self.path, line, item)]
        self.counts.spans += len(spans)
        try:
            tags = spans_to_tags([Span(span.start, span.end, span.entity_type) for span in spans], length)
        except SchemeError:
            problem = f"the spans do not fit the {length} tokens, or overlap: {describe([span[:3] for span in spans])}"
            raise DataError(self.path, line, problem, "count words from 0, the end exclusive") from None
        self.counts.kept += len(spans)
        return tags

    def _read_spans(self, record: dict[str, Any], line: int) -> Sentence | None:
        if is_rejected(record, self.counts):
            return None
        text = find_text(record, self.text_key)
        if text is None:
            problem = "there is no text" if self.text_key is None else f"there is no text in {self.text_key!r}"
            raise DataError(
                self.path, line, problem, "complete the record, or name its key with --data.text_column_name"
            )
        self.label_key = self.label_key or span_key(record)
        spans = find_spans(self.path, line, record, text, self.label_key, self.counts)
        offsets = given_words(self.path, line, record, text) or split_words(text)
        tags = tag_words(text, offsets, spans, self.counts)
        self.counts.note(self.path, line)
        tokens = [text[start:end] for start, end in offsets]
        return Sentence(tokens, tags, line, _document(record), text, offsets)

    def _read_untagged(self, record: dict[str, Any], line: int) -> Sentence:
        key = self._token_key(record)
        if key is not None and self.spans is not True:
            return self._sentence(record, line, self._tokens(record, key, line), None)
        text = find_text(record, self.text_key) if record else ""
        if text is None:
            wanted = "no tokens and no text" if self.text_key is None else f"no tokens or text in {self.text_key!r}"
            keys = ", ".join(map(repr, list(record)[:12]))
            raise DataError(self.path, line, wanted, f"name their key with --data.text_column_name (there are {keys})")
        offsets = given_words(self.path, line, record, text) or split_words(text)
        return Sentence([text[start:end] for start, end in offsets], None, line, _document(record), text, offsets)

    def _value(self, record: dict[str, Any], key: str, line: int) -> Any:
        if key in record:
            return record[key]
        keys = ", ".join(map(repr, list(record)[:12])) or "none"
        raise DataError(self.path, line, f"the key {key!r} is missing (there are {keys})", "complete the record")

    def _tokens(self, record: dict[str, Any], key: str, line: int) -> list[str]:
        tokens = self._value(record, key, line)
        if not isinstance(tokens, list):
            problem = f"{key!r} is {describe(tokens)}, not a list of tokens"
            raise DataError(self.path, line, problem, "give the words as a list of strings")
        if not set(map(type, tokens)) <= {str}:
            position, token = next((i, token) for i, token in enumerate(tokens) if not isinstance(token, str))
            problem = f"token {position + 1} is {describe(token)}, not a string"
            raise DataError(self.path, line, problem, "write every token in quotation marks")
        return tokens

    def _sentence(self, record: dict[str, Any], line: int, tokens: list[str], tags: list[str] | None) -> Sentence:
        text = record.get("text")
        offsets = locate_words(tokens, text) if isinstance(text, str) else None
        return Sentence(tokens, tags, line, _document(record), text if offsets is not None else None, offsets)


def _is_list_of(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is a list, empty or with such a first element; that is enough to recognise a key."""
    return isinstance(value, list) and (not value or isinstance(value[0], kind))


def _document(record: dict[str, Any]) -> str | None:
    for holder in (record, record.get("data")):  # Label Studio keeps what belongs to a text in "data"
        if isinstance(holder, dict):
            value = next((holder[key] for key in DOCUMENT_KEYS if key in holder), None)
            if value is not None:
                return str(value)
    return None
