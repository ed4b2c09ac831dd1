"""brat standoff folders: documents as .txt, their text-bound annotations as .ann of the same name.

Each line of a document is a sentence; lines that an annotation spans are one. Words come from `words.py`. Of the
annotations only entities (``T1<TAB>Type start end<TAB>text``) are read; relations, events, attributes and notes are
not entities. A document without its .ann file is an error when tags are wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ner_module.data.formats.char_spans import CharSpan, SpanCounts, tag_words
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.span_records import check_spans, check_type
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError

# Types may hold spaces: other tools write them.
_ENTITY = re.compile(r"([^\t]*)\t([^\t]+?) ([0-9]{1,9} [0-9]{1,9}(?:;[0-9]{1,9} [0-9]{1,9})*)(?:\t(.*))?")
_OTHER_KINDS = "REAMN*#"


def read_brat(folder: Path, encoding: str | None, tagged: bool, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of all documents of a folder and the folders in it, by name.

    Args:
        folder: the folder.
        encoding: of all its files; UTF-8 by default.
        tagged: whether tags are wanted; without them .ann files are not looked at.
        counts: what became of the annotations is added here.

    Raises:
        DataError: a file is missing or an annotation does not fit its text.
    """
    documents = sorted(folder.rglob("*.txt"))
    if not documents:
        raise DataError(folder, None, "the folder has no .txt file", "put each .ann file beside the .txt it annotates")
    if tagged:
        texts = {path.with_suffix("") for path in documents}
        for annotation in sorted(folder.rglob("*.ann")):
            if annotation.with_suffix("") not in texts:
                raise DataError(annotation, None, "the .txt file of these annotations is missing", "put it beside them")
    for path in documents:
        text = "".join(read_lines(path, encoding))
        spans = read_annotations(path.with_suffix(".ann"), text, encoding, counts) if tagged else []
        yield from _sentences(path, str(path.relative_to(folder).with_suffix("")), text, spans, tagged, counts)


def read_annotations(path: Path, text: str, encoding: str | None, counts: SpanCounts) -> list[CharSpan]:
    """The entities of an .ann file, checked against the text they annotate.

    Raises:
        DataError: the file is missing, or a line is no annotation or does not fit.
    """
    if not path.is_file():
        advice = "add it (empty if nothing is marked)"
        raise DataError(path, None, "the annotations of this document are missing", advice)
    spans: list[CharSpan] = []
    for number, line in enumerate(read_lines(path, encoding), 1):
        line = line.rstrip("\r\n")
        entity = _ENTITY.fullmatch(line)
        if not line.strip() or (line[0] in _OTHER_KINDS and entity is None):
            continue
        if entity is None or line[0] != "T":
            advice = "write T1, a tab, the type, start and end, a tab and the text"
            raise DataError(path, number, "the line is no brat annotation", advice)
        entity_type = check_type(path, number, entity[2])
        pieces = [tuple(map(int, piece.split(" "))) for piece in entity[3].split(";")]
        if len(pieces) > 1:
            counts.spans += 1
            counts.discontinuous += 1
            counts.note(path, number)
            continue
        [(start, end)] = pieces
        spans += check_spans(path, number, text, [CharSpan(start, end, entity_type, entity[4])])
    return spans


def _sentences(
    path: Path, document: str, text: str, spans: list[CharSpan], tagged: bool, counts: SpanCounts
) -> Iterator[Sentence]:
    spans = sorted(spans)
    start = line = 0
    position = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        inside: list[CharSpan] = []
        while position < len(spans) and spans[position].start <= end:
            inside.append(spans[position])
            position += 1
            while inside[-1].end > end:
                following = text.find("\n", end + 1)
                end = len(text) if following < 0 else following
        piece = text[start:end]
        first_line = line + 1
        line += piece.count("\n") + 1
        offsets = split_words(piece)
        moved = [CharSpan(span.start - start, span.end - start, span.entity_type) for span in inside]
        tags = tag_words(piece, offsets, moved, counts) if tagged else None
        counts.note(path, first_line)
        if offsets:
            tokens = [piece[begin:stop] for begin, stop in offsets]
            yield Sentence(tokens, tags, first_line, document, piece, offsets)
        start = end + 1
