"""Records (JSON objects, rows of a table) -> sentences.

A record holds lists of tokens and tags, or text with character spans: the first of a file decides, later ones must have
the same keys. What annotation tools export is read as it is:

=============  =======================================================================================================
doccano        ``{"text", "label" | "labels": [[start, end, type]]}``, or ``"entities": [{"start_offset",
               "end_offset", "label"}]`` (with relations)
Label Studio   tasks ``{"data": {"text"}, "annotations": [{"result": [{"value": {"start", "end", "labels"}}]}]}``, or
               JSON-MIN ``{"text", "label": [{"start", "end", "labels"}]}``; a span with two labels counts as two
Prodigy        ``{"text", "tokens", "spans": [{"start", "end", "label"}], "answer"}``; its tokens are the words, and
               only accepted texts are read
=============  =======================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ner_module.data.formats.cells import NAME_COLUMNS, MisfitError, TagCells, describe, errors_at
from ner_module.data.formats.char_spans import CharSpan, SpanCounts, check_spans, check_type, locate_words, sentence_of
from ner_module.data.formats.options import DOCUMENTS, TAGS, TEXTS, WORDS, ReadingOptions, first_in
from ner_module.data.sentence import Sentence
from ner_module.errors import SchemeError
from ner_module.tagging import Span, spans_to_tags

Record = dict[str, Any]

_WORD_SPANS = ("entities", "spans")  # counted in words, beside a list of words
_CHAR_SPANS = ("spans", "entities", "label", "labels", "annotations", "ner")  # counted in characters, beside a text
_STARTS = ("start", "start_offset", "start_char")
_ENDS = ("end", "end_offset", "end_char")
_TYPES = ("label", "labels", "type", "entity_type", "entity_group")


class RecordReader:
    """Turns the records of one file into sentences; ``counts`` get the outcomes of character spans."""

    def __init__(self, path: Path, options: ReadingOptions, counts: SpanCounts) -> None:
        self._path, self._counts = path, counts
        self._text_key, self._label_key = options.text_column_name, options.label_column_name
        self._is_tagged = options.tagged
        self._cells = TagCells(options.label_names)
        self._has_spans: bool | None = True if options.format == "spans" else None  # False: tokens with tags

    def read_all(self, records: Iterable[tuple[int, Record]]) -> Iterator[Sentence]:
        """Yield the sentences of (line, record) pairs, but for texts that their annotator rejected.

        Raises:
            DataError: a key is missing, or what it holds does not fit.
        """
        for line, record in records:
            with errors_at(self._path, line):
                sentence = self._read(record)
            self._counts.note(self._path, line)
            if sentence is not None:
                document = _value(record, DOCUMENTS, str, int, float)
                sentence.line, sentence.document = line, None if document is None else str(document)
                yield sentence

    def _read(self, record: Record) -> Sentence | None:
        token_key = _list_key(record, self._text_key, WORDS, str)
        if not self._is_tagged:
            return self._read_text(record) if token_key is None or self._has_spans else _of_tokens(record, token_key)
        if self._has_spans is None:
            tag_key = self._label_key or _list_key(record, None, TAGS, str, int)
            tag_key = tag_key or _list_key(record, None, _WORD_SPANS, dict)
            self._has_spans = token_key is None or tag_key is None
            if not self._has_spans:
                self._text_key, self._label_key = token_key, tag_key
            elif self._text(record) is None:
                problem = "neither tokens with tags nor text with spans were found"
                raise MisfitError(problem, f"{NAME_COLUMNS} (the keys are {_keys(record)})")
        if self._has_spans:
            return self._read_text(record)
        return self._read_tokens(record, self._text_key or WORDS[0], self._label_key or TAGS[0])

    def _read_tokens(self, record: Record, text_key: str, label_key: str) -> Sentence:
        sentence = _of_tokens(record, text_key)
        tags = _list(record, label_key, "tags", "give one tag per token")
        length = len(sentence.tokens)
        if label_key in _WORD_SPANS:
            spans = [Span(*span[:3]) for item in tags for span in _spans(item)]
            try:
                sentence.tags = spans_to_tags(spans, length)
            except SchemeError:
                problem = f"the spans do not fit the {length} tokens, or overlap: {describe(spans)}"
                raise MisfitError(problem, "count words from 0, the end exclusive") from None
            self._counts.spans += len(spans)
            self._counts.kept += len(spans)
        elif len(tags) == length:
            sentence.tags = self._cells.read_all(tags)
        else:
            problem = f"{length} tokens in {text_key!r}, but {len(tags)} tags in {label_key!r}"
            raise MisfitError(problem, "give one tag per token")
        return sentence

    def _read_text(self, record: Record) -> Sentence | None:
        annotations = _annotations(record) if self._is_tagged else None
        if self._is_tagged and (record.get("answer", "accept") != "accept" or annotations == []):
            self._counts.rejected_texts += 1
            return None
        text = self._text(record) if record or self._is_tagged else ""
        if text is None:
            problem = "there is no text" if self._is_tagged else "there are neither tokens nor text"
            problem += "" if self._text_key is None else f" in {self._text_key!r}"
            advice = "complete the record, or name the key with --data.text_column_name"
            raise MisfitError(problem, f"{advice} (the keys are {_keys(record)})")
        if not self._is_tagged:
            return sentence_of(text, None, self._counts, _given_words(record, text))
        if annotations is None:
            items = self._span_items(record)
        else:
            items = _marks(annotations[0]["result"])
            self._counts.further_annotations += len(annotations) - 1
        spans = check_spans(text, [span for item in items for span in _spans(item)])
        return sentence_of(text, spans, self._counts, _given_words(record, text))

    def _text(self, record: Record) -> Any:
        return _value(record, (*TEXTS, "data") if self._text_key is None else (self._text_key,), str)

    def _span_items(self, record: Record) -> list[Any]:
        """The spans of a record, under a usual key or, in JSON-MIN, under the name of the labelling control."""
        others = [key for key, value in record.items() if key not in _CHAR_SPANS and _has_labels(value)]
        key = self._label_key or first_in(_CHAR_SPANS, record) or (others[0] if len(others) == 1 else None)
        self._label_key = key
        if key is None or key not in record:
            if ("answer" in record or "annotation_id" in record) and not others:
                return []  # Prodigy and JSON-MIN may leave the key out where nothing was marked
            problem = f"the key {key!r} is missing" if key else "there are no spans"
            advice = "add them ([] where nothing is marked), or name their key with --data.label_column_name"
            raise MisfitError(problem, f"{advice} (the keys are {_keys(record)})")
        items = [] if record[key] is None else record[key]
        if not isinstance(items, list):
            raise MisfitError(f"the spans are {describe(items)}, not a list", "give them as [[start, end, type], …]")
        return items


def _keys(record: Record) -> str:
    return ", ".join(map(repr, list(record)[:12])) or "none"


def _list_key(record: Record, asked: str | None, usual: Iterable[str], *kinds: type) -> str | None:
    """The key, a usual one unless it is asked for, of a list that is empty or has such a first element."""
    for key in usual if asked is None else (asked,):
        value = record.get(key)
        if isinstance(value, list) and (not value or isinstance(value[0], kinds)):
            return key
    return None


def _list(record: Record, key: str, what: str, advice: str) -> list[Any]:
    if key not in record:
        raise MisfitError(f"the key {key!r} is missing (the keys are {_keys(record)})", "complete the record")
    value = record[key]
    if not isinstance(value, list):
        raise MisfitError(f"{key!r} is {describe(value)}, not a list of {what}", advice)
    return value


def _of_tokens(record: Record, key: str) -> Sentence:
    """A sentence of given words, with its text where they are found in it."""
    tokens = _list(record, key, "tokens", "give the words as a list of strings")
    for position, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            problem = f"token {position} is {describe(token)}, not a string"
            raise MisfitError(problem, "write every token in quotation marks")
    text = record.get("text")
    offsets = locate_words(tokens, text) if isinstance(text, str) else None
    return Sentence(tokens, text=text if offsets is not None else None, offsets=offsets)


def _value(record: Record, names: Iterable[str], *kinds: type) -> Any:
    """The first value of these kinds under the names, in a record or in its "data", where Label Studio keeps them."""
    holders = [holder for holder in (record, record.get("data")) if isinstance(holder, dict)]
    return next((holder[name] for holder in holders for name in names if isinstance(holder.get(name), kinds)), None)


def _given_words(record: Record, text: str) -> list[tuple[int, int]] | None:
    """The words of a Prodigy record, whose tokens must cover its text; ``None`` for a record without its own."""
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not any(isinstance(token, dict) for token in tokens):
        return None
    offsets: list[tuple[int, int]] = []
    reached = 0
    for token in [*tokens, {"start": len(text), "end": len(text)}]:
        start, end = (token.get("start"), token.get("end")) if isinstance(token, dict) else (None, None)
        if type(start) is not int or type(end) is not int or not reached <= start <= end <= len(text):
            problem = f"a token is {describe(token)}, without a place in the text after the token before"
            raise MisfitError(problem, "give its start and end in characters")
        if missed := text[reached:start].strip():
            raise MisfitError(f"the tokens leave out {describe(missed)}", "export the record again")
        if text[start:end].strip():  # spaCy has white space tokens; they are no words
            offsets.append((start, end))
        reached = end
    return offsets


def _annotations(record: Record) -> list[Record] | None:
    """The annotations of a Label Studio task that were not cancelled; ``None`` for other records."""
    items: Any = record.get("annotations", record.get("completions"))
    is_task = isinstance(items, list) and isinstance(record.get("data"), dict)
    if not is_task or not all(isinstance(item, dict) and isinstance(item.get("result"), list) for item in items):
        return None
    return [item for item in items if not item.get("was_cancelled")]


def _marks(result: list[Any]) -> list[Any]:
    """What marks text in a Label Studio result; the rest are relations, choices and the like."""
    items = [item if isinstance(item, dict) else {"type": "labels"} for item in result]  # refused as a span
    return [item.get("value") for item in items if item.get("type") == "labels" or _has_labels([item.get("value")])]


def _has_labels(value: Any) -> bool:
    """Whether a value is a list that holds an object with labels."""
    return isinstance(value, list) and any(isinstance(e, dict) and {"label", "labels"} & e.keys() for e in value)


def _spans(item: Any) -> list[CharSpan]:
    """A span; several when it carries several labels."""
    start = end = labels = quote = None
    if isinstance(item, dict):
        start, end, labels = (item.get(first_in(names, item)) for names in (_STARTS, _ENDS, _TYPES))
        quote = item["text"] if isinstance(item.get("text"), str) else None
    elif isinstance(item, list) and len(item) == 3:
        start, end, labels = item
    names: list[Any] = labels if isinstance(labels, list) else [labels]
    if type(start) is not int or type(end) is not int or not all(isinstance(name, str) for name in names):
        advice = 'write [start, end, "TYPE"] or {"start": …, "end": …, "label": …}'
        raise MisfitError(f"a span is {describe(item)}", advice)
    return [CharSpan(start, end, check_type(name), quote) for name in names]
