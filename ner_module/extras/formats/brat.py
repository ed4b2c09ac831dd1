"""brat standoff folders: documents as .txt, their text-bound annotations as .ann of the same name.

Each line of a document is a sentence; lines that an annotation spans are one. Words come from `words.py`. Of the
annotations only entities (``T1<TAB>Type start end<TAB>text``) are read; relations, events, attributes and notes are
not entities. A document without its .ann file is an error when tags are wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ner_module.data.formats.adapters import AnnotatedText, Items, Note
from ner_module.data.formats.cells import MisfitError, errors_at
from ner_module.data.formats.char_spans import DISCONTINUOUS, CharSpan, check_type, fits_text
from ner_module.data.formats.files import read_text
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.words import split_words
from ner_module.errors import DataError
from ner_module.extras.formats.offsets import CountedOffsets

# Types may hold spaces: other tools write them.
_ENTITY = re.compile(r"([^\t]*)\t([^\t]+?)[ \t]([0-9]{1,9}[ \t][0-9]{1,9}(?:;[0-9]{1,9} [0-9]{1,9})*)(?:\t(.*))?")
_QUOTE = re.compile(r"^T[0-9]+\t.*(?:\n[^\t\n]+$)+", re.MULTILINE)  # on several lines, as in the text
_OTHER_KINDS = "REAMN*#"


def is_brat(path: Path, head: str) -> bool:
    """Whether this is a folder with annotations, or a file of one."""
    return path.suffix == ".ann" or (path.is_dir() and any(path.rglob("*.ann")))


def read_brat(folder: Path, options: ReadingOptions) -> Items:
    """Yield the sentences of all documents of a folder and the folders in it, by name."""
    if not folder.is_dir():
        raise DataError(folder, None, "brat annotations are read with their texts", f"name the folder, {folder.parent}")
    texts = sorted(folder.rglob("*.txt"))
    if not texts:
        raise DataError(folder, None, "the folder has no .txt file", "put each .ann file beside the .txt it annotates")
    for annotation in sorted(folder.rglob("*.ann")) if options.tagged else ():
        if not annotation.with_suffix(".txt").is_file():
            raise DataError(annotation, None, "the .txt file of these annotations is missing", "put it beside them")
    for path in texts:
        text = read_text(path, options.encoding, options.max_record, "document")
        spans, lines = [], []
        for file, number, each in _annotations(path.with_suffix(".ann"), options) if options.tagged else ():
            if isinstance(each, CharSpan):
                spans.append(each)
                lines.append(number)
            else:
                yield file, number, each
        offsets, file = CountedOffsets(options.span_offsets), path.with_suffix(".ann")
        try:
            spans = offsets.settle(text, split_words(text) if spans else [], spans, lines[0] if lines else 1)
        except MisfitError as misfit:
            line = next((line for line, span in zip(lines, spans, strict=True) if not fits_text(text, span)), lines[0])
            raise DataError(file, line, *misfit.args) from None
        if note := offsets.finish(file):
            yield file, 1, Note(note)
        document = str(path.relative_to(folder).with_suffix(""))
        for line, start, end, inside in _pieces(text, sorted(spans, key=lambda span: span[:3])):
            if text[start:end].strip():
                moved = [(span.start - start, span.end - start, span.entity_type) for span in inside]
                yield path, line, AnnotatedText(text[start:end], moved, document=document)


def _annotations(path: Path, options: ReadingOptions) -> Iterator[tuple[Path, int, CharSpan | str]]:
    """The entities of an .ann file."""
    if not path.is_file():
        raise DataError(path, None, "the annotations of this document are missing", "add them, if only an empty file")
    text = read_text(path, options.encoding, options.max_record, "document")
    text = _QUOTE.sub(lambda at: at[0].replace("\n", "\r") + "\n" * at[0].count("\n"), text.replace("\r\n", "\n"))
    for number, line in enumerate(text.split("\n"), 1):
        entity = _ENTITY.fullmatch(line)
        if not line.strip() or (line[0] in _OTHER_KINDS and entity is None):
            continue
        with errors_at(path, number):
            if entity is None or line[0] != "T":
                advice = "write T1, a tab, the type, start and end, a tab and the text"
                raise MisfitError("the line is no brat annotation", advice)
            entity_type = check_type(entity[2])
        if ";" in entity[3]:
            yield path, number, DISCONTINUOUS
        else:
            start, end = map(int, entity[3].split())
            yield path, number, CharSpan(start, end, entity_type, entity[4])


def _pieces(text: str, spans: list[CharSpan]) -> Iterator[tuple[int, int, int, list[CharSpan]]]:
    """Line, start, end and spans of each stretch of lines that belong together; ``spans`` are in order."""
    text += "\n"
    start, line = 0, 1
    remaining = iter([*spans, CharSpan(len(text) + 1, len(text) + 1, "")])  # the last is never reached
    span = next(remaining)
    while start < len(text):
        inside: list[CharSpan] = []
        end = text.index("\n", start)
        while span.start <= end:
            inside.append(span)
            end = max(end, text.index("\n", span.end))
            span = next(remaining)
        yield line, start, end, inside
        line += text.count("\n", start, end) + 1
        start = end + 1
