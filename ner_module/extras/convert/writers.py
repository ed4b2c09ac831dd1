"""Sentences -> files of words and tags: CoNLL columns, JSONL, JSON, CSV, TSV, Parquet, `datasets` folders, raw text.

The inverse of `formats/`: what is written here is read back the same. What a format cannot hold is left out or replaced
and counted in ``losses``, by a description that goes with a number of sentences. Formats of character spans are in
`span_writers.py`.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from ner_module.data.formats.char_spans import locate_words
from ner_module.data.formats.column_layout import DOCSTART
from ner_module.data.sentence import Sentence

Losses = Counter[str]

NO_TEXT = "lose their raw text (only their words are kept)"
EMPTY = "have no word and are left out"
NO_DOCUMENT = "lose the document they belong to"
BROKEN_WORD = "have a word with a tab or line break, replaced by a space"
NUMBERED = re.compile(r"#[0-9]+\Z")  # the name that the reader of columns gives a document without one
_BATCH = 1_000


@contextmanager
def open_output(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file for writing, gzipped when its name ends in ``.gz``; line ends are written as given."""
    with ExitStack() as stack:
        if path.suffix == ".gz":
            raw = stack.enter_context(path.open("wb"))
            zipped = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
            yield stack.enter_context(io.TextIOWrapper(cast(IO[bytes], zipped), encoding="utf-8", newline=""))
        else:
            yield stack.enter_context(path.open("w", encoding="utf-8", newline=""))


def write_conll(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """Words and tags between tabs; documents begin with ``-DOCSTART-``, or ``# newdoc`` where they have a name."""
    with open_output(path) as file:
        document: str | None = None
        for sentence in sentences:
            if not sentence.tokens:
                losses[EMPTY] += 1
                continue
            if sentence.document != document:
                document = sentence.document
                if document is None:
                    losses[NO_DOCUMENT] += 1
                elif NUMBERED.search(document):
                    file.write(f"{DOCSTART}\tO\n\n")
                else:
                    file.write(f"# newdoc id = {' '.join(document.split())}\n")
            losses[NO_TEXT] += sentence.text is not None
            words = sentence.tokens
            if any("\n" in word or "\t" in word for word in words):
                losses[BROKEN_WORD] += 1
                words = [word.replace("\n", " ").replace("\t", " ") for word in words]
            if DOCSTART in words:
                losses["have the word -DOCSTART-, which is written -DOCSTART"] += 1
                words = ["-DOCSTART" if word == DOCSTART else word for word in words]
            assert sentence.tags is not None
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(words, sentence.tags, strict=True))
            file.write("\n")


def token_record(sentence: Sentence, losses: Losses) -> dict[str, Any]:
    """A sentence as an object of tokens and tags; with its text where the words can be found in it again."""
    record: dict[str, Any] = {"tokens": sentence.tokens, "tags": sentence.tags}
    if sentence.document is not None:
        record["document"] = sentence.document
    if sentence.text is not None:
        if locate_words(sentence.tokens, sentence.text) == sentence.offsets:
            record["text"] = sentence.text
        else:
            losses[NO_TEXT] += 1
    return record


def write_jsonl(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """One object a line, with ``tokens`` and ``tags``."""
    write_json_lines(path, (token_record(sentence, losses) for sentence in sentences))


def write_json(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """A list of the same objects."""
    write_json_list(path, (token_record(sentence, losses) for sentence in sentences))


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write objects as JSONL."""
    with open_output(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_json_list(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write objects as a JSON list, one a line."""
    with open_output(path) as file:
        separator = "[\n"
        for record in records:
            file.write(separator + json.dumps(record, ensure_ascii=False))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def write_csv(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """A row a word: sentence_id, token, tag and, with documents, document."""
    _write_table(path, sentences, losses, ",")


def write_tsv(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """The same between tabs."""
    _write_table(path, sentences, losses, "\t")


def _write_table(path: Path, sentences: Iterable[Sentence], losses: Losses, separator: str) -> None:
    stream = iter(sentences)
    first = next(stream, None)
    documents = first is not None and first.document is not None
    with open_output(path) as file:
        # csv.writer leaves a lone carriage return unquoted (before Python 3.13), which csv.reader then refuses.
        needs_quotes = re.compile(f'["\r\n{separator}]')

        def row(*cells: str) -> str:
            quoted = ('"' + cell.replace('"', '""') + '"' if needs_quotes.search(cell) else cell for cell in cells)
            return separator.join(quoted) + "\n"

        file.write(row("sentence_id", "token", "tag", *(["document"] if documents else [])))
        for number, sentence in enumerate(() if first is None else chain([first], stream), 1):
            losses[EMPTY] += not sentence.tokens
            losses[NO_TEXT] += sentence.text is not None
            losses[NO_DOCUMENT] += sentence.document is not None and not documents
            words = sentence.tokens
            if separator == "\t" and any("\n" in word or "\t" in word for word in words):
                losses[BROKEN_WORD] += 1
                words = [word.replace("\n", " ").replace("\t", " ") for word in words]
            assert sentence.tags is not None
            rest = [sentence.document or ""] if documents else []
            file.writelines(row(str(number), word, tag, *rest) for word, tag in zip(words, sentence.tags, strict=True))


def write_parquet(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """A row a sentence: tokens, tags, document and text."""
    import pyarrow.parquet

    schema = _arrow_schema()
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _record_batches(sentences, losses, schema):
            writer.write_batch(batch)


def write_dataset(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """A folder that `datasets.load_from_disk` opens, with the columns of :func:`write_parquet`."""
    import datasets
    import pyarrow as pa

    schema = _arrow_schema()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "sentences.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in _record_batches(sentences, losses, schema):
                writer.write_batch(batch)
        datasets.Dataset.from_file(file).save_to_disk(str(path))


def _arrow_schema() -> Any:
    import pyarrow as pa

    strings = pa.list_(pa.string())
    return pa.schema({"tokens": strings, "tags": strings, "document": pa.string(), "text": pa.string()})


def _record_batches(sentences: Iterable[Sentence], losses: Losses, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    stream = iter(sentences)
    while batch := list(islice(stream, _BATCH)):
        yield pa.RecordBatch.from_pylist([token_record(sentence, losses) for sentence in batch], schema)


def write_text(path: Path, sentences: Iterable[Sentence], losses: Losses) -> None:
    """The raw text, or the words between spaces, a line a sentence."""
    with open_output(path) as file:
        for sentence in sentences:
            text = " ".join(sentence.tokens) if sentence.text is None else sentence.text
            losses["have a line break, replaced by a space"] += "\n" in text
            losses["lose their tags"] += 1
            losses[NO_DOCUMENT] += sentence.document is not None
            file.write(text.replace("\n", " ") + "\n")
