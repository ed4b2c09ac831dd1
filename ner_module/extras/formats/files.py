"""Files of further formats: CoNLL-2012, CoNLL-U with names in MISC, WebAnno, PubTator, spaCy's DocBin.

A reader yields words with tags or texts with spans, each with file and line.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from ner_module.data.formats.adapters import AnnotatedText, Items
from ner_module.data.formats.cells import MisfitError, errors_at
from ner_module.data.formats.files import read_lines, too_large
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_Block = list[tuple[int, str]]


def _blocks(path: Path, options: ReadingOptions) -> Iterator[_Block]:
    """Stretches of lines between blank ones, each with its number."""
    block: _Block = []
    size = 0
    for number, line in enumerate(read_lines(path, options.encoding, options.max_record), 1):
        line = line.rstrip("\r\n")
        size += len(line)
        if size > options.max_record:
            raise too_large(path, number, "sentence", options.max_record)
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block, size = [], 0
    if block:
        yield block


def is_conll2012(path: Path, head: str) -> bool:
    """Whether a file begins as those of OntoNotes and CoNLL-2011/2012 do."""
    return head.startswith("#begin document ")


def read_conll2012(path: Path, options: ReadingOptions) -> Items:
    """Yield the sentences; names are in the column before the predicates: ``(PERSON*``, ``*``, ``*)``, ``(GPE)``."""
    for block in _blocks(path, options):
        rows = [(line, cells.split()) for line, cells in block if not cells.startswith("#")]
        words, tags, open_type = [], [], ""
        for line, cells in rows:
            with errors_at(path, line):
                if len(cells) < 12:
                    raise MisfitError(f"the line has {len(cells)} columns, CoNLL-2012 at least 12", "complete it")
                name = re.fullmatch(r"(?:\(([^()*]+))?\*?(\))?", cells[10])
                if name is None or (name[1] and open_type) or (name[2] and not (name[1] or open_type)):
                    raise MisfitError(f"{cells[10]!r} is no name in brackets here", "write (PERSON*, *, *) or (PERSON)")
            open_type = name[1] or open_type
            tags.append(f"{'B' if name[1] else 'I'}-{open_type}" if open_type else "O")
            open_type = "" if name[2] else open_type
            words.append(cells[3])
        if open_type:
            raise DataError(path, rows[-1][0], f"the name of type {open_type} does not end", "close its bracket")
        if rows:
            document = f"{rows[0][1][0]}:{rows[0][1][1]}"
            yield path, rows[0][0], Sentence(words, tags if options.tagged else None, document=document)


def is_conllu_misc(path: Path, head: str) -> bool:
    """Whether a file is CoNLL-U with names in its last column (``name=B-PER``), of ten."""
    return (
        re.search(r"^(?:[^\t\n]*\t){9}(?:[^\t\n]*\|)?name=(?:O|[A-Z]-)", head, re.MULTILINE | re.IGNORECASE) is not None
    )


def read_conllu_misc(path: Path, options: ReadingOptions) -> Items:
    """Yield the sentences; a word without ``name=`` is outside."""
    document = None
    for block in _blocks(path, options):
        words, tags, first = [], [], 0
        for line, text in block:
            if text.startswith("#"):
                document = text.partition("=")[2].strip() or None if text.startswith("# newdoc") else document
                continue
            cells = text.split("\t")
            if len(cells) != 10:
                raise DataError(path, line, f"the line has {len(cells)} columns, CoNLL-U 10", "complete it")
            if cells[0].isdecimal():  # no range (1-2) and no empty node (1.1)
                first = first or line
                words.append(cells[1])
                tags.append(
                    next((x.partition("=")[2] for x in cells[9].split("|") if x.lower().startswith("name=")), "O")
                )
        if words:
            yield path, first, Sentence(words, tags if options.tagged else None, document=document)


def is_webanno(path: Path, head: str) -> bool:
    """Whether a file is WebAnno TSV, which INCEpTION exports."""
    return head.startswith("#FORMAT=WebAnno TSV 3")


def read_webanno(path: Path, options: ReadingOptions) -> Items:
    """Yield the sentences; entities are the values of the layer of named entities, or the only span layer's."""
    column: int | None = None
    for block in _blocks(path, options):
        rows = [(line, text.split("\t")) for line, text in block if not text.startswith("#")]
        if layers := [text for _, text in block if text.startswith("#T_SP=")]:
            column = _webanno_column(path, block[0][0], layers, options)
        words: list[str] = []
        spans: dict[object, list[int]] = {}
        for line, cells in rows:
            if "." in cells[0]:  # a part of a word
                raise DataError(path, line, "an annotation of a part of a word", "annotate whole words")
            if column is None or len(cells) <= column:
                raise DataError(path, line, "the line has no cell for the layer in the header", "export it again")
            for value in cells[column].split("|") if cells[column] not in ("_", "") else ():
                spans.setdefault(value if "[" in value else (value, len(words)), []).append(len(words))
            words.append(cells[2])
        if rows:
            text = " ".join(words)
            places: list[tuple[int, int]] = []
            for word in words:
                start = places[-1][1] + 1 if places else 0
                places.append((start, start + len(word)))
            found = [(places[at[0]][0], places[at[-1]][1], _webanno_type(key)) for key, at in spans.items()]
            yield path, rows[0][0], AnnotatedText(text, found, places)


