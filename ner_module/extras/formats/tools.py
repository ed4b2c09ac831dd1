"""What annotation tools and others (`corpora.py`) write as JSON -> texts with spans, or words with tags.

Each tool is a line in :data:`_TOOLS`: whether a record is its own, and a generator of what is in it. What is nobody's
judgement of a whole text (predictions of a machine, texts that are rejected, discarded or not done) is never read as
one: it is yielded as a string, or as a text with ``left_out``, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ner_module.data.formats.adapters import AnnotatedText, Item, Items, Note
from ner_module.data.formats.cells import MisfitError, describe, errors_at
from ner_module.data.formats.char_spans import locate_words
from ner_module.data.formats.options import TAGS, TEXTS, WORDS, ReadingOptions
from ner_module.data.formats.records import SPANS, document_of, find_text, list_key, span_key, text_of
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.extras.formats import corpora
from ner_module.extras.formats.word_spans import File

_REJECTED = "rejected texts"
_PENDING = "texts whose annotation is not submitted"
_MACHINE = "machine predictions"
_OTHERS = "further annotations"
_BINARY = "binary judgements, which say nothing of other words"
_JUDGEMENTS = "judgements of this text"  # a key of a record put together here
_TAGS = frozenset(TAGS) - frozenset(SPANS)
_PLAIN = frozenset((*WORDS, *TEXTS)) - {"data"}
_PLACES = frozenset(("start", "start_offset", "startOffset", "offset", "begin"))  # of spans: they may have a text, too


def _label_studio(task: Any, file: File) -> Iterator[Item]:
    """Tasks: ``{"data": {"text"}, "annotations": [{"result": [{"type", "from_name", "value": {…}}]}]}``."""
    text, document = text_of(task["data"], file.text_key), document_of(task["data"])
    done = [each for each in task.get("annotations", task.get("completions")) or () if not each.get("was_cancelled")]
    yield from [_MACHINE] * len(task.get("predictions") or ())
    if not done or not file.is_tagged:
        yield AnnotatedText(text, document=document, left_out=corpora.UNTOUCHED)
        return
    yield from [_OTHERS] * (len(done) - 1)
    done.sort(key=lambda each: not each.get("ground_truth"))
    marks = [mark for mark in done[0]["result"] if str(mark.get("type", "labels")).endswith("labels")]
    controls = {str(mark.get("from_name")) for mark in marks}
    file.controls |= controls
    if file.label_key is not None:
        marks = [mark for mark in marks if mark.get("from_name") == file.label_key]
    elif len(controls) > 1:
        raise _several("controls", controls)
    spans = [_label_studio_span(mark.get("type", "labels"), mark.get("value")) for mark in marks]
    yield AnnotatedText(text, spans, document=document)


def _several(what: str, names: Iterable[str]) -> MisfitError:
    return MisfitError(f"several {what} mark text ({', '.join(sorted(names))})", "choose with --data.label_column_name")


def _label_studio_span(kind: str, value: Any) -> Any:
    if kind == "hypertextlabels" and "globalOffsets" in value:
        return {**value["globalOffsets"], "labels": value["hypertextlabels"], "text": value.get("text")}
    if kind != "labels":
        advice = "label with <Labels> on <Text>, or export hypertext with its globalOffsets"
        raise MisfitError(f"marks of the kind {kind!r} have no offsets in the text", advice)
    return value


def _json_min(record: Any, file: File) -> Iterator[Item]:
    """Label Studio's JSON-MIN: ``{"text", "annotation_id", "NAME OF THE CONTROL": [{"start", "end", "labels"}]}``."""
    lists = {key: value for key, value in record.items() if isinstance(value, list)}
    found = [key for key, value in lists.items() if any(isinstance(e, dict) and "labels" in e for e in value)]
    file.controls |= set(found)
    if file.label_key is None and len(found) > 1:
        raise _several("controls", found)
    spans = record.get(file.label_key or (found or [""])[0]) or []
    yield AnnotatedText(text_of(record, file.text_key), spans, document=document_of(record))


