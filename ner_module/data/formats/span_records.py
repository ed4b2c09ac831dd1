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
counts emoji as two); if that does not match either, it is an error. Every function here raises :class:`MisfitError`.
"""

from __future__ import annotations

from typing import Any

from ner_module.data.formats.char_spans import CharSpan, SpanCounts, from_utf16
from ner_module.data.formats.options import CHAR_SPANS, TEXTS, first_in
from ner_module.data.formats.tag_cells import MisfitError, describe

Record = dict[str, Any]

_STARTS = ("start", "start_offset", "start_char")
_ENDS = ("end", "end_offset", "end_char")
_TYPES = ("label", "labels", "type", "entity_type", "entity_group")


def keys_of(record: Record) -> str:
    """The keys of a record, for messages."""
    return ", ".join(map(repr, list(record)[:12])) or "none"


def find_text(record: Record, key: str | None) -> str | None:
    """The text of a record: under ``key``, or under one of the usual ones; ``None`` when there is none."""
    data = record.get("data")
    for holder in (record, data if isinstance(data, dict) else {}):
        for name in TEXTS if key is None else (key,):
            if isinstance(holder.get(name), str):
                return str(holder[name])
    return data if isinstance(data, str) and key in (None, "data") else None


def is_rejected(record: Record, counts: SpanCounts) -> bool:
    """Whether the annotator refused this text, or has not looked at it; counted."""
    rejected = record.get("answer", "accept") != "accept" or _annotations(record) == []
    counts.rejected_texts += rejected
    return rejected


def given_words(record: Record, text: str) -> list[tuple[int, int]] | None:
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


def find_spans(record: Record, text: str, key: str | None, counts: SpanCounts) -> list[CharSpan]:
    """The annotated spans of a record, checked against its text; in Label Studio tasks, those of the first annotator.

    ``key`` is where they are in other records; :func:`span_key` finds it.
    """
    annotations = _annotations(record)
    if annotations is not None:
        counts.further_annotations += len(annotations) - 1
        items: Any = [item.get("value") for item in annotations[0]["result"] if _is_label(item)]
    else:
        name = key or span_key(record)
        if name not in record and ("answer" in record or "annotation_id" in record) and not _other_spans(record):
            return []  # Prodigy and JSON-MIN may leave the key out where nothing was marked
        if name is None or name not in record:
            problem = f"the key {name!r} is missing" if name else "there are no spans"
            advice = "add them ([] where nothing is marked), or name their key with --data.label_column_name"
            raise MisfitError(problem, f"{advice} (there are {keys_of(record)})")
        items = record[name]
    if items is None:
        return []
    if not isinstance(items, list):
        raise MisfitError(f"the spans are {describe(items)}, not a list", "give them as [[start, end, type], …]")
    return check_spans(text, [span for item in items for span in read_span(item)])


def check_spans(text: str, spans: list[CharSpan]) -> list[CharSpan]:
    """The spans in characters of ``text``; refuses one that does not belong to it."""
    misfit = next((span for span in spans if not _fits(text, span)), None)
    if misfit is None:
        return spans
    converted = from_utf16(text, spans) if any(span.quote is not None for span in spans) else None
    if converted is not None and all(_fits(text, span) for span in converted):
        return converted
    start, end, entity_type, quote = misfit
    problem = f"the span {start} to {end} ({entity_type})"
    if not 0 <= start <= end <= len(text):
        problem = f"{problem} leaves the text of {len(text)} characters"
        raise MisfitError(problem, "correct its offsets (characters from 0, the end exclusive)")
    problem = f"{problem} is {describe(text[start:end])}, but the file quotes {describe(quote)}"
    raise MisfitError(problem, "offsets and text do not belong together; export them again")


def _fits(text: str, span: CharSpan) -> bool:
    if not 0 <= span.start <= span.end <= len(text):
        return False
    return span.quote is None or text[span.start : span.end].split() == span.quote.split()


def _annotations(record: Record) -> list[Record] | None:
    """The annotations of a Label Studio task that were not cancelled; ``None`` for other records."""
    annotations = record.get("annotations", record.get("completions"))
    if not isinstance(annotations, list) or not isinstance(record.get("data"), dict):
        return None
    if not all(isinstance(item, dict) and isinstance(item.get("result"), list) for item in annotations):
        return None
    return [item for item in annotations if not item.get("was_cancelled")]


def _is_label(item: Any) -> bool:
    """Whether an item of a Label Studio result marks text (others are relations, choices, …)."""
    if not isinstance(item, dict):
        return True  # refused when it is read
    value = item.get("value")
    return item.get("type") == "labels" or (isinstance(value, dict) and "labels" in value)


def _other_spans(record: Record) -> list[str]:
    """Keys of no usual name that hold what looks like spans."""
    lists = ((name, value) for name, value in record.items() if name not in CHAR_SPANS and isinstance(value, list))
    return [name for name, value in lists if any(isinstance(e, dict) and {"label", "labels"} & e.keys() for e in value)]


def span_key(record: Record) -> str | None:
    """The key of the spans: a usual one, or in Label Studio's JSON-MIN the name of the labelling control."""
    others = _other_spans(record)
    return first_in(CHAR_SPANS, record) or (others[0] if len(others) == 1 else None)


def read_span(item: Any) -> list[CharSpan]:
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


def check_type(name: str) -> str:
    """An entity type without white space around it; refuses one that cannot be written as part of a tag."""
    cleaned = name.strip()
    if not cleaned or not cleaned.isprintable():
        raise MisfitError(f"the entity type {name!r} is empty or has control characters", "rename it")
    return cleaned
