"""What annotation tools and other libraries write as JSON -> texts with spans, or words with tags.

Each tool is a line in :data:`_TOOLS`: whether a record is its own, and a generator of what is in it. What is nobody's
judgement of a whole text (predictions of a machine, texts that are rejected, discarded or not done) is never read as
one: it is yielded as a string, or as a text with ``left_out``, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_module.data.formats.adapters import AnnotatedText, Item, Items
from ner_module.data.formats.cells import MisfitError, describe, errors_at
from ner_module.data.formats.char_spans import DISCONTINUOUS, CharSpan, locate_words
from ner_module.data.formats.options import ReadingOptions, first_in
from ner_module.data.formats.records import SPANS, document_of, list_key, text_of
from ner_module.errors import DataError
from ner_module.extras.formats.offsets import find_quote
from ner_module.extras.formats.word_spans import File, tagged

_NO_JUDGEMENT = "texts that nobody annotated"
_REJECTED = "rejected texts"
_PENDING = "texts whose annotation is not submitted"
_MACHINE = "machine predictions"
_OTHER_ANNOTATOR = "further annotations"
_BINARY = "binary judgements, which say nothing of other words"


def _label_studio(task: Any, file: File) -> Iterator[Item]:
    """Tasks: ``{"data": {"text"}, "annotations": [{"result": [{"type", "from_name", "value": {…}}]}]}``."""
    text, document = text_of(task["data"], file.text_key), document_of(task["data"])
    if not file.is_tagged:
        yield AnnotatedText(text, document=document)
        return
    done = [each for each in task.get("annotations", task.get("completions")) or () if not each.get("was_cancelled")]
    yield from [_MACHINE] * len(task.get("predictions") or ())
    if not done:
        yield AnnotatedText(text, document=document, left_out=_NO_JUDGEMENT)
        return
    yield from [_OTHER_ANNOTATOR] * (len(done) - 1)
    marks = [mark for mark in done[0]["result"] if str(mark.get("type", "labels")).endswith("labels")]
    controls = {str(mark.get("from_name")) for mark in marks}
    file.controls |= controls
    if file.label_key is not None:
        marks = [mark for mark in marks if mark.get("from_name") == file.label_key]
    elif len(controls) > 1:
        problem = f"several controls mark text ({', '.join(sorted(controls))})"
        raise MisfitError(problem, "choose one with --data.label_column_name")
    spans = [_label_studio_span(mark.get("type", "labels"), mark.get("value")) for mark in marks]
    yield AnnotatedText(text, spans, document=document)


def _label_studio_span(kind: str, value: Any) -> Any:
    if kind == "labels":
        return value
    if kind == "hypertextlabels" and "globalOffsets" in value:
        return {**value["globalOffsets"], "labels": value["hypertextlabels"], "text": value.get("text")}
    problem = f"marks of the kind {kind!r} have no offsets in the text"
    raise MisfitError(problem, "label with <Labels> on <Text>, or export hypertext with its globalOffsets")


def _json_min(record: Any, file: File) -> Iterator[Item]:
    """Label Studio's JSON-MIN: ``{"text", "annotation_id", "NAME OF THE CONTROL": [{"start", "end", "labels"}]}``."""
    found = [
        key for key, value in record.items() if isinstance(value, list) and any("labels" in each for each in value)
    ]
    if file.label_key is None and len(found) > 1:
        problem = f"several controls mark text ({', '.join(found)})"
        raise MisfitError(problem, "choose one with --data.label_column_name")
    spans = record.get(file.label_key or (found or [""])[0]) or []
    yield AnnotatedText(text_of(record, file.text_key), spans, document=document_of(record))


