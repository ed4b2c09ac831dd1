"""Sentences -> annotated text: doccano, Label Studio and Prodigy exports, brat folders.

Each span of a sentence becomes characters of its text; without raw text the words are joined by spaces. Formats other
than Prodigy do not carry the words: they are found again by `words.py`, and a sentence whose words that would cut
differently is counted in ``losses``, as is what is left out.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from ner_module.data.formats.char_spans import CharSpan
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.extras.convert.writers import EMPTY, NUMBERED, Losses, write_json_lines, write_json_list
from ner_module.tagging import Span

ReadSpans = Callable[[list[str]], list[Span]]
"""Reads the spans of a sentence's tags, under the scheme of the corpus."""

_SAFE_NAME = re.compile(r"[\w][\w.\- ]*(?:/[\w][\w.\- ]*)*")
_OTHER_WORDS = "have words that would be cut differently when read back (their spans stay)"


class AnnotatedText(NamedTuple):
    """A text, where its words are, and its spans in characters."""

    text: str
    offsets: list[tuple[int, int]]
    spans: list[CharSpan]


def annotated_text(sentence: Sentence, read_spans: ReadSpans, losses: Losses, keeps_words: bool) -> AnnotatedText:
    """The text of a sentence with its spans.

    Args:
        sentence: with tags.
        read_spans: see :data:`ReadSpans`.
        losses: added to.
        keeps_words: whether the format carries the words.
    """
    if sentence.text is not None and sentence.offsets is not None:
        text, offsets = sentence.text, sentence.offsets
    else:
        text, offsets, position = " ".join(sentence.tokens), [], 0
        for token in sentence.tokens:
            offsets.append((position, position + len(token)))
            position += len(token) + 1
    losses["have an empty word or one of white space, which is left out"] += any(
        not text[start:end].strip() for start, end in offsets
    )
    if not keeps_words:
        losses[_OTHER_WORDS] += split_words(text) != offsets
    spans: list[CharSpan] = []
    assert sentence.tags is not None
    for first, end, entity_type in read_spans(sentence.tags):
        start, stop = offsets[first][0], offsets[end - 1][1]
        marked = text[start:stop]
        if marked.strip():
            start += len(marked) - len(marked.lstrip())
            spans.append(CharSpan(start, start + len(marked.strip()), entity_type))
        else:
            losses["have an entity without a visible character, which is left out"] += 1
    return AnnotatedText(text, offsets, spans)


def write_doccano(path: Path, sentences: Iterable[Sentence], losses: Losses, read_spans: ReadSpans) -> None:
    """JSONL of ``{"text", "label": [[start, end, type]]}``."""

    def records() -> Iterator[dict[str, Any]]:
        for number, sentence in enumerate(sentences, 1):
            text, _, spans = annotated_text(sentence, read_spans, losses, keeps_words=False)
            record = {"id": number, "text": text, "label": [list(span[:3]) for span in spans]}
            yield record | _document(sentence)

    write_json_lines(path, records())


def write_label_studio(path: Path, sentences: Iterable[Sentence], losses: Losses, read_spans: ReadSpans) -> None:
    """JSON of Label Studio tasks, for a labelling interface with ``<Labels name="label" toName="text">``."""

    def records() -> Iterator[dict[str, Any]]:
        for number, sentence in enumerate(sentences, 1):
            text, _, spans = annotated_text(sentence, read_spans, losses, keeps_words=False)
            result = [
                {
                    "id": f"{number}-{index}",
                    "from_name": "label",
                    "to_name": "text",
                    "type": "labels",
                    "value": {"start": span.start, "end": span.end, "text": text[span.start : span.end]}
                    | {"labels": [span.entity_type]},
                }
                for index, span in enumerate(spans)
            ]
            yield {"id": number, "data": {"text": text} | _document(sentence), "annotations": [{"result": result}]}

    write_json_list(path, records())


def write_prodigy(path: Path, sentences: Iterable[Sentence], losses: Losses, read_spans: ReadSpans) -> None:
    """JSONL of Prodigy tasks with their tokens."""

    def records() -> Iterator[dict[str, Any]]:
        for sentence in sentences:
            text, offsets, spans = annotated_text(sentence, read_spans, losses, keeps_words=True)
            words = [(start, end) for start, end in offsets if text[start:end].strip()]
            starts, ends = [start for start, _ in words], [end for _, end in words]
            tokens = [
                {"text": text[start:end], "start": start, "end": end, "id": index, "ws": text[end : end + 1] == " "}
                for index, (start, end) in enumerate(words)
            ]
            marked = [
                {"start": span.start, "end": span.end, "label": span.entity_type}
                | {"token_start": bisect_right(ends, span.start), "token_end": bisect_left(starts, span.end) - 1}
                for span in spans
            ]
            yield {"text": text, "tokens": tokens, "spans": marked, "answer": "accept"} | _document(sentence)

    write_json_lines(path, records())


def _document(sentence: Sentence) -> dict[str, str]:
    return {} if sentence.document is None else {"document": sentence.document}


def write_brat(path: Path, sentences: Iterable[Sentence], losses: Losses, read_spans: ReadSpans) -> None:
    """A folder with a .txt and an .ann file per document, a sentence a line; documents without a name get numbers."""
    path.mkdir(parents=True)
    names = _DocumentNames(path.name)
    ends: Counter[str] = Counter()
    entities: Counter[str] = Counter()
    for document, group in groupby(sentences, key=lambda sentence: sentence.document):
        name = names[document]
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        with (
            (path / f"{name}.txt").open("a", encoding="utf-8", newline="") as text_file,
            (path / f"{name}.ann").open("a", encoding="utf-8", newline="") as annotation_file,
        ):
            for sentence in group:
                if not sentence.tokens:
                    losses[EMPTY] += 1
                    continue
                text, _, spans = annotated_text(sentence, read_spans, losses, keeps_words=False)
                breaks = [match.start() for match in re.finditer("\n", text)]
                if any(not any(span.start <= at < span.end for span in spans) for at in breaks):
                    losses["have a line break, replaced by a space"] += 1
                    text = text.replace("\n", " ")
                for span in spans:
                    entities[name] += 1
                    start, end = ends[name] + span.start, ends[name] + span.end
                    quote = " ".join(re.split("[\r\n]", text[span.start : span.end]))
                    annotation_file.write(f"T{entities[name]}\t{span.entity_type} {start} {end}\t{quote}\n")
                text_file.write(text + "\n")
                ends[name] += len(text) + 1
    losses["are in a document that is renamed, as its name is none for a file"] += names.renamed


class _DocumentNames(dict[str | None, str]):
    """Document -> file name without ending, made up where a document has none that a file can have."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self.renamed = 0

    def __missing__(self, document: str | None) -> str:
        if document is not None and _SAFE_NAME.fullmatch(document) and document not in self.values():
            name = document
        else:
            name = f"{self._stem}-{len(self) + 1:05d}"
            self.renamed += document is not None and not NUMBERED.search(document)
        self[document] = name
        return name
