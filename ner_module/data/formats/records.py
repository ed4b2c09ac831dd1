"""Records (JSON objects, rows of a table) -> sentences.

A record holds lists of tokens and tags, or text with character spans (``[start, end, type]``, or objects with such
keys): the first of a file decides, later ones must have the same keys. What tools export is made into such records by
an extra (`adapters.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ner_module.data.formats.adapters import AnnotatedText, Item, Note, offered_formats
from ner_module.data.formats.cells import NAME_COLUMNS, MisfitError, TagCells, describe
from ner_module.data.formats.char_spans import CharSpan, SpanCounts, check_spans, check_type, locate_words, tag_words
from ner_module.data.formats.contents import rival_of
from ner_module.data.formats.options import DOCUMENTS, TAGS, TEXTS, WORDS, ReadingOptions, first_in
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError

Record = dict[str, Any]

SPANS = ("spans", "entities", "ents", "label", "labels", "annotations", "ner")
"""The usual keys of character spans, beside a text."""
# Keys of a span in lower case and without underscores: startOffset, start_offset.
_UNITS = ("", "offset", "char", "index", "idx", "pos", "position")
# Under the last ones stand both: {"span": [0, 3]}.
_STARTS = (*("start" + unit for unit in _UNITS), "begin", "beginoffset", "offset", "offsets", "span", "pos", "indices")
_ENDS = tuple("end" + unit for unit in _UNITS)
_MENTIONS = ("entity", "mention", "name")  # a quote where it is about as long as the span: names may be other ones
TYPES = (
    *("label", "labels", "type", "entitytype", "entitylabel", "entitygroup", "entity"),
    *("category", "tag", "displayname"),
)
_SPAN_KEYS, _SPAN = frozenset(SPANS), (dict, list)
_OF_TOOLS = ("answer", "_task_hash", "_is_binary", "prediction", "annotation_id")


class RecordReader:
    """Turns the records of one file into sentences; ``counts`` get the outcomes of character spans."""

    def __init__(self, path: Path, options: ReadingOptions, counts: SpanCounts) -> None:
        self._path, self._options, self._counts = path, options, counts
        self._text_key, self._label_key = options.text_column_name, options.label_column_name
        self._cells = TagCells(options.label_names)
        self._has_spans: bool | None = True if options.format == "spans" else None  # False: tokens with tags
        self._formats = offered_formats()
        if self._formats is None and options.span_offsets not in ("auto", "exclusive"):
            advice = "leave it out, or put the extra back that reads the formats of tools"
            raise DataError("--data.span_offsets", None, f"{options.span_offsets!r} cannot be read", advice)
        self._offsets = self._formats and self._formats.offsets(options.span_offsets)

    def read_all(self, records: Iterable[tuple[int, Any]]) -> Iterator[Sentence]:
        """Yield the sentences of (line, record) pairs; a :class:`DataError` for what does not fit."""
        if self._formats is not None:
            return self.read_items(self._formats.adapt(self._path, records, self._options))
        return self.read_items((self._path, line, record) for line, record in records)

    def read_items(self, items: Iterable[tuple[Path, int, Item]]) -> Iterator[Sentence]:
        """Yield the sentences of (file, line, item), once they were adapted."""
        path = self._path
        for path, line, item in items:
            if isinstance(item, Note):
                self._counts.say(path, item)
                continue
            try:
                sentence = self._read(item, line)
            except MisfitError as misfit:
                raise DataError(path, line, *misfit.args) from None
            self._counts.note(path, line)
            if sentence is not None:
                sentence.line = line
                if not self._options.tagged:
                    name = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
                    sentence.id = name if type(name) in (str, int) else None
                yield sentence
        if self._offsets is not None and (note := self._offsets.finish(path)):
            self._counts.say(path, note, is_surprise=True)

    def _read(self, item: Item, line: int) -> Sentence | None:
        if isinstance(item, dict):
            item = self._read_record(item)
        if isinstance(item, Sentence):
            return item
        reason = item if isinstance(item, str) else getattr(item, "left_out", None)
        if reason is not None and self._options.tagged:
            self._counts.leave_out(reason)
            return None
        if isinstance(item, AnnotatedText):
            return self._read_text(item, line)
        if item is not None and not isinstance(item, str):
            raise MisfitError(*no_object(item))
        return None

    def _read_record(self, record: Record) -> Sentence | AnnotatedText:
        if self._formats is None and (key := first_in(_OF_TOOLS, record)):
            advice = "keep it, or give tokens with tags, or text with spans alone"
            raise MisfitError(f"{key!r} is a tool's word, which the extra `formats` would read", advice)
        is_settled = self._has_spans or (self._has_spans is False and self._options.tagged)
        token_key = None if is_settled else list_key(record, self._text_key, WORDS, str)
        if not self._options.tagged:
            if token_key is not None:
                return of_tokens(record, token_key)
            return AnnotatedText(text_of(record, self._text_key) if record else "", document=document_of(record))
        if self._has_spans is None:
            self._decide(record, token_key)
        if self._has_spans:
            return AnnotatedText(text_of(record, self._text_key), self._spans(record), document=document_of(record))
        sentence = of_tokens(record, self._text_key)
        tags = _list(record, self._label_key or TAGS[0], "tags", "give one tag per token")
        if len(tags) != len(sentence.tokens):
            found = f"{len(sentence.tokens)} tokens in {self._text_key!r}, but {len(tags)} tags in {self._label_key!r}"
            raise MisfitError(found, "give one tag per token")
        sentence.tags = self._cells.read_all(tags)
        return sentence

    def _decide(self, record: Record, token_key: str | None) -> None:
        """Whether the records of the file hold spans, and under which keys tokens and tags are."""
        tag_key = self._label_key or list_key(record, None, TAGS, str, int)
        tag_key = tag_key or (token_key and rival_of(record, None, (token_key, *WORDS)))
        self._has_spans = token_key is None or tag_key is None
        if not self._has_spans:
            if tag_key and not self._label_key and (rival := rival_of(record, tag_key, (token_key, *WORDS))):
                problem = f"{tag_key!r} is named like tags, but the tags are in {rival!r}"
                raise MisfitError(problem, "name one of them with --data.label_column_name")
            if None in (self._text_key, self._label_key):
                self._counts.say(self._path, f"words are in {token_key!r}, tags in {tag_key!r}")
            self._text_key, self._label_key = token_key, tag_key
        elif find_text(record, self._text_key) is None or (token_key is not None and first_in(SPANS, record) is None):
            advice = "give a list with a string for each word (pandas: orient='records')"
            for key, what in (*((key, "tokens") for key in WORDS), *((key, "tags") for key in TAGS)):
                value = record.get(key, [])
                if not isinstance(value, list):
                    _list(record, key, what, advice)
                elif what == "tokens" and value and isinstance(value[0], (list, dict)):
                    raise MisfitError(f"{key!r} holds {describe(value[0])} in place of a word", advice)
            null = next((key for key in (*WORDS, *TAGS, *TEXTS) if key in record and record[key] is None), None)
            problem = f"{null!r} is null" if null else "neither tokens with tags nor text with spans were found"
            otherwise = 'or write {"tokens": […], "tags": […]} or {"text": …, "label": [[start, end, type]]}'
            raise MisfitError(problem, f"{NAME_COLUMNS} (the keys are {keys_of(record)}), {otherwise}")

    def _read_text(self, item: AnnotatedText, line: int) -> Sentence:
        text = item.text
        words = split_words(text) if item.words is None else item.words
        tokens = [text[a:b] for a, b in words]
        sentence = item.sentence or Sentence(tokens, document=item.document, text=text, offsets=words)
        if self._options.tagged:
            spans = [span for each in item.spans for span in parse_span(each)]
            settle = self._offsets and self._offsets.settle
            spans = settle(text, words, spans, line) if settle else check_spans(text, spans)
            sentence.tags = tag_words(text, words, spans, self._counts)
        return sentence

    def _spans(self, record: Record) -> list[Any]:
        """The spans of a record, under the key of the first record's."""
        key = self._options.label_column_name or span_key(record, self._label_key)
        if self._label_key is None and key is not None and record.get(key):
            self._counts.say(self._path, f"spans are in {key!r}")
            self._label_key = key
        if key is None or key not in record:
            problem = f"the key {key!r} is missing" if key else "there are no spans"
            advice = "add them ([] where nothing is marked), or name their key with --data.label_column_name"
            raise MisfitError(problem, f"{advice} (the keys are {keys_of(record)})")
        items = [] if record[key] is None else record[key]
        if isinstance(items, dict) and items.keys() == {"entities"}:  # of spaCy 2
            items = items["entities"]
        if not isinstance(items, list):
            raise MisfitError(f"the spans are {describe(items)}, not a list", "give them as [[start, end, type], …]")
        return items