def _webanno_type(key: object) -> str:
    return re.sub(r"\[[0-9]+\]$", "", key if isinstance(key, str) else str(key[0])).replace("\\", "")  # type: ignore[index]


def _webanno_column(path: Path, line: int, layers: list[str], options: ReadingOptions) -> int:
    """The number of the column with the types."""
    features = [(each.split("|")[0][6:], feature) for each in layers for feature in each.split("|")[1:]]
    found = [
        number
        for number, (layer, feature) in enumerate(features, 3)
        if (feature == options.label_column_name or (options.label_column_name is None and feature == "value"))
        and (layer.endswith("NamedEntity") or not any(other.endswith("NamedEntity") for other, _ in features))
    ]
    if len(found) != 1:
        names = ", ".join(f"{layer}|{feature}" for layer, feature in features)
        raise DataError(
            path, line, f"which feature holds the types? There are {names}", "name it with --data.label_column_name"
        )
    return found[0]


def is_pubtator(path: Path, head: str) -> bool:
    """Whether a file is PubTator: ``12345|t|Title``."""
    return re.match(r"\s*[0-9]+\|t\|", head) is not None


def read_pubtator(path: Path, options: ReadingOptions) -> Items:
    """Yield title and abstract of each document as one text; ``12345<TAB>start<TAB>end<TAB>text<TAB>type``."""
    for block in _blocks(path, options):
        parts, spans = [], []
        for line, row in block:
            cells = row.split("\t")
            if text := re.fullmatch(r"([0-9]+)\|[ta]\|(.*)", row):
                parts.append(text[2])
            elif len(cells) >= 5 and cells[1].isdecimal():
                spans.append({"start": cells[1], "end": cells[2], "text": cells[3], "type": cells[4]})
            elif len(cells) != 4:  # a relation has four
                raise DataError(path, line, "no line of PubTator", "write id|t|title, or id, start, end, text and type")
        yield path, block[0][0], AnnotatedText(" ".join(parts), spans, document=re.split(r"[|\t]", block[0][1])[0])


def is_docbin(path: Path, head: str) -> bool:
    """Whether a file is a spaCy DocBin."""
    return path.suffix == ".spacy" and path.is_file()


def read_docbin(path: Path, options: ReadingOptions) -> Items:
    """Yield the sentences of a DocBin, whole documents where it marks none; needs spaCy."""
    try:
        spacy, tokens = importlib.import_module("spacy"), importlib.import_module("spacy.tokens")
    except ImportError:
        raise DataError(
            path, None, "a .spacy file is read by spaCy, which is not installed", "pip install spacy"
        ) from None
    try:
        docs = list(tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # whatever broken bytes make of it
        raise DataError(path, None, f"this is no DocBin ({type(error).__name__}: {error})", "save it again") from None
    for number, doc in enumerate(docs, 1):
        if options.tagged and not doc.has_annotation("ENT_IOB"):
            yield path, number, "texts that nobody annotated"
            continue
        for part in doc.sents if doc.has_annotation("SENT_START") else [doc[:]]:
            start = part.start_char
            words = [(t.idx - start, t.idx + len(t) - start) for t in part if not t.is_space]
            spans = [(each.start_char - start, each.end_char - start, each.label_) for each in part.ents]
            yield path, number, AnnotatedText(part.text, spans, words, document=f"{path.stem}-{number}")
