"""What libraries, corpora and language models write as JSON -> texts with spans, or words with tags.

Each is a generator, as those of annotation tools (`tools.py`) are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ner_module.data.formats.adapters import AnnotatedText, Item
from ner_module.data.formats.char_spans import DISCONTINUOUS, CharSpan
from ner_module.data.formats.options import first_in
from ner_module.data.formats.records import SPANS, TYPES, document_of, span_key, text_of
from ner_module.extras.formats.offsets import find_quote
from ner_module.extras.formats.word_spans import File, tagged

UNTOUCHED = "texts that nobody annotated"
_QUOTES = ("text", "word", "mention", "name", "value", "quote", "entity")


def spacy_json(record: Any, file: File) -> Iterator[Item]:
    """Training files of spaCy 2: ``{"paragraphs": [{"sentences": [{"tokens": [{"orth", "ner"}]}]}]}``."""
    for tokens in (sentence["tokens"] for part in record["paragraphs"] for sentence in part["sentences"]):
        tags = [token.get("ner", "-") for token in tokens]  # - is a tag that nobody gave
        found = {"tokens": [token["orth"] for token in tokens], "tags": tags}
        yield UNTOUCHED if file.is_tagged and "-" in tags else found


def spacy(pair: Any, file: File) -> Iterator[Item]:
    """Training data of spaCy 2: ``[text, {"entities": [[start, end, type]]}]``."""
    yield AnnotatedText(pair[0], pair[1]["entities"])


def gliner(record: Any, file: File) -> Iterator[Item]:
    """``{"tokenized_text": […], "ner": [[start, end, type]]}``, in words, ends inclusive."""
    yield tagged(record, "tokenized_text", [CharSpan(start, end + 1, name) for start, end, name in record["ner"]], file)


def cluener(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "label": {type: {quote: [[start, end]]}}}``, ends inclusive."""
    found = ((name, *each) for name, quotes in record["label"].items() for each in quotes.items())
    marks = ((name, quote, place) for name, quote, places in found for place in places)
    spans = [{"start": at[0], "end": at[1] + 1, "label": name, "text": quote} for name, quote, at in marks]
    yield AnnotatedText(record["text"], spans)


def rasa(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "intent", "entities": [{"start", "end", "value", "entity"}]}``, also in Rasa's whole file."""
    for each in record["rasa_nlu_data"]["common_examples"] if "rasa_nlu_data" in record else [record]:
        yield AnnotatedText(each["text"], each.get(file.label_key or span_key(each) or "") or ())


def quotes(record: Any, file: File) -> Iterator[Item]:
    """As language models answer: ``{"text", "entities": [{"text", "type"}]}`` or ``{type: [quote]}``, no offsets."""
    text, spans, near = text_of(record, file.text_key), [], 0
    for quote, name in quoted(record):
        skipped = near if quote in text[near:] else 0
        start, end = find_quote(text[skipped:], quote, 0)
        near = skipped + end
        spans.append((skipped + start, near, name))
    yield AnnotatedText(text, spans, document=document_of(record))


def quoted(record: Any) -> list[tuple[Any, Any]]:
    """Quote and type of each span of a record, where spans have no places."""
    spans, pairs = record.get(first_in(SPANS, record)), []
    if isinstance(spans, dict):
        pairs = [(each, name) for name, quotes in spans.items() for each in (quotes if type(quotes) is list else [0])]
    elif isinstance(spans, list) and spans and isinstance(spans[0], dict) and all(isinstance(e, dict) for e in spans):
        parts = [(str(key).lower(), value) for each in spans for key, value in each.items()]
        if any("start" in key or "offset" in key or (type(at) is list and len(at) == 2) for key, at in parts):
            return []
        options = [(quote, name) for name in TYPES for quote in _QUOTES if quote != name]
        keys = next((pair for pair in options if spans[0].keys() >= {*pair}), ("", ""))
        pairs = [(each.get(keys[0]), each.get(keys[1])) for each in spans]
    return pairs if pairs and all(isinstance(part, str) for pair in pairs for part in pair) else []