def no_object(value: object) -> tuple[str, str]:
    """Problem and advice for what is no record."""
    advice = "give every sentence as an object, {…}; a list of them goes in a .json file (pandas: orient='records')"
    return f"this is not a JSON object but {describe(value)}", advice


def keys_of(record: Record) -> str:
    """The keys of a record, for messages."""
    return ", ".join(map(repr, list(record)[:12])) or "none"


def list_key(record: Record, asked: str | None, usual: Iterable[str], *kinds: type) -> str | None:
    """The key, a usual one unless it is asked for, of a list that is empty or has such a first element."""
    for key in usual if asked is None else (asked,):
        value = record.get(key)
        if isinstance(value, list) and (not value or isinstance(value[0], kinds)):
            return key
    return None


def span_key(record: Record, known: str | None = None) -> str | None:
    """The usual key of the spans, the ``known`` one of records before if there was one; refuses to choose among two."""
    if known in record and len(_SPAN_KEYS.intersection(record)) == 1:  # most, fast
        return known
    full = [key for key in SPANS if (value := record.get(key)) and type(value) is list and type(value[0]) in _SPAN]
    if len(full) > 1 or (full and known in record and full[0] != known):
        problem = "there are spans in " + " and in ".join(map(repr, full))
        problem += f", and before in {known!r}" * (known is not None and known not in full)
        raise MisfitError(problem, "choose one of the keys with --data.label_column_name")
    return known or (full[0] if full else first_in(SPANS, record))


