"""Sentences -> files of any format: the inverse of `data/formats/`, what is written here is read back the same.

What a format cannot hold is left out or replaced and counted (`losses.py`).
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from ner_module.data.formats.char_spans import locate_words
from ner_module.data.formats.columns import DOCSTART
from ner_module.data.sentence import Sentence
from ner_module.extras.convert import losses as lost
from ner_module.extras.convert.losses import Annotated, Losses
from ner_module.extras.convert.span_writers import (
    doccano_record,
    document_of,
    label_studio_record,
    prodigy_record,
    write_brat,
)

_BATCH = 1_000


Writer = Callable[[Path, Iterable[Annotated], Losses], None]
"""Writes sentences to a path and adds to the losses."""


def _lines(lines_of: Callable[[Iterable[Annotated], Losses], Iterator[str]]) -> Writer:
    """A writer of text, gzipped where the name ends in ``.gz``."""

    def write(path: Path, sentences: Iterable[Annotated], losses: Losses) -> None:
        with ExitStack() as stack:
            if path.suffix == ".gz":
                raw = stack.enter_context(path.open("wb"))
                binary = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)))
                file: IO[str] = stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline=""))
            else:
                file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
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


def _token_record(number: int, annotated: Annotated, losses: Losses) -> dict[str, Any]:
    """Tokens and tags; the text where the words can be found in it again."""
    sentence, _ = annotated
    record: dict[str, Any] = {"tokens": sentence.tokens, "tags": sentence.tags} | document_of(sentence)
    if sentence.text is not None:
        if locate_words(sentence.tokens, sentence.text) == sentence.offsets:
            record["text"] = sentence.text
        else:
            losses[lost.NO_TEXT] += 1
    return record


def _rows(sentence: Sentence, losses: Losses) -> Iterator[tuple[str, str]]:
    """Word and tag by turns, for formats of a word a line."""
    losses[lost.NO_TEXT] += sentence.text is not None
    words = sentence.tokens
    if any("\n" in word or "\t" in word for word in words):
        losses[lost.BROKEN_WORD] += 1
        words = [word.replace("\n", " ").replace("\t", " ") for word in words]
    assert sentence.tags is not None
    return zip(words, sentence.tags, strict=True)


def _conll_lines(sentences: Iterable[Annotated], losses: Losses) -> Iterator[str]:
    """Words and tags between tabs; documents begin with ``-DOCSTART-``, or ``# newdoc`` where they have a name."""
    document: str | None = None
    for sentence, _ in sentences:
        if not sentence.tokens:
            losses[lost.EMPTY] += 1
            continue
        if sentence.document != document:
            document = sentence.document
            if document is None:
                losses[lost.NO_DOCUMENT] += 1
            else:
                is_numbered = lost.NUMBERED.search(document)
                yield f"{DOCSTART}\tO\n\n" if is_numbered else f"# newdoc id = {' '.join(document.split())}\n"
        losses[lost.DOCSTART_WORD] += DOCSTART in sentence.tokens
        for word, tag in _rows(sentence, losses):
            yield f"{'-DOCSTART' if word == DOCSTART else word}\t{tag}\n"
        yield "\n"


def _table_lines(sentences: Iterable[Annotated], losses: Losses, separator: str) -> Iterator[str]:
    """A row a word: sentence_id, token, tag and, where the first sentence has one, document."""
    stream = iter(sentences)
    head = list(islice(stream, 1))
    has_documents = any(sentence.document is not None for sentence, _ in head)
    # csv.writer leaves a lone carriage return unquoted (before Python 3.13), which csv.reader then refuses.
    needs_quotes = re.compile(f'["\r\n{separator}]')

    def row(*cells: str) -> str:
        quoted = ('"' + cell.replace('"', '""') + '"' if needs_quotes.search(cell) else cell for cell in cells)
        return separator.join(quoted) + "\n"

    yield row("sentence_id", "token", "tag", *(["document"] if has_documents else []))
    for number, (sentence, _) in enumerate(chain(head, stream), 1):
        losses[lost.EMPTY] += not sentence.tokens
        losses[lost.NO_DOCUMENT] += sentence.document is not None and not has_documents
        rest = [sentence.document or ""] if has_documents else []
        for word, tag in _rows(sentence, losses):
            yield row(str(number), word, tag, *rest)


def _write_parquet(path: Path, sentences: Iterable[Annotated], losses: Losses) -> None:
    """A row a sentence: tokens, tags, document and text."""
    import pyarrow as pa
    import pyarrow.parquet

    strings = pa.list_(pa.string())
    schema = pa.schema({"tokens": strings, "tags": strings, "document": pa.string(), "text": pa.string()})
    stream = iter(sentences)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(stream, _BATCH)):
            records = [_token_record(0, annotated, losses) for annotated in batch]
            writer.write_batch(pa.RecordBatch.from_pylist(records, schema))


TARGETS: dict[str, Writer] = {
    "conll": _lines(_conll_lines),
    "jsonl": _records(_token_record),
    "json": _records(_token_record, in_list=True),
    "csv": _lines(partial(_table_lines, separator=",")),
    "tsv": _lines(partial(_table_lines, separator="\t")),
    "parquet": _write_parquet,
    "doccano": _records(doccano_record),
    "label-studio": _records(label_studio_record, in_list=True),
    "prodigy": _records(prodigy_record),
    "brat": write_brat,
}
"""Format -> its writer."""
