"""Sentences -> annotated text: records of doccano, Label Studio and Prodigy, and brat folders.

Each span of a sentence becomes characters of its text; without raw text the words are joined by spaces. Formats other
than Prodigy do not carry the words: they are found again by `words.py`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import CharSpan
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.extras.convert import losses as lost
from ner_module.extras.convert.losses import Annotated, Losses
from ner_module.tagging import Span

_SAFE_NAME = re.compile(r"[\w][\w.\- ]*(?:/[\w][\w.\- ]*)*")


def text_of(sentence: Sentence, losses: Losses) -> tuple[str, list[tuple[int, int]]]:
    """The text of a sentence and where its words are in it."""
    text, offsets = sentence.text, sentence.offsets
    if text is None or offsets is None:
        text, offsets = " ".join(sentence.tokens), []
        for token in sentence.tokens:
            start = offsets[-1][1] + 1 if offsets else 0
            offsets.append((start, start + len(token)))
    losses[lost.INVISIBLE_WORD] += any(not text[start:end].strip() for start, end in offsets)
    return text, offsets


def char_spans(text: str, offsets: list[tuple[int, int]], spans: list[Span], losses: Losses) -> list[CharSpan]:
    """Spans in characters, without the white space at their ends."""
    found: list[CharSpan] = []
    for first, end, entity_type in spans:
        marked = text[offsets[first][0] : offsets[end - 1][1]]
        start = offsets[first][0] + len(marked) - len(marked.lstrip())
        if marked.strip():
            found.append(CharSpan(start, start + len(marked.strip()), entity_type))
        else:
            losses[lost.INVISIBLE_ENTITY] += 1
    return found


def _annotated_text(annotated: Annotated, losses: Losses) -> tuple[str, list[CharSpan]]:
    """The text of a sentence and its spans, for formats that do not carry the words."""
    text, offsets = text_of(annotated[0], losses)
    losses[lost.OTHER_WORDS] += split_words(text) != offsets
    return text, char_spans(text, offsets, annotated[1], losses)


def document_of(sentence: Sentence) -> dict[str, Any]:
    """The item of a record that names the document, where there is one."""
    return {} if sentence.document is None else {"document": sentence.document}


def doccano_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """``{"text", "label": [[start, end, type]]}``."""
    text, spans = _annotated_text(annotated, losses)
    return {"id": number, "text": text, "label": [list(span[:3]) for span in spans]} | document_of(annotated[0])


def label_studio_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """A Label Studio task, for a labelling interface with ``<Labels name="label" toName="text">``."""
    text, spans = _annotated_text(annotated, losses)
    result = [
        {"id": f"{number}-{index}", "from_name": "label", "to_name": "text", "type": "labels"}
        | {"value": {"start": start, "end": end, "text": text[start:end], "labels": [entity_type]}}
        for index, (start, end, entity_type, _) in enumerate(spans)
    ]
    return {"id": number, "data": {"text": text} | document_of(annotated[0]), "annotations": [{"result": result}]}


def prodigy_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """A Prodigy task with its tokens."""
    text, offsets = text_of(annotated[0], losses)
    words = [(start, end) for start, end in offsets if text[start:end].strip()]
    starts, ends = [start for start, _ in words], [end for _, end in words]
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "id": index, "ws": text[end : end + 1] == " "}
        for index, (start, end) in enumerate(words)
    ]
    marked = [
        {"start": start, "end": end, "label": entity_type}
        | {"token_start": bisect_right(ends, start), "token_end": bisect_left(starts, end) - 1}
        for start, end, entity_type, _ in char_spans(text, offsets, annotated[1], losses)
    ]
    return {"text": text, "tokens": tokens, "spans": marked, "answer": "accept"} | document_of(annotated[0])


def write_brat(path: Path, sentences: Iterable[Annotated], losses: Losses) -> None:
    """A folder with a .txt and an .ann file per document, a sentence a line; documents without a name get numbers."""
    path.mkdir(parents=True)
    names: dict[str | None, str] = {}
    lengths: Counter[str] = Counter()
    entities: Counter[str] = Counter()
    for document, group in groupby(sentences, key=lambda annotated: annotated[0].document):
        if document not in names:
            is_safe = document is not None and _SAFE_NAME.fullmatch(document) and document not in names.values()
            names[document] = str(document) if is_safe else f"{path.name}-{len(names) + 1:05d}"
            losses[lost.RENAMED] += not is_safe and document is not None and not lost.NUMBERED.search(document)
        name = names[document]
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        with (
            (path / f"{name}.txt").open("a", encoding="utf-8", newline="") as text_file,
            (path / f"{name}.ann").open("a", encoding="utf-8", newline="") as annotation_file,
        ):
            for annotated in group:
                if not annotated[0].tokens:
                    losses[lost.EMPTY] += 1
                    continue
                text, spans = _annotated_text(annotated, losses)
                breaks = [match.start() for match in re.finditer("\n", text)]
                if any(not any(span.start <= at < span.end for span in spans) for at in breaks):
                    losses[lost.BROKEN_TEXT] += 1
                    text = text.replace("\n", " ")
                for span in spans:
                    entities[name] += 1
                    start, end = lengths[name] + span.start, lengths[name] + span.end
                    quote = " ".join(re.split("[\r\n]", text[span.start : span.end]))
                    annotation_file.write(f"T{entities[name]}\t{span.entity_type} {start} {end}\t{quote}\n")
                text_file.write(text + "\n")
                lengths[name] += len(text) + 1
