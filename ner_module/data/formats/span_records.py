"""What annotation tools export -> text and character spans: doccano, Label Studio, Prodigy and plain variants.

=============  =======================================================================================================
doccano        ``{"text", "label" | "labels": [[start, end, type]]}``, or ``"entities": [{"start_offset",
               "end_offset", "label"}]`` (with relations)
Label Studio   tasks ``{"data": {"text"}, "annotations": [{"result": [{"value": {"start", "end", "labels"}}]}]}``, or
               JSON-MIN ``{"text", "label": [{"start", "end", "labels"}]}``; a span with two labels counts as two
Prodigy        ``{"text", "tokens", "spans": [{"start", "end", "label"}], "answer"}``; its tokens are the words, and
               only accepted texts are read
=============  =======================================================================================================

Offsets are characters. Where a span repeats its text and that does not match, UTF-16 units are tried (Label Studio
counts emoji as two); if that does not match either, it is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import CharSpan, SpanCounts, from_utf16
from ner_module.data.formats.tag_cells import describe
from ner_module.errors import DataError

TEXT_KEYS = ("text", "sentence", "content")
_SPAN_KEYS = ("spans", "entities", "label", "labels", "annotations", "ner")
_START_KEYS = ("start", "start_offset", "start_char")
_END_KEYS = ("end", "end_offset", "end_char")
_TYPE_KEYS = ("label", "labels", "type", "entity_type", "entity_group")


def find_text(record: dict[str, Any], key: str | None) -> str | None:
    """The text of a record: under ``key``, or under one of the usual ones; ``None`` when there is none."""
    data = record.get("data")
    for holder in (record, data if isinstance(data, dict) else {}):
        for name in TEXT_KEYS if key is None else (key,):
            if isinstance(holder.get(name), str):
                return str(holder[name])
    return data if isinstance(data, str) and key in (None, "data") else None


def is_rejected(record: dict[str, Any], counts: SpanCounts) -> bool:
    """Whether the annotator refused this text, or has not looked at it; counted."""
    annotations = _annotations(record)
    refused = record.get("answer", "accept") != "accept"
    if refused or (annotations is not None and not any(not item.get("was_cancelled") for item in annotations)):
        counts.rejected_texts += 1
        return True
    return False


def given_words(path: Path, line: int, record: dict[str, Any], text: str) -> list[tuple[int, int]] | None:
    """The words of a Prodigy record; ``None`` for a record that has none of its own.

    Raises:
        DataError: its tokens are not the text, in order, with nothing between but white space.
    """
    tokens = record.get("tokens")
    if not isinstance(tokens, list) or not tokens or not any(isinstance(token, dict) for token in tokens):
        return None
    offsets: list[tuple[int, int]] = []
    reached = 0
    for token in [*tokens, {"start": len(text), "end": len(text)}]:
        start, end = (token.get("start"), token.get("end")) if isinstance(token, dict) else (None, None)
        if type(start) is not int or type(end) is not int or not reached <= start <= end <= len(text):
            problem = f"a token is {describe(token)}, without a place in the text after the token before"
            raise DataError(path, line, problem, "give its start and end in characters")
        if missed := text[reached:start].strip():
            raise DataError(path, line, f"the tokens leave out {describe(missed)}", "export the record again")
        if text[start:end].strip():  # spaCy has white space tokens; they are no words
            offsets.append((start, end))
        reached = end
    return offsets


def find_spans(
    path: Path, line: int, record: dict[str, Any], text: str, key: str | None, counts: SpanCounts
) -> list[CharSpan]:
    """The annotated spans of a record.

    ``key`` is where they are, in all but Label Studio tasks; :func:`span_key` finds it.

    Raises:
        DataError: there are none to be found, or one does not fit the text.
    """
    annotations = _annotations(record)
    if annotations is not None:
        valid = [item for item in annotations if not item.get("was_cancelled")]
        counts.further_annotations += len(valid) - 1
        items: Any = [item.get("value") for item in valid[0]["result"] if _is_label(item)]
    else:
        name = key or span_key(record)
        if name not in record and ("answer" in record or "annotation_id" in record) and not _other_spans(record):
            return []  # Prodigy and JSON-MIN may leave the key out where nothing was marked
        if name is None or name not in record:
            missing = f"the key {name!r} is missing" if name else "there are no spans"
            keys = ", ".join(map(repr, list(record)[:12]))
            advice = (
                "add them ([] where nothing is marked), or name their key with --data.label_column_name "
                f"(there are {keys})"
            )
            raise DataError(path, line, missing, advice)
        items = record[name]
    if items is None:
        return []
    if not isinstance(items, list):
        problem = f"the spans are {describe(items)}, not a list"
        raise DataError(path, line, problem, "give them as [[start, end, type], …]")
    spans = [span for item in items for span in read_span(path, line, item)]
    return check_spans(path, line, text, spans)


def check_spans(path: Path, line: int, text: str, spans: list[CharSpan]) -> list[CharSpan]:
    """Return the spans in characters of ``text``; raise DataError for one that does not belong to it."""
    if not all(_fits(text, span) for span in spans):
        converted = from_utf16(text, spans) if any(span.quote is not None for span in spans) else None
        if converted is not None and all(_fits(text, span) for span in converted):
            return converted
    for span in spans:
        if not 0 <= span.start <= span.end <= len(text):
            problem = (
                f"the span {span.start} to {span.end} ({span.entity_type}) leaves the text of {len(text)} characters"
            )
            raise DataError(path, line, problem, "correct its offsets (characters from 0, the end exclusive)")
        if not _fits(text, span):
            problem = (
                f"the span {span.start} to {span.end} ({span.entity_type}) is {describe(text[span.start : span.end])}, "
                f"but the file quotes {describe(span.quote)}"
            )
            raise DataError(path, line, problem, "offsets and text do not belong together; export them again")
    return spans


def _fits(text: str, span: CharSpan) -> bool:
    inside = 0 <= span.start <= span.end <= len(text)
    return inside and (
        span.quote is None or " ".join(text[span.start : span.end].split()) == " ".join(span.quote.split())
    )


def _annotations(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The annotations of a Label Studio task; ``None`` for other records."""
    annotations = record.get("annotations", record.get("completions"))
    if not isinstance(annotations, list) or not isinstance(record.get("data"), dict):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("result"), list) for item in annotations):
        return None
    return annotations


