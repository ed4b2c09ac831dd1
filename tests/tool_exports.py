"""The same sentences as tools write them: what `extras/formats` reads, made here without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ner_module.data.sentence import Sentence
from ner_module.tagging import tags_to_spans

Spans = list[tuple[int, int, str]]


def in_words(sentence: Sentence) -> tuple[list[str], Spans]:
    assert sentence.tags is not None
    return sentence.tokens, [(span.start, span.end, span.entity_type) for span in tags_to_spans(sentence.tags)]


def in_text(sentence: Sentence) -> tuple[str, Spans]:
    """The words between spaces, and spans in characters, the ends exclusive."""
    words, spans = in_words(sentence)
    ends = [sum(map(len, words[: number + 1])) + number for number in range(len(words))]
    return " ".join(words), [(ends[start] - len(words[start]), ends[end - 1], name) for start, end, name in spans]


def prodigy(text: str, spans: Spans) -> Any:
    return {"text": text, "_task_hash": 1, "spans": [{"start": a, "end": b, "label": t} for a, b, t in spans]}


def label_studio(text: str, spans: Spans, kind: str = "labels") -> Any:
    marks = [
        {"value": {"start": a, "end": b, "text": text[a:b], kind: [t]}, "from_name": "x", "type": kind}
        for a, b, t in spans
    ]
    return {"data": {"text": text}, "annotations": [{"result": marks}], "predictions": [{"result": marks}]}


def hypertext(text: str, spans: Spans) -> Any:
    task = label_studio(text, spans, "hypertextlabels")
    for mark in task["annotations"][0]["result"]:
        offsets = {"start": mark["value"]["start"], "end": mark["value"]["end"]}
        mark["value"] |= {"start": "/text()[1]", "end": "/text()[1]", "globalOffsets": offsets}
    return task


def json_min(text: str, spans: Spans) -> Any:
    return {"text": text, "annotation_id": 1, "x": [{"start": a, "end": b, "labels": [t]} for a, b, t in spans]}


def argilla(text: str, spans: Spans) -> Any:
    return {"text": text, "prediction": [], "annotation": [[t, a, b] for a, b, t in spans], "status": "Validated"}


def argilla_2(text: str, spans: Spans) -> Any:
    value = [{"start": a, "end": b, "label": t} for a, b, t in spans]
    return {"fields": {"text": text}, "responses": {"x": [{"value": value, "status": "submitted"}]}}


def spacy(text: str, spans: Spans) -> Any:
    return [text, {"entities": spans}]


def dataturks(text: str, spans: Spans) -> Any:
    points = [([t], [{"start": a, "end": b - 1, "text": text[a:b]}]) for a, b, t in spans]
    return {"content": text, "annotation": [{"label": label, "points": point} for label, point in points]}


def cluener(text: str, spans: Spans) -> Any:
    label: dict[str, dict[str, list[list[int]]]] = {}
    for a, b, t in spans:
        label.setdefault(t, {}).setdefault(text[a:b], []).append([a, b - 1])
    return {"text": text, "label": label}


def rasa(text: str, spans: Spans) -> Any:
    entities = [{"start": a, "end": b, "value": "other", "entity": t} for a, b, t in spans]
    return {"text": text, "intent": "x", "entities": entities}


def quotes(text: str, spans: Spans) -> Any:
    return {"text": text, "entities": [{"text": text[a:b], "type": t} for a, b, t in spans]}


def google(text: str, spans: Spans) -> Any:
    return {"content": text, "annotations": [{"startOffset": a, "endOffset": b, "displayName": t} for a, b, t in spans]}


def ground_truth(text: str, spans: Spans) -> Any:
    marks = [{"startOffset": a, "endOffset": b, "label": t} for a, b, t in spans]
    return {"source": text, "job": {"annotations": {"entities": marks}}, "job-metadata": {"human-annotated": "yes"}}


def vertex(text: str, spans: Spans) -> Any:
    marks = [{"startOffset": a, "endOffset": b, "displayName": t} for a, b, t in spans]
    return {"textSegmentAnnotations": marks, "textContent": text}


def snips(text: str, spans: Spans) -> Any:
    parts, reached = [], 0
    for start, end, name in [*spans, (len(text), len(text), "")]:
        parts += [{"text": text[reached:start]}, {"text": text[start:end], "entity": name}]
        reached = end
    return {"data": parts[:-1]}


def bioc(text: str, spans: Spans) -> Any:
    marks = [
        {"infons": {"type": t}, "text": text[a:b], "locations": [{"offset": a + 7, "length": b - a}]}
        for a, b, t in spans
    ]
    return {"id": "1", "passages": [{"offset": 7, "text": text, "annotations": marks}]}


def gliner(words: list[str], spans: Spans) -> Any:
    return {"tokenized_text": words, "ner": [[a, b - 1, t] for a, b, t in spans]}


def dygie(words: list[str], spans: Spans) -> Any:
    return {"doc_key": "d", "sentences": [words], "ner": [[[a, b - 1, t] for a, b, t in spans]]}


def w2ner(words: list[str], spans: Spans) -> Any:
    return {"sentence": words, "ner": [{"index": [*range(a, b)], "type": t} for a, b, t in spans]}


def word_spans(words: list[str], spans: Spans) -> Any:
    return {"tokens": words, "entities": [{"start": a, "end": b, "type": t} for a, b, t in spans]}


def conll2012(words: list[str], spans: Spans) -> str:
    names = ["*"] * len(words)
    for start, end, name in spans:
        names[start] = f"({name}*"
        names[end - 1] = names[end - 1].removesuffix("*") + ("*)" if end - start > 1 else ")")
    rows = [f"bc/x 0 {n} {word} NN * - - - X {name} -" for n, (word, name) in enumerate(zip(words, names, strict=True))]
    return "\n".join([*rows, ""])


def conllu_misc(words: list[str], spans: Spans) -> str:
    names = dict.fromkeys(range(len(words)), "_")
    for start, end, name in spans:
        names |= {at: f"SpaceAfter=No|name={'B' if at == start else 'I'}-{name}" for at in range(start, end)}
    return "\n".join([*(f"{n + 1}\t{word}\t" + "_\t" * 7 + names[n] for n, word in enumerate(words)), ""])


def inline(words: list[str], spans: Spans) -> str:
    tags = dict.fromkeys(range(len(words)), "O")
    for start, end, name in spans:
        tags |= {at: f"{'B' if at == start else 'I'}-{name}" for at in range(start, end)}
    return " ".join(f"{word}|X|{tags[at]}" for at, word in enumerate(words)) + "\n"


def markup(words: list[str], spans: Spans) -> str:
    words = list(words)
    for start, end, name in spans:
        words[start] = f"<{name}>{words[start]}"
        words[end - 1] += f"</{name}>"
    return " ".join(words) + "\n"


def pubtator(text: str, spans: Spans) -> str:
    return "\n".join([f"1|t|{text}", "1|a|", *(f"1\t{a}\t{b}\t{text[a:b]}\t{t}" for a, b, t in spans), ""])


TEXTS: dict[str, tuple[Callable[[str, Spans], Any], str]] = {
    "prodigy": (prodigy, "p.jsonl"),
    "label studio": (label_studio, "ls.json"),
    "hypertext": (hypertext, "h.json"),
    "JSON-MIN": (json_min, "min.json"),
    "argilla": (argilla, "a.jsonl"),
    "argilla 2": (argilla_2, "a.json"),
    "spacy": (spacy, "s.json"),
    "spacy lines": (spacy, "s.jsonl"),
    "dataturks": (dataturks, "d.jsonl"),
    "cluener": (cluener, "c.json"),
    "rasa": (rasa, "r.json"),
    "quotes": (quotes, "q.jsonl"),
    "google": (google, "g.jsonl"),
    "ground truth": (ground_truth, "x.manifest"),
    "vertex": (vertex, "v.jsonl"),
    "snips": (snips, "snips.jsonl"),
    "bioc lines": (bioc, "b.jsonl"),
}
WORDS: dict[str, tuple[Callable[[list[str], Spans], Any], str]] = {
    "gliner": (gliner, "g.json"),
    "dygie": (dygie, "d.json"),
    "w2ner": (w2ner, "w2.json"),
    "word spans": (word_spans, "w.jsonl"),
}
BLOCKS = {
    "conll2012": (conll2012, "c.conll"),
    "conllu-misc": (conllu_misc, "u.conllu"),
    "inline": (inline, "w.txt"),
    "markup": (markup, "m.txt"),
}


def write_all(folder: Path, sentences: Iterable[Sentence]) -> dict[str, Path]:
    """Write the sentences in every format; the files by its name."""
    sentences, paths = list(sentences), {}
    of_text, of_words = [in_text(each) for each in sentences], [in_words(each) for each in sentences]
    found: dict[str, tuple[list[Any], str]] = {name: ([f(*x) for x in of_text], n) for name, (f, n) in TEXTS.items()}
    found |= {name: ([f(*x) for x in of_words], file) for name, (f, file) in WORDS.items()}
    pairs = [spacy(*each) for each in of_text]
    whole = {
        "ner annotator": {"classes": ["PER"], "annotations": pairs},
        "rasa file": {"rasa_nlu_data": {"common_examples": [rasa(*each) for each in of_text]}},
        "pandas": {"columns": ["text", "label"], "data": [list(each) for each in of_text]},
        "bioc": {"source": "x", "documents": [bioc(*each) for each in of_text]},
    }
    for name, (records, file) in found.items():
        paths[name] = folder / file
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        text = "\n".join(lines) + "\n" if file.endswith(("l", "t")) else "[" + ",\n".join(lines) + "]"
        paths[name].write_text(text, encoding="utf-8")
    for name, content in whole.items():
        paths[name] = folder / f"{name}.json"
        paths[name].write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    heads = {
        "conll2012": "#begin document (x); part 000\n",
        "conllu-misc": "# newdoc id = x\n",
    }
    for name, (make, file) in BLOCKS.items():
        paths[name] = folder / file
        text = heads.get(name, "") + "\n".join(make(*each) for each in of_words if each[0])
        paths[name].write_text(text, encoding="utf-8")
    paths["pubtator"] = folder / "p.pubtator"
    paths["pubtator"].write_text("\n".join(pubtator(*each) for each in of_text), encoding="utf-8")
    return paths