def _prodigy(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "tokens", "spans": [{"start", "end", "label"}], "answer"}``; its tokens are the words."""
    text = text_of(record, file.text_key)
    answer, spans = record.get("answer", "accept"), record.get(file.label_key or first_in(SPANS, record) or "") or []
    words = _words(text, record["tokens"]) if record.get("tokens") else None
    reason = None if answer == "accept" else _REJECTED
    if record.get("_is_binary"):
        yield _BINARY
        spans = spans if reason is None else []
        yield _Partial(text, spans, words, document_of(record), reason, record.get("_input_hash", text))
    else:
        yield AnnotatedText(text, spans, words, document_of(record), reason)


@dataclass
class _Partial(AnnotatedText):
    """A judgement of a part of a text; those of one ``key`` that follow each other are of one text."""

    key: object = None


def _words(text: str, tokens: list[Any]) -> list[tuple[int, int]]:
    """The places of tokens, which must cover a text."""
    places: list[tuple[int, int]] = []
    reached = 0
    for token in [*tokens, {"start": len(text), "end": len(text)}]:
        start, end = (token.get("start"), token.get("end")) if isinstance(token, dict) else (None, None)
        if type(start) is not int or type(end) is not int or not reached <= start <= end <= len(text):
            problem = f"a token is {describe(token)}, without a place in the text after the token before"
            raise MisfitError(problem, "give its start and end in characters")
        if missed := text[reached:start].strip():
            raise MisfitError(f"the tokens leave out {describe(missed)}", "export the record again")
        if text[start:end].strip():  # spaCy has white space tokens; they are no words
            places.append((start, end))
        reached = end
    return places


def _argilla(record: Any, file: File) -> Iterator[Item]:
    """Version 1: ``{"text", "tokens", "prediction", "annotation": [[type, start, end]], "status"}``."""
    yield from [_MACHINE] * (record.get("prediction") is not None)
    reason = _NO_JUDGEMENT if record.get("annotation") is None else None
    if str(record.get("status") or "validated").lower() != "validated":
        reason = {"discarded": _REJECTED}.get(str(record["status"]).lower(), _PENDING)
    spans = [each if isinstance(each, dict) else [*each[1:3], each[0]] for each in record.get("annotation") or ()]
    text, tokens = text_of(record, file.text_key), record.get("tokens")
    yield AnnotatedText(text, spans, tokens and locate_words(tokens, text), document_of(record), reason)


def _argilla_2(record: Any, file: File) -> Iterator[Item]:
    """Version 2: ``{"fields": {"text"}, "suggestions", "responses": {"NAME": [{"value": [{…}], "status"}]}}``."""
    text, responses = text_of(record["fields"], file.text_key), record.get("responses") or {}
    yield from [_MACHINE] * len(record.get("suggestions") or ())
    names = [name for name, given in responses.items() if isinstance(given[0]["value"], list)]
    name = file.label_key or (names[0] if len(names) == 1 else None)
    if len(names) > 1 and name is None:
        raise MisfitError(f"several questions mark text ({', '.join(names)})", "choose with --data.label_column_name")
    given = responses.get(name) or []
    done = [each for each in given if each.get("status", "submitted") == "submitted"]
    yield from [_OTHER_ANNOTATOR] * (len(done) - 1)
    reason = None if done else _PENDING if given else _NO_JUDGEMENT
    reason = _REJECTED if record.get("status") == "discarded" else reason
    yield AnnotatedText(text, done[0]["value"] if done else (), document=document_of(record), left_out=reason)


def _spacy_pair(pair: Any, file: File) -> Iterator[Item]:
    """The older training data of spaCy: ``[text, {"entities": [[start, end, type]]}]``."""
    yield AnnotatedText(pair[0], pair[1]["entities"])


def _ner_annotator(record: Any, file: File) -> Iterator[Item]:
    """NER Annotator: ``{"classes": […], "annotations": [[text, {"entities": […]}], null]}``."""
    for pair in record["annotations"]:
        yield from [_NO_JUDGEMENT] if pair is None else _spacy_pair(pair, file)


def _spacy_json(record: Any, file: File) -> Iterator[Item]:
    """What ``Doc.to_json`` of spaCy gives: ``{"text", "ents": [{"start", "end", "label"}], "tokens"}``."""
    words = _words(record["text"], record["tokens"]) if record.get("tokens") else None
    yield AnnotatedText(record["text"], record["ents"], words, document_of(record))


def _dataturks(record: Any, file: File) -> Iterator[Item]:
    """``{"content", "annotation": [{"label": [type], "points": [{"start", "end", "text"}]}]}``, ends inclusive."""
    spans = [
        {**point, "end": int(point["end"]) + 1, "label": each["label"]}
        for each in record["annotation"] or ()
        for point in each["points"]
    ]
    yield AnnotatedText(record["content"], spans, left_out=_NO_JUDGEMENT if record["annotation"] is None else None)


def _gliner(record: Any, file: File) -> Iterator[Item]:
    """``{"tokenized_text": […], "ner": [[start, end, type]]}``, in words, ends inclusive."""
    spans = [CharSpan(start, end + 1, name) for start, end, name in record["ner"]]
    yield tagged(record, "tokenized_text", spans, file)


def _w2ner(record: Any, file: File) -> Iterator[Item]:
    """``{"sentence": […], "ner": [{"index": [0, 1], "type"}]}``: the numbers of the words."""
    spans = []
    for each in record["ner"]:
        first, last = each["index"][0], each["index"][-1]
        if each["index"] == list(range(first, last + 1)):
            spans.append(CharSpan(first, last + 1, each["type"]))
        else:
            yield DISCONTINUOUS
    yield tagged(record, "sentence", spans, file)


def _cluener(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "label": {type: {quote: [[start, end]]}}}``, ends inclusive."""
    spans = [
        {"start": start, "end": end + 1, "label": name, "text": quote}
        for name, quotes in record["label"].items()
        for quote, places in quotes.items()
        for start, end in places
    ]
    yield AnnotatedText(record["text"], spans)


