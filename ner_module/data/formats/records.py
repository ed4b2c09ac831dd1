"""JSONL and JSON files -> records, and records of any format -> sentences.

A record (a JSON object, a table row) holds lists of tokens and tags, or text with character spans. Which of the two a
file holds is detected from its first record; every later one must have the same keys. `span_records.py` knows what the
annotation tools write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import SpanCounts, locate_words, tag_words
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import DOCUMENTS, TAGS, WORD_SPANS, WORDS, ReadingOptions, first_in
from ner_module.data.formats.span_records import (
    Record,
    find_spans,
    find_text,
    given_words,
    is_rejected,
    keys_of,
    read_span,
    span_key,
)
from ner_module.data.formats.tag_cells import MisfitError, TagCells, describe
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError, SchemeError
from ner_module.tagging import Span, spans_to_tags

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"[ \t\r\n]*")
_HEAD_LINES = 100


class RecordReader:
    """Turns the records of one file into sentences.

    Args:
        path: the file, for messages.
        options: which keys are wanted; format ``spans`` forces text with spans.
        counts: the outcomes of character spans are added here.
    """

    def __init__(self, path: Path, options: ReadingOptions, counts: SpanCounts) -> None:
        self._path = path
        self._text_key = options.text_column_name
        self._label_key = options.label_column_name
        self._is_tagged = options.tagged
        self._counts = counts
        self.has_spans: bool | None = True if options.format == "spans" else None
        """Whether records are text with spans (else tokens with tags); ``None`` before the first record."""
        self._cells = TagCells(options.label_names)

    def read_all(self, records: Iterable[tuple[int, Record]]) -> Iterator[Sentence]:
        """Yield the sentences of (line, record) pairs, as :meth:`read` gives them."""
        for line, record in records:
            sentence = self.read(line, record)
            if sentence is not None:
                yield sentence

    def read(self, line: int, record: Record) -> Sentence | None:
        """The sentence of a record; ``None`` for a text that its annotator rejected.

        Raises:
            DataError: a key is missing, or what it holds does not fit.
        """
        try:
            sentence = self._read(record)
        except MisfitError as misfit:
            raise DataError(self._path, line, *misfit.args) from None
        self._counts.note(self._path, line)
        if sentence is not None:
            sentence.line, sentence.document = line, _document(record)
        return sentence

    def _read(self, record: Record) -> Sentence | None:
        if not self._is_tagged:
            return self._read_untagged(record)
        if self.has_spans is None:
            has_tags = self._token_key(record) is not None and (self._label_key or _tag_key(record)) is not None
            if not has_tags and find_text(record, self._text_key) is None:
                keys = f"the keys are {keys_of(record)}" if record else "the object has no keys"
                advice = f"{keys}: name them with --data.text_column_name and --data.label_column_name"
                raise MisfitError("neither tokens with tags nor text with spans were found", advice)
            self.has_spans = not has_tags
        return self._read_spans(record) if self.has_spans else self._read_tags(record)

    def _token_key(self, record: Record) -> str | None:
        keys = WORDS if self._text_key is None else (self._text_key,)
        return next((key for key in keys if _is_list_of(record.get(key), str)), None)

    def _read_tags(self, record: Record) -> Sentence:
        self._text_key = self._text_key or self._token_key(record) or WORDS[0]
        self._label_key = self._label_key or _tag_key(record) or TAGS[0]
        tokens = _tokens(record, self._text_key)
        tags = _list(record, self._label_key, "tags", "give one tag per token")
        if self._label_key in WORD_SPANS:
            return _sentence(record, tokens, self._word_span_tags(tags, len(tokens)))
        if len(tags) != len(tokens):
            problem = f"{len(tokens)} tokens in {self._text_key!r}, but {len(tags)} tags in {self._label_key!r}"
            raise MisfitError(problem, "give one tag per token")
        return _sentence(record, tokens, self._cells.read_all(tags))

    def _word_span_tags(self, items: list[Any], length: int) -> list[str]:
        """IOB2 tags from spans in words, end exclusive, as this project's predictions on tokens have them."""
        spans = [span for item in items for span in read_span(item)]
        try:
            tags = spans_to_tags([Span(*span[:3]) for span in spans], length)
        except SchemeError:
            problem = f"the spans do not fit the {length} tokens, or overlap: {describe([span[:3] for span in spans])}"
            raise MisfitError(problem, "count words from 0, the end exclusive") from None
        self._counts.spans += len(spans)
        self._counts.kept += len(spans)
        return tags

    def _read_spans(self, record: Record) -> Sentence | None:
        if is_rejected(record, self._counts):
            return None
        text = find_text(record, self._text_key)
        if text is None:
            problem = "there is no text" if self._text_key is None else f"there is no text in {self._text_key!r}"
            raise MisfitError(problem, "complete the record, or name its key with --data.text_column_name")
        self._label_key = self._label_key or span_key(record)
        spans = find_spans(record, text, self._label_key, self._counts)
        offsets = given_words(record, text) or split_words(text)
        tags = tag_words(text, offsets, spans, self._counts)
        return Sentence([text[start:end] for start, end in offsets], tags, text=text, offsets=offsets)

    def _read_untagged(self, record: Record) -> Sentence:
        key = self._token_key(record)
        if key is not None and self.has_spans is not True:
            return _sentence(record, _tokens(record, key), None)
        text = find_text(record, self._text_key) if record else ""
        if text is None:
            problem = "no tokens and no text" if self._text_key is None else f"no tokens or text in {self._text_key!r}"
            raise MisfitError(problem, f"name their key with --data.text_column_name (there are {keys_of(record)})")
        offsets = given_words(record, text) or split_words(text)
        return Sentence([text[start:end] for start, end in offsets], text=text, offsets=offsets)


