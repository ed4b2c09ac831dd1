"""Annotated files -> sentences: one function, whatever the format.

=============  =======================================================================================================
``conll``      columns, one word a line (`columns.py`)
``jsonl``      one object a line with tokens and tags, or text with character spans (`json_records.py`, `records.py`)
``json``       the same objects in a list
``spans``      JSONL or JSON with character spans, forced (`span_records.py`)
``csv, tsv``   a header, then a word or a sentence a row (`tables.py`)
``parquet``    a sentence a row (`arrow.py`)
``brat``       a folder of .txt and .ann files (`brat.py`)
``datasets``   the folder that `Dataset.save_to_disk` writes (`arrow.py`)
``text``       a sentence a line, for prediction only
=============  =======================================================================================================

A reader is a generator of :class:`Sentence` from a path, the options and the counts of character spans that it adds
to; a new one gets a line in :data:`_READERS`. What does not fit ends it with a :class:`DataError` that names the line.
Every text file may be gzipped. Reading streams in constant memory, but for the text of a ``json`` file or a brat
document. Hub datasets are not read here (`data/hub.py`), and whether tags are likely misspelt is for the whole corpus
to tell (`data/tag_census.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ner_module.data.formats.arrow import read_dataset, read_parquet
from ner_module.data.formats.brat import read_brat
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.columns import read_columns
from ner_module.data.formats.detection import detect_format
from ner_module.data.formats.files import expand_files, read_lines
from ner_module.data.formats.json_records import read_json
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.tables import read_table
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import DataError

__all__ = ["FORMATS", "DataError", "ReadingOptions", "Sentence", "detect_format", "expand_files", "read_sentences"]

_log = logging.getLogger(__name__)
_DEFAULTS = ReadingOptions()


def read_sentences(
    path: Path, options: ReadingOptions = _DEFAULTS, span_counts: SpanCounts | None = None
) -> Iterator[Sentence]:
    """Yield the sentences of a file or folder, in order.

    Args:
        path: a file, or the folder of a brat collection or a saved `datasets` dataset.
        options: how it is read.
        span_counts: the outcomes of character spans are added here; without it, a summary is logged as a warning when
            spans were changed or dropped.

    Raises:
        DataError: the file is missing, is not in the format or encoding, has a line that does not fit, or has no
            sentence though tags are wanted.
    """
    if options.format == "auto":
        options = replace(options, format=detect_format(path, options))
    if options.format not in FORMATS:
        problem = f"the format {options.format!r} is unknown"
        raise DataError(path, None, problem, f"choose among auto, {', '.join(FORMATS)}")
    counts = SpanCounts() if span_counts is None else span_counts
    empty = True
    for sentence in _READERS[options.format](path, options, counts):
        empty = False
        yield sentence
    if empty and options.tagged:
        nothing = path.is_file() and path.stat().st_size == 0
        problem = "the file is empty" if nothing else f"no sentence was found (read as {options.format})"
        raise DataError(path, None, problem, "give a file with tagged sentences")
    if span_counts is None and not counts.is_clean:
        _log.warning("%s: %s", path, counts.summary())


def _read_text(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    del counts
    if options.tagged:
        raise DataError(path, None, "raw text has no tags", "give tagged sentences; raw text is for prediction")
    for number, line in enumerate(read_lines(path, options.encoding), 1):
        text = line.removesuffix("\n").removesuffix("\r")
        offsets = split_words(text)
        yield Sentence([text[start:end] for start, end in offsets], None, number, None, text, offsets)


_READERS: dict[str, Callable[[Path, ReadingOptions, SpanCounts], Iterator[Sentence]]] = {
    "conll": read_columns,
    "jsonl": read_json,
    "json": read_json,
    "spans": read_json,
    "csv": read_table,
    "tsv": read_table,
    "parquet": read_parquet,
    "brat": read_brat,
    "datasets": read_dataset,
    "text": _read_text,
}
FORMATS = tuple(_READERS)