def _list(record: Record, key: str, what: str, advice: str) -> list[Any]:
    if key not in record:
        problem = f"the key {key!r} is missing (the keys are {keys_of(record)})"
        raise MisfitError(problem, f"complete the record, or {NAME_COLUMNS}")
    value = record[key]
    if not isinstance(value, list):
        raise MisfitError(f"{key!r} is {describe(value)}, not a list of {what}", advice)
    return value


def of_tokens(record: Record, key: str | None) -> Sentence:
    """A sentence of the words under a key, with its text where they are found in it."""
    tokens = _list(record, key or WORDS[0], "tokens", "give the words as a list of strings")
    for position, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            problem = f"token {position} is {describe(token)}, not a string"
            raise MisfitError(problem, "write every token in quotation marks")
    text = record.get("text")
    offsets = locate_words(tokens, text) if isinstance(text, str) else None
    document = document_of(record)
    return Sentence(tokens, document=document, text=None if offsets is None else text, offsets=offsets)


def find_text(record: Record, asked: str | None) -> str | None:
    """The text of a record, if it has one."""
    values = map(record.get, TEXTS if asked is None else (asked,))
    return next((value for value in values if isinstance(value, str)), None)


def text_of(record: Record, asked: str | None) -> str:
    """The text of a record, under a usual key or the one that is asked for."""
    text = find_text(record, asked)
    if text is None:
        problem = "there is no text" + ("" if asked is None else f" in {asked!r}")
        advice = "complete the record, or name the key with --data.text_column_name"
        raise MisfitError(problem, f"{advice} (the keys are {keys_of(record)})")
    return text


def document_of(record: Record) -> str | None:
    """What a record says of the document it belongs to."""
    for name in DOCUMENTS:
        if name in record and isinstance(record[name], (str, int, float)):
            return str(record[name])
    return None


def parse_span(item: Any) -> list[CharSpan]:
    """A span; several when it carries several labels. Offsets may be written as strings or floats."""
    start = end = labels = quote = None
    if isinstance(item, dict):
        start, end, labels, quote, length, name = (key and item[key] for key in _span_keys(tuple(item)))
        if end is None and (key := next((key for key, each in item.items() if isinstance(each, dict)), None)):
            return parse_span({**item[key], **item, key: None})  # {"position": {"start": 0, …}, …}
        if end is None and isinstance(start, list):
            start, end = start if len(start) == 2 else (None, None)
        elif end is None and type(start) is type(length) is int:
            end = start + length
        if quote is None and isinstance(name, str) and type(start) is type(end) is int:
            quote = name if 0 <= len(name) - end + start < 2 else None
        quote = quote if isinstance(quote, str) else None
    elif isinstance(item, (list, tuple)) and len(item) == 3:
        start, end, labels = item if type(item[0]) is int or _offset(item[0]) is not None else (*item[1:], item[0])
    if type(start) is type(end) is int and type(labels) is str:  # most, fast
        return [CharSpan(start, end, check_type(labels), quote)]
    names: list[Any] = labels if isinstance(labels, list) else [labels]
    start, end = _offset(start), _offset(end)
    if start is None or end is None or not names or not all(isinstance(name, str) for name in names):
        advice = 'write [start, end, "TYPE"] or {"start": …, "end": …, "label": …}'
        if any(type(name) is int for name in names):
            advice = "give the names of types, not their numbers (doccano: export text labels)"
        raise MisfitError(f"a span is {describe(item)}", advice)
    return [CharSpan(start, end, check_type(name), quote) for name in names]


@lru_cache(1_000)
def _span_keys(keys: tuple[str, ...]) -> list[str | None]:
    """The keys of start, end, type, quote, length and mention."""
    plain = {str(key).lower().replace("_", ""): key for key in keys}
    found = [first_in(names, plain) for names in (_STARTS, _ENDS, TYPES, ("text",), ("length",))]
    found.append(first_in(_MENTIONS, plain.keys() - {found[2]}))
    return [None if name is None else plain[name] for name in found]


def _offset(value: Any) -> int | None:
    if type(value) is int or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else None