def _prodigy(record: Any, file: File) -> Iterator[Item]:
    """``{"text", "tokens": [{"start", "end"}], "spans": [{"start", "end", "label"}], "answer"}``."""
    record = {**record, **_span_group(record.get("spans"), file)}
    judged = record.get(_JUDGEMENTS, [record])
    accepted = [each for each in judged if each.get("answer", "accept") == "accept"]
    reason = None if accepted else _REJECTED
    if list_key(record, file.text_key, WORDS, str) and record.get("tokens") != []:  # words with tags
        yield record if reason is None or not file.is_tagged else reason
        return
    yield from [_BINARY] * sum(map(_is_binary, judged))
    text = text_of(record, file.text_key)
    key = file.label_key or span_key(record) or ""
    file.controls |= {key, *SPANS} & record.keys()
    marked = [each.get(key) or [] for each in accepted]
    spans = marked[0] if len(marked) == 1 else [span for each in marked for span in each]
    words = _words(text, record["tokens"]) if record.get("tokens") else None
    yield AnnotatedText(text, spans, words, document_of(record), reason)


def _span_group(groups: Any, file: File) -> dict[str, Any]:
    """The groups of spans of spaCy (``Doc.to_json``) as keys; one alone is `spans`."""
    if not isinstance(groups, dict):
        return {}
    full = [name for name, spans in groups.items() if spans]
    if len(full) > 1 and file.label_key is None:
        raise _several("span groups", full)
    return {**groups, "spans": groups[full[0]] if len(full) == 1 else []}


def _is_binary(record: Any) -> bool:
    """Whether this is a binary judgement of Prodigy; older ones only say by which interface they were made."""
    return isinstance(record, dict) and bool(record.get("_is_binary", record.get("_view_id") == "ner"))