def bioc(record: Any, file: File) -> Iterator[Item]:
    """BioC JSON: ``{"documents": [{"passages": [{"offset", "text", "annotations": [{"infons", "locations"}]}]}]}``."""
    for document in record.get("documents") or record.get("PubTator3") or [record]:
        for passage in document["passages"]:
            marks, spans = passage.get("annotations") or (), []
            for each in marks:
                at = each["locations"][0]
                span = {"start": at["offset"] - passage["offset"], "length": at["length"], "text": each.get("text")}
                spans.append({**span, "label": each["infons"]["type"]} if len(each["locations"]) == 1 else None)
            yield from [DISCONTINUOUS] * spans.count(None)
            yield AnnotatedText(passage.get("text", ""), [*filter(None, spans)], document=document.get("id"))


def dygie(record: Any, file: File) -> Iterator[Item]:
    """DyGIE++, SciERC: ``{"sentences": [[word]], "ner": [[[start, end, type]]]}``, words of the document, inclusive."""
    first = 0
    for words, spans in zip(record["sentences"], record["ner"], strict=True):
        marks = [CharSpan(start - first, end + 1 - first, name) for start, end, name, *_ in spans]
        yield tagged({"tokens": words, "document": record.get("doc_key")}, "tokens", marks, file)
        first += len(words)


def w2ner(record: Any, file: File) -> Iterator[Item]:
    """W2NER: ``{"sentence": [word], "ner": [{"index": [0, 1], "type"}]}``."""
    places = [(each["index"][0], each["index"][-1] + 1, each["index"], each["type"]) for each in record["ner"]]
    marks = [CharSpan(start, end, name) for start, end, index, name in places if index == [*range(start, end)]]
    yield from [DISCONTINUOUS] * (len(places) - len(marks))
    yield tagged(record, "sentence", marks, file)


def snips(record: Any, file: File) -> Iterator[Item]:
    """Snips: ``{"data": [{"text": "play "}, {"text": "Ada", "entity": "artist"}]}``."""
    if not file.is_tagged and not any("entity" in part for part in record["data"]):
        yield from (AnnotatedText(part["text"]) for part in record["data"])  # not of Snips, maybe
        return
    text, spans = "", []
    for part in record["data"]:
        text += part["text"]
        spans += [(len(text) - len(part["text"]), len(text), part["entity"])] if "entity" in part else []
    yield AnnotatedText(text, spans)


def is_snips(record: Any) -> bool:
    """Whether a record is an utterance of Snips: parts of a text, some of which are entities."""
    parts = record["data"] if record.keys() == {"data"} and isinstance(record["data"], list) else [{}]
    return all(isinstance(e, dict) and {"text"} <= e.keys() <= {"text", "entity", "slot_name"} for e in parts)


def vertex(record: Any, file: File) -> Iterator[Item]:
    """Vertex AI: ``{"textContent", "textSegmentAnnotations": [{"startOffset", "endOffset", "displayName"}]}``."""
    # A start of 0 may be left out.
    yield AnnotatedText(record["textContent"], [{"startOffset": 0, **e} for e in record["textSegmentAnnotations"]])


def table_rows(record: Any) -> list[Any] | None:
    """The rows of a table in one object, as pandas writes it (orient: index, columns, split); ``None`` if it is none.

    A list of words, each with its tag, is a row, too.
    """
    if isinstance(record, list):
        pairs = [(e.get("text"), e.get("ner")) if isinstance(e, dict) else e for e in record]  # of Stanza
        if not record or not all(isinstance(e, (list, tuple)) and [*map(type, e)] == [str, str] for e in pairs):
            return None
        return [{"tokens": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}]
    if not isinstance(record, dict) or not ("columns" in record or isinstance(next(iter(record.values()), 0), dict)):
        return None
    names: Any = record.get("columns")
    rows: Any = record.get("data")
    is_split = isinstance(names, list) and isinstance(rows, list) and record.keys() <= {"columns", "index", "data"}
    if is_split and rows and all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    values = list(record.values())
    if not all(isinstance(value, dict) and value for value in values):
        return None
    if all(map(str.isdecimal, record)):
        return values
    if all(map(str.isdecimal, {key for value in values for key in value})):
        return [{name: column.get(row) for name, column in record.items()} for row in values[0]]
    return None
