"""Annotated files -> sentences: one function, whatever the format.

=============  =======================================================================================================
``conll``      columns, one word a line (`columns.py`)
``jsonl``      one object a line with tokens and tags, or text with character spans (`records.py`)
``json``       the same objects in a list
``spans``      JSONL or JSON with character spans, forced (`span_records.py`)
``csv, tsv``   a header, then a word or a sentence a row (`tables.py`)
``parquet``    a sentence a row (`arrow.py`)
``datasets``   the folder that `Dataset.save_to_disk` writes (`arrow.py`)
``brat``       a folder of .txt and .ann files (`brat.py`)
``text``       a sentence a line, for prediction only
=============  =======================================================================================================

Every text file may be gzipped. Reading streams in constant memory. What is wrong with a file ends it with a
:class:`DataError` that names the line. Hub datasets are not read here (`data/hub.py`), and whether tags are likely
misspelt is for the whole corpus to tell (`data/tag_census.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from ner_module.data.formats.brat import read_brat
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.column_layout import DOCSTART
from ner_module.data.formats.columns import read_columns
from ner_module.data.formats.detection import FORMATS, detect_format, detect_json
from ner_module.data.formats.files import contains, expand_files, read_lines
from ner_module.data.formats.json_records import read_json, read_jsonl
from ner_module.data.formats.records import RecordReader
from ner_module.data.formats.tables import read_table
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError

__all__ = ["FORMATS", "DataError", "Sentence", "detect_format", "expand_files", "read_sentences"]

_log = logging.getLogger(__name__)


def read_sentences(
    path: Path,
    *,
    format: str = "auto",
    text_column_name: str | None = None,
    label_column_name: str | None = None,
    label_names: list[str] | None = None,
    tagged: bool = True,
    encoding: str | None = None,
    span_counts: SpanCounts | None = None,
) -> Iterator[Sentence]:
    """Yield the sentences of a file or folder, in order.

    Args:
        path: a file, or the folder of a brat collection or a saved `datasets` dataset.
        format: one of :data:`FORMATS`, or ``auto`` to tell it from the file.
        text_column_name: where the words (or the text) are: a key or column name, or the number of a column from 0,
            from the end if negative. Default: the usual names; in column files the first column.
        label_column_name: where the tags (or the spans) are, likewise; in column files the last column.
        label_names: names of integer tags.
        tagged: whether tags are wanted. Without them, files of words only, raw text (``.txt``, one sentence a line)
            and JSONL with tokens or text are read too, and each line of a text or JSONL file yields one sentence, an
            empty line one without words.
        encoding: encoding of a text file; UTF-8 by default, with or without byte order mark.
        span_counts: what became of character spans is added here; without it, a summary is logged as a warning when
            spans were changed or dropped.

    Raises:
        DataError: the file is missing, is not in the format or encoding, has a line that does not fit, or has no
            sentence though tags are wanted.
    """
    if format not in ("auto", *FORMATS):
        raise DataError(path, None, f"the format {format!r} is unknown", f"choose among auto, {', '.join(FORMATS)}")
    if format == "auto":
        format = detect_format(
            path,
            tagged=tagged,
            encoding=encoding,
            text_column_name=text_column_name,
            label_column_name=label_column_name,
        )
    counts = SpanCounts() if span_counts is None else span_counts
    empty = True
    for sentence in _read(path, format, text_column_name, label_column_name, label_names, tagged, encoding, counts):
        empty = False
        yield sentence
    if empty and tagged:
        nothing = path.is_file() and path.stat().st_size == 0
        problem = "the file is empty" if nothing else f"no sentence was found (read as {format})"
        raise DataError(path, None, problem, "give a file with tagged sentences")
    if span_counts is None and not counts.is_clean:
        _log.warning("%s: %s", path, counts.summary())


def _read(
    path: Path,
    format: str,
    text_column: str | None,
    label_column: str | None,
    label_names: list[str] | None,
    tagged: bool,
    encoding: str | None,
    counts: SpanCounts,
) -> Iterable[Sentence]:
    if format == "text":
        if tagged:
            raise DataError(path, None, "raw text has no tags", "give tagged sentences; raw text is for prediction")
        return _read_text(read_lines(path, encoding))
    if format == "conll":
        return read_columns(
            path,
            read_lines(path, encoding),
            text_column_name=text_column,
            label_column_name=label_column,
            label_names=label_names,
            tagged=tagged,
            documents=contains(path, DOCSTART, encoding),
        )
    if format == "brat":
        return read_brat(path, encoding, tagged, counts)
    reader = RecordReader(
        path, text_column, label_column, label_names, tagged, counts, spans=True if format == "spans" else None
    )
    lines = read_lines(path, encoding)
    if format in ("csv", "tsv"):
        return read_table(path, lines, "," if format == "csv" else "\t", reader)
    if format in ("parquet", "datasets"):
        from ner_module.data.formats.arrow import dataset_records, parquet_records  # pyarrow only where it is needed

        records = parquet_records(path) if format == "parquet" else dataset_records(path)
    elif format == "json" or (format == "spans" and detect_json(path, encoding) == "json"):
        records = read_json(path, lines)
    else:
        records = read_jsonl(path, lines, keep_blank=not tagged)
    sentences = (reader.read(record, line) for line, record in records)
    return (sentence for sentence in sentences if sentence is not None)


def _read_text(lines: Iterable[str]) -> Iterator[Sentence]:
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\n").removesuffix("\r")
        offsets = split_words(text)
        yield Sentence([text[start:end] for start, end in offsets], None, number, None, text, offsets)