def _is_label(item: Any) -> bool:
    """Whether an item of a Label Studio result marks text (others are relations, choices, …)."""
    if not isinstance(item, dict):
        return True  # refused when it is read
    value = item.get("value")
    return item.get("type") == "labels" or (isinstance(value, dict) and "labels" in value)


def _other_spans(record: dict[str, Any]) -> list[str]:
    """Keys of no usual name that hold what looks like spans."""
    lists = ((name, value) for name, value in record.items() if name not in _SPAN_KEYS and isinstance(value, list))
    return [name for name, value in lists if any(isinstance(e, dict) and {"label", "labels"} & e.keys() for e in value)]


def span_key(record: dict[str, Any]) -> str | None:
    """The key of the spans: a usual one, or in Label Studio's JSON-MIN the name of the labelling control."""
    usual = next((name for name in _SPAN_KEYS if name in record), None)
    if usual is None and len(others := _other_spans(record)) == 1:
        return others[0]
    return usual


def read_span(path: Path, line: int, item: Any) -> list[CharSpan]:
    """A span; several when it carries several labels."""
    start = end = labels = quote = None
    if isinstance(item, dict):
        start = next((item[key] for key in _START_KEYS if key in item), None)
        end = next((item[key] for key in _END_KEYS if key in item), None)
        labels = next((item[key] for key in _TYPE_KEYS if key in item), None)
        quote = item.get("text")
    elif isinstance(item, list) and len(item) == 3:
        start, end, labels = item
    listed = labels if isinstance(labels, list) else [labels]
    names = [name for name in listed if isinstance(name, str)]
    if type(start) is not int or type(end) is not int or len(names) < len(listed):
        advice = 'write [start, end, "TYPE"] or {"start": …, "end": …, "label": …}'
        raise DataError(path, line, f"a span is {describe(item)}", advice)
    return [
        CharSpan(start, end, check_type(path, line, name), quote if isinstance(quote, str) else None) for name in names
    ]


def check_type(path: Path, line: int, name: str) -> str:
    """Return an entity type; raise DataError where it cannot be written as part of a tag."""
    cleaned = name.strip()
    if not cleaned or not cleaned.isprintable():
        raise DataError(path, line, f"the entity type {name!r} is empty or has control characters", "rename it")
    return cleaned