def _with_all_judgements(records: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Records with their lines; last, and held until then, binary judgements: those of one text as one record."""
    judged: dict[Any, tuple[int, list[Any]]] = {}
    for line, record in records:
        if _is_binary(record):
            judged.setdefault(str(record.get("text") or line), (line, []))[1].append(record)
        else:
            yield line, record
    yield from ((line, {**found[0], _JUDGEMENTS: found}) for line, found in judged.values())


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
    spans, status = record.get("annotation"), str(record.get("status") or "Validated")
    yield from [_MACHINE] * (record.get("prediction") is not None)
    reasons = {"Validated": corpora.UNTOUCHED if spans is None else None, "Discarded": _REJECTED}
    text, tokens = text_of(record, file.text_key), record.get("tokens")
    words = tokens and locate_words(tokens, text)
    yield AnnotatedText(text, spans or (), words, document_of(record), reasons.get(status, _PENDING))


def _argilla_2(record: Any, file: File) -> Iterator[Item]:
    """Version 2: ``{"fields": {"text"}, "suggestions", "responses": {"NAME": [{"value": [{…}], "status"}]}}``."""
    yield from [_MACHINE] * len(record.get("suggestions") or ())
    given = {name: each for name, each in (record.get("responses") or {}).items() if isinstance(each[0]["value"], list)}
    file.controls |= set(given)
    if file.label_key is None and len(given) > 1:
        raise _several("questions", given)
    answers = given.get(file.label_key or "", []) if file.label_key else next(iter(given.values()), [])
    done = [each["value"] for each in answers if (each.get("status") or "submitted") == "submitted"]
    yield from [_OTHERS] * (len(done) - 1)
    reason = None if done else _PENDING if answers else corpora.UNTOUCHED
    reason = _REJECTED if record.get("status") == "discarded" else reason
    yield AnnotatedText(text_of(record["fields"], file.text_key), [*done, ()][0], left_out=reason)


def _argilla_flat(record: Any, file: File) -> Iterator[Item]:
    """The same in a table: ``{"text", "NAME.responses": [[{…}]], "NAME.responses.status", "NAME.suggestion"}``."""
    answers = {}
    for key in (key for key in record if key.endswith(".responses") and record[key]):
        pairs = zip(record[key], record[f"{key}.status"], strict=True)
        answers[key.removesuffix(".responses")] = [{"value": value, "status": status} for value, status in pairs]
    suggestions = [key for key in record if key.endswith(".suggestion") and record[key]]
    return _argilla_2({**record, "fields": record, "suggestions": suggestions, "responses": answers}, file)


def _dataturks(record: Any, file: File) -> Iterator[Item]:
    """``{"content", "annotation": [{"label": [type], "points": [{"start", "end", "text"}]}]}``, ends inclusive."""
    marks = record["annotation"]
    spans = [{**at, "end": int(at["end"]) + 1, "label": each["label"]} for each in marks or () for at in each["points"]]
    yield AnnotatedText(record["content"], spans, left_out=corpora.UNTOUCHED if marks is None else None)


def _ground_truth(record: Any, file: File) -> Iterator[Item]:
    """SageMaker Ground Truth: ``{"source", "JOB": {"annotations": {"entities": [{"startOffset", …}]}}}``."""
    jobs = {name: job["annotations"]["entities"] for name, job in record.items() if _is_job(job)}
    file.controls |= set(jobs)
    if file.label_key is None and len(jobs) > 1:
        raise _several("jobs", jobs)
    name = file.label_key or next(iter(jobs))
    is_machine = record.get(f"{name}-metadata", {}).get("human-annotated") == "no"
    yield AnnotatedText(record["source"], jobs.get(name, ()), left_out=_MACHINE if is_machine else None)


def _is_job(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("annotations"), dict)


def _has(**kinds: type) -> Callable[[Any], bool]:
    """Whether a record has values of such kinds."""
    return lambda record: all(isinstance(record.get(key), kind) for key, kind in kinds.items())


def _is_prodigy(record: Any) -> bool:
    is_answered = "_task_hash" in record or record.get("answer") in ("accept", "reject", "ignore")
    return is_answered or ("text" in record and list_key(record, "tokens", (), dict) is not None and record["tokens"])


_Reader = Callable[[Any, File], Iterator[Item]]
# Name -> keys of which a record has one, whether it is the tool's then, and what is in it.
_TOOLS: dict[str, tuple[tuple[str, ...], Callable[[Any], Any], _Reader]] = {
    "Label Studio": (("annotations", "completions", "predictions"), _has(data=dict), _label_studio),
    "Label Studio (JSON-MIN)": (("annotation_id",), _has(), _json_min),
    "Prodigy": (("_task_hash", "answer", "tokens"), _is_prodigy, _prodigy),
    "Argilla": (("prediction", "status"), lambda e: "text" in e and {"prediction", "annotation"} & e.keys(), _argilla),
    "Argilla 2": (("responses",), _has(fields=dict), _argilla_2),
    "Argilla 2 (flat)": (("_server_id",), lambda each: any(".responses" in str(key) for key in each), _argilla_flat),
    "spaCy 2 (JSON)": (("paragraphs",), _has(paragraphs=list), corpora.spacy_json),
    "DataTurks": (("annotation",), _has(content=str), _dataturks),
    "GLiNER": (("tokenized_text",), _has(ner=list), corpora.gliner),
    "quotes without offsets": (SPANS, lambda e: corpora.quoted(e) and find_text(e, None), corpora.quotes),
    "CLUENER": (("label",), lambda e: "text" in e and isinstance(e["label"], dict), corpora.cluener),
    "Rasa": (("intent", "rasa_nlu_data"), lambda each: "text" in each or "rasa_nlu_data" in each, corpora.rasa),
    "BioC": (("documents", "passages", "PubTator3"), lambda each: "text" not in each, corpora.bioc),
    "Ground Truth": (("source",), lambda each: any(map(_is_job, each.values())), _ground_truth),
    "Vertex AI": (("textContent",), _has(textSegmentAnnotations=list), corpora.vertex),
    "DyGIE": (("sentences",), _has(sentences=list, ner=list), corpora.dygie),
    "W2NER": (("sentence",), _has(sentence=list, ner=list), corpora.w2ner),
    "Snips": (("data",), corpora.is_snips, corpora.snips),
}
_PAIRS = "spaCy 2"


@lru_cache(1_000)
def _tools_of(keys: tuple[str, ...]) -> list[str]:
    """The tools that a record with such keys can be of."""
    words = {"tokens"} if "text" not in keys or not _TAGS.isdisjoint(keys) else set[str]()  # words with tags
    return [name for name, (known, _, _) in _TOOLS.items() if not (set(known) - words).isdisjoint(keys)]


def adapt(path: Path, records: Iterable[tuple[int, Any]], options: ReadingOptions) -> Items:
    """Yield what the core reads for (line, record) pairs, whatever wrote them."""
    file = File(options)
    records = _unwrapped(records, file)
    for line, record in _with_all_judgements(records) if file.is_tagged else records:
        tool = _tool_of(record, file)
        if tool is None and not (isinstance(record, dict) and file.may_hold_spans(record)):
            yield path, line, record
            continue
        with errors_at(path, line):
            items = [file.read(record)] if tool is None else list(_items(tool, record, file))
        for item in items if isinstance(record, dict) else ():
            if isinstance(item, (AnnotatedText, Sentence)):
                item.id = record.get("id")
        yield from ((path, line, item) for item in items)
    if file.controls and file.is_tagged and file.label_key not in (None, *file.controls):
        advice = f"give --data.label_column_name one of {', '.join(sorted(file.controls))}"
        raise DataError(path, None, f"no spans are called {file.label_key!r}", advice)
    for tool in sorted(file.tools):
        yield path, 0, Note(f"records of {tool}")


def _unwrapped(records: Iterable[tuple[int, Any]], file: File) -> Iterator[tuple[int, Any]]:
    """Records; of an object that is none but holds one list of them (NER Annotator, LightTag, …), those of the list."""

    def is_record(value: Any) -> bool:
        is_plain = isinstance(value, dict) and not _PLAIN.isdisjoint(value) and _PLACES.isdisjoint(value)
        return is_plain or value is None or _tool_of(value, file) is not None

    for line, record in records:
        lists: list[Any] = []
        if (rows := corpora.table_rows(record)) is not None:
            yield from ((line, row) for row in rows)
            continue
        if isinstance(record, dict) and _PLAIN.isdisjoint(record) and _tool_of(record, file) is None:
            lists = [each for each in record.values() if each and isinstance(each, list) and all(map(is_record, each))]
        yield from ((line, each or corpora.UNTOUCHED) for each in lists[0]) if len(lists) == 1 else [(line, record)]


def _tool_of(record: Any, file: File) -> str | None:
    """What wrote a record, where it is no plain one."""
    if not isinstance(record, dict):
        is_pair = isinstance(record, list) and list(map(type, record)) == [str, dict]
        return _PAIRS if is_pair else None
    tool = next((name for name in _tools_of(tuple(record)) if _TOOLS[name][1](record)), None)
    if tool in (None, "Prodigy") or not list_key(record, file.text_key, WORDS, str):
        return tool
    return None if list_key(record, file.label_key, TAGS, str, int) else tool  # words with tags say more


def _items(tool: str, record: Any, file: File) -> Iterator[Item]:
    file.tools.add(tool)
    try:
        for item in (corpora.spacy if tool == _PAIRS else _TOOLS[tool][2])(record, file):
            if isinstance(item, AnnotatedText) and not (type(item.text) is str and type(item.spans) in (list, tuple)):
                raise TypeError("a text, or its list of spans, is none")
            yield item
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        problem = f"this looks like {tool}, but is not what that writes ({type(error).__name__}: {error})"
        raise MisfitError(problem, "export it again, or give tokens with tags, or text with spans") from None