def _is_list_of(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is a list, empty or with such a first element; that is enough to recognise a key."""
    return isinstance(value, list) and (not value or isinstance(value[0], kind))


def _tag_key(record: Record) -> str | None:
    candidates = [(key, (str, int)) for key in TAGS] + [(key, dict) for key in WORD_SPANS]
    return next((key for key, kind in candidates if _is_list_of(record.get(key), kind)), None)


def _list(record: Record, key: str, what: str, advice: str) -> list[Any]:
    if key not in record:
        raise MisfitError(f"the key {key!r} is missing (there are {keys_of(record)})", "complete the record")
    value = record[key]
    if not isinstance(value, list):
        raise MisfitError(f"{key!r} is {describe(value)}, not a list of {what}", advice)
    return value


def _tokens(record: Record, key: str) -> list[str]:
    tokens = _list(record, key, "tokens", "give the words as a list of strings")
    for position, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            problem = f"token {position} is {describe(token)}, not a string"
            raise MisfitError(problem, "write every token in quotation marks")
    return tokens


def _sentence(record: Record, tokens: list[str], tags: list[str] | None) -> Sentence:
    """A sentence of given words, with its text where they are found in it."""
    text = record.get("text")
    offsets = locate_words(tokens, text) if isinstance(text, str) else None
    return Sentence(tokens, tags, text=text if offsets is not None else None, offsets=offsets)


def _document(record: Record) -> str | None:
    for holder in (record, record.get("data")):  # Label Studio keeps what belongs to a text in "data"
        if isinstance(holder, dict) and (name := first_in(DOCUMENTS, holder)) and holder[name] is not None:
            return str(holder[name])
    return None


def read_json(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of JSON objects: one a line (``jsonl``), or in a list or over several lines (``json``)."""
    lines = read_lines(path, options.encoding)
    kind = options.format
    if kind == "spans":
        head = list(islice(lines, _HEAD_LINES))
        kind, lines = json_kind(head), chain(head, lines)
    records = _json(path, lines) if kind == "json" else _jsonl(path, lines, keep_blank=not options.tagged)
    return RecordReader(path, options, counts).read_all(records)


def json_kind(head: Sequence[str]) -> str:
    """``jsonl`` where the first lines are an object each, or at least look like it; else ``json``."""
    first = next((line.strip(" \t\r\n") for line in head if line.strip(" \t\r\n")), "")
    # An object over several lines opens with a short line; a broken line of JSONL holds keys.
    opens_object = len(first) < 3 and first != "{}" and len(head) > 1
    return "json" if first.startswith("[") or opens_object else "jsonl"


def _jsonl(path: Path, lines: Iterable[str], keep_blank: bool) -> Iterator[tuple[int, Record]]:
    """The objects of a JSONL file; an empty one for a blank line where output has to follow the input line by line."""
    for number, line in enumerate(lines, 1):
        if line.strip(" \t\r\n"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _no_json(path, number, error) from None
            yield number, _checked(path, number, record, line)
        elif keep_blank:
            yield number, {}


def _json(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON file: a list of objects, or objects one after the other over any number of lines."""
    text = "".join(lines)
    decode = json.JSONDecoder().raw_decode
    position, line = 0, 1

    def peek(start: int) -> str:
        """Go to ``start`` and on to what is no space: one character, none at the end of the file."""
        nonlocal position, line
        end = _SPACE.match(text, start).end()  # type: ignore[union-attr]
        line += text.count("\n", position, end)
        position = end
        return text[position : position + 1]

    opening = char = peek(0)
    if opening not in ("[", "{"):
        problem = "the file is not JSON" if char else "the file is empty"
        raise DataError(path, line, problem, "a JSON file here is a list of objects: [{…}, {…}]")
    if opening == "[":
        char = peek(position + 1)
    while char and not (opening == "[" and char == "]"):
        try:
            record, end = decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _no_json(path, error.lineno if isinstance(error, json.JSONDecodeError) else line, error) from None
        yield line, _checked(path, line, record, text[position:end])
        char = peek(end)
        if opening == "[" and char == ",":
            char = peek(position + 1)
        elif opening == "[" and char != "]":
            raise DataError(path, line, "a comma or the end of the list is missing", "correct the JSON")
    if opening == "[" and not char:
        raise DataError(path, line, "the list does not end", "the file was cut short; make or fetch it again")
    if char and peek(position + 1):
        raise DataError(path, line, "something follows the end of the list", "remove it")


def _checked(path: Path, line: int, record: object, source: str) -> Record:
    if not isinstance(record, dict):
        problem = f"this is not a JSON object but {describe(record)}"
        advice = "give every sentence as an object, {…}; a list of them goes in a .json file"
        raise DataError(path, line, problem, advice)
    if "\\u" in source and _SURROGATE.search(source):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            advice = "write characters beyond U+FFFF as such, or as two \\u escapes"
            raise DataError(path, line, "a \\u escape is half of a character", advice) from None
    return record


def _no_json(path: Path, line: int, error: Exception) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        problem = f"no valid JSON ({error.msg[0].lower()}{error.msg[1:]} at column {error.colno})"
    else:
        problem = f"no JSON that can be read ({'nested too deeply' if isinstance(error, RecursionError) else error})"
    return DataError(path, line, problem, "correct or remove it")
