"""Sentences -> files of any format: the inverse of `data/formats/`, what is written here is read back the same.

What a format cannot hold is left out or replaced, and counted: a description that goes with a number of sentences ->
that number. Where a format holds characters, each span of a sentence becomes a part of its text; without raw text the
words are joined by spaces. Such formats do not carry the words, which `data/words.py` finds again.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import locate_words
from ner_module.data.formats.columns import DOCSTART
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.tagging import Span

Losses = Counter[str]
Annotated = tuple[Sentence, list[Span]]
"""A sentence with tags, and the spans they hold."""

_NO_TEXT = "lose their raw text (only their words are kept)"

# How the name ends that the reader of columns gives a document without one.
_NUMBERED = re.compile(r"#[0-9]+\Z")
_BREAK = re.compile("[\t\n]")

Writer = Callable[[Path, Iterable[Annotated], Losses], None]
"""Writes sentences to a path and adds to the losses."""


def _lines(lines_of: Callable[[Iterable[Annotated], Losses], Iterator[str]]) -> Writer:
    """A writer of text, gzipped where the name ends in ``.gz``."""

    def write(path: Path, sentences: Iterable[Annotated], losses: Losses) -> None:
        # Without the time, the same sentences make the same bytes.
        raw: Any = gzip.GzipFile(path, "wb", mtime=0) if path.suffix == ".gz" else path.open("wb")
        with io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
            lines = lines_of(sentences, losses)
            first = next(lines, "")
            # A first word that begins with a byte order mark keeps it: readers skip one.
            file.write("\ufeff" + first if first.startswith("\ufeff") else first)
            file.writelines(lines)

    return write


def _records(record_of: Callable[[int, Annotated, Losses], dict[str, Any]], in_list: bool = False) -> Writer:
    """A writer of a JSON object a line, or of a list of them."""

    def lines(sentences: Iterable[Annotated], losses: Losses) -> Iterator[str]:
        number = 0
        for number, annotated in enumerate(sentences, 1):
            record = json.dumps(record_of(number, annotated, losses), ensure_ascii=False)
            yield (",\n" if number > 1 else "[\n") + record if in_list else record + "\n"
        if in_list:
            yield "\n]\n" if number else "[]\n"

    return _lines(lines)


def _document_of(sentence: Sentence) -> dict[str, Any]:
    """The item of a record that names the document, where there is one."""
    return {} if sentence.document is None else {"document": sentence.document}


# ---------------------------------------------------------------------- words with tags


def _token_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """Tokens and tags; the text where the words can be found in it again."""
    sentence, _ = annotated
    record: dict[str, Any] = {"tokens": sentence.tokens, "tags": sentence.tags} | _document_of(sentence)
    if sentence.text is not None:
        if locate_words(sentence.tokens, sentence.text) == sentence.offsets:
            record["text"] = sentence.text
        else:
            losses[_NO_TEXT] += 1
    return record


def _conll_lines(sentences: Iterable[Annotated], losses: Losses) -> Iterator[str]:
    """Words and tags between tabs; documents begin with ``-DOCSTART-``, or ``# newdoc`` where they have a name."""
    document: str | None = None
    for sentence, _ in sentences:
        if not sentence.tokens:
            losses["have no word and are left out"] += 1
            continue
        if sentence.document != document:
            document = sentence.document
            if document is None:
                losses["lose the document they belong to"] += 1
            else:
                is_numbered = _NUMBERED.search(document)
                yield f"{DOCSTART}\tO\n\n" if is_numbered else f"# newdoc id = {' '.join(document.split())}\n"
        words, tags = sentence.tokens, sentence.tags or []
        losses[_NO_TEXT] += sentence.text is not None
        losses["have a word with a tab or line break, replaced by a space"] += any(map(_BREAK.search, words))
        losses["have the word -DOCSTART-, which is written -DOCSTART"] += DOCSTART in words
        for word, tag in zip(words, tags, strict=True):
            yield f"{'-DOCSTART' if word == DOCSTART else _BREAK.sub(' ', word)}\t{tag}\n"
        yield "\n"


# ---------------------------------------------------------------------- texts with spans


def text_with_spans(annotated: Annotated, losses: Losses) -> tuple[str, list[tuple[int, int, str]]]:
    """The text of a sentence, and its spans in characters, without the white space at their ends."""
    sentence, spans = annotated
    text, offsets = sentence.text, sentence.offsets
    if text is None or offsets is None:
        text, offsets = " ".join(sentence.tokens), []
        for token in sentence.tokens:
            start = offsets[-1][1] + 1 if offsets else 0
            offsets.append((start, start + len(token)))
    unseen = any(not text[start:end].strip() for start, end in offsets)
    losses["have an empty word or one of white space, which is left out"] += unseen
    losses["have words that would be cut differently when read back (their spans stay)"] += split_words(text) != offsets
    found = []
    for first, end, entity_type in spans:
        marked = text[offsets[first][0] : offsets[end - 1][1]]
        start = offsets[first][0] + len(marked) - len(marked.lstrip())
        if marked.strip():
            found.append((start, start + len(marked.strip()), entity_type))
        else:
            losses["have an entity without a visible character, which is left out"] += 1
    return text, found


def _doccano_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """``{"text", "label": [[start, end, type]]}``."""
    text, spans = text_with_spans(annotated, losses)
    return {"id": number, "text": text, "label": spans} | _document_of(annotated[0])


def _label_studio_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """A Label Studio task, for a labelling interface with ``<Labels name="label" toName="text">``."""
    text, spans = text_with_spans(annotated, losses)
    result = [
        {"id": f"{number}-{index}", "from_name": "label", "to_name": "text", "type": "labels"}
        | {"value": {"start": start, "end": end, "text": text[start:end], "labels": [entity_type]}}
        for index, (start, end, entity_type) in enumerate(spans)
    ]
    return {"id": number, "data": {"text": text} | _document_of(annotated[0]), "annotations": [{"result": result}]}


TARGETS: dict[str, Writer] = {
    "conll": _lines(_conll_lines),
    "jsonl": _records(_token_record),
    "doccano": _records(_doccano_record),
    "label-studio": _records(_label_studio_record, in_list=True),
}
"""Format -> its writer."""