def _rasa(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "intent", "entities": [{"start", "end", "value", "entity"}]}``; the value may be another spelling."""
    for each in record["rasa_nlu_data"]["common_examples"] if "rasa_nlu_data" in record else [record]:
        yield AnnotatedText(each["text"], [{**span, "text": None} for span in each.get("entities") or ()])


def _quotes(record: Any, file: File) -> Iterator[Item]:
    """As language models answer: ``{"text", "entities": [{"text", "type"}]}``, without offsets, in order."""
    text, spans, near = text_of(record, file.text_key), [], 0
    for each in record[_quotes_key(record)]:
        ahead = text.find(each["text"], near)
        start, end = (ahead, ahead + len(each["text"])) if ahead >= 0 else find_quote(text, each["text"], near)
        spans.append({**each, "start": start, "end": end})
        near = end
    yield AnnotatedText(text, spans, document=document_of(record))


def _quotes_key(record: Any) -> Any:
    key = first_in(SPANS, record)
    spans = record.get(key)
    is_quoted = isinstance(spans, list) and spans and all(isinstance(each, dict) and "text" in each for each in spans)
    return key if is_quoted and not any("start" in key for each in spans for key in each) else None


def _bioc(record: Any, file: File) -> Iterator[Item]:
    """BioC JSON: ``{"documents": [{"passages": [{"offset", "text", "annotations": [{"infons", "locations"}]}]}]}``."""
    for document in record.get("documents", [record]):
        for passage in document["passages"]:
            spans = []
            for each in passage.get("annotations") or ():
                if len(each["locations"]) > 1:
                    yield DISCONTINUOUS
                    continue
                start = each["locations"][0]["offset"] - passage["offset"]
                end = start + each["locations"][0]["length"]
                spans.append({"start": start, "end": end, "label": each["infons"]["type"], "text": each.get("text")})
            yield AnnotatedText(passage.get("text", ""), spans, document=document["id"])


def _has(*keys: str, **kinds: type | tuple[type, ...]) -> Callable[[Any], bool]:
    """Whether a record has such keys, and values of such kinds."""
    wanted = {*keys, *kinds}
    return lambda record: (
        isinstance(record, dict)
        and wanted <= record.keys()
        and all(isinstance(record[key], kind) for key, kind in kinds.items())
    )


def _is_label_studio(record: Any) -> bool:
    return _has(data=dict)(record) and bool({"annotations", "completions", "predictions"} & record.keys())


def _is_prodigy(record: Any) -> bool:
    if not _has("text")(record):
        return False
    is_answered = "_task_hash" in record or record.get("answer") in ("accept", "reject", "ignore")
    return is_answered or (list_key(record, "tokens", (), dict) is not None and bool(record["tokens"]))


def _is_argilla(record: Any) -> bool:
    return _has("annotation", "text")(record) and bool({"prediction", "status"} & record.keys())


def _is_pair(record: Any) -> bool:
    return isinstance(record, list) and len(record) == 2 and isinstance(record[1], dict) and "entities" in record[1]


_TOOLS: dict[str, tuple[Callable[[Any], bool], Callable[[Any, File], Iterator[Item]]]] = {
    "Label Studio": (_is_label_studio, _label_studio),
    "Label Studio JSON-MIN": (_has("annotation_id"), _json_min),
    "Prodigy": (_is_prodigy, _prodigy),
    "Argilla": (_is_argilla, _argilla),
    "Argilla 2": (_has("responses", fields=dict), _argilla_2),
    "spaCy training data": (_is_pair, _spacy_pair),
    "NER Annotator": (_has("classes", annotations=list), _ner_annotator),
    "spaCy": (_has("text", ents=list), _spacy_json),
    "DataTurks": (_has("content", "annotation"), _dataturks),
    "GLiNER": (_has(tokenized_text=list, ner=list), _gliner),
    "W2NER": (_has(sentence=list, ner=list), _w2ner),
    "CLUENER": (_has("text", label=dict), _cluener),
    "Rasa": (lambda r: _has("text", "intent")(r) or _has("rasa_nlu_data")(r), _rasa),
    "BioC": (lambda r: _has(documents=list)(r) or _has("id", passages=list)(r), _bioc),
    "quotes without offsets": (lambda r: _has("text")(r) and _quotes_key(r) is not None, _quotes),
}


def _tool_of(record: Any) -> str | None:
    return next((name for name, (recognises, _) in _TOOLS.items() if recognises(record)), None)


def adapt(path: Path, records: Iterable[tuple[int, Any]], options: ReadingOptions) -> Items:
    """Yield what the core reads for (line, record) pairs, whatever wrote them."""
    file = File(options)
    partial: tuple[int, _Partial] | None = None
    for line, record in records:
        with errors_at(path, line):
            items = list(_items(record, file))
        for item in items:
            if partial is not None and isinstance(item, AnnotatedText):
                if isinstance(item, _Partial) and item.key == partial[1].key:
                    partial[1].spans = [*partial[1].spans, *item.spans]
                    partial[1].left_out = partial[1].left_out and item.left_out
                    continue
                yield path, *partial
                partial = None
            if isinstance(item, _Partial):
                partial = line, item
            else:
                yield path, line, item
    if partial is not None:
        yield path, *partial
    if file.controls and file.label_key not in (None, *file.controls):
        advice = f"give --data.label_column_name one of {', '.join(sorted(file.controls))}"
        raise DataError(path, None, f"no control is called {file.label_key!r}", advice)


def _items(record: Any, file: File) -> Iterator[Item]:
    for name, (recognises, read) in _TOOLS.items():
        if recognises(record):
            try:
                yield from read(record, file)
            except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
                problem = f"this looks like {name}, but is not what that writes ({type(error).__name__}: {error})"
                raise MisfitError(problem, "export it again, or give tokens with tags, or text with spans") from None
            return
    yield file.read(record) if isinstance(record, dict) else record
