"""Annotated files -> sentences: one function, whatever the format.

Here are columns with a word a line (``conll``), records (``jsonl``, ``json``, ``parquet``, ``datasets`` folders; with
``spans`` they are read as text with character spans whatever they look like), tables with a header (``csv``, ``tsv``)
and lines of raw ``text``, for prediction only. Extras read more (`adapters.py`): what tools export as JSON, and files
of further formats such as brat.

A reader is one function with a line in :data:`_READERS`. It raises a :class:`DataError` at the line that does not fit,
and is made of lines (`files.py`), columns (`contents.py`), tags (`cells.py`), spans (`char_spans.py`) or records
(`records.py`). Memory is bounded by the largest size of a line, row, record, sentence or document. Text may be gzipped.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ner_module.data.formats.adapters import AnnotatedText, FileFormat, offered_formats
from ner_module.data.formats.cells import is_tag
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.columns import read_columns
from ner_module.data.formats.contents import tag_columns
from ner_module.data.formats.files import expand_files, read_head, read_lines, suffix_of
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.record_files import json_kind, read_dataset, read_json, read_parquet
from ner_module.data.formats.records import RecordReader
from ner_module.data.formats.tables import is_table, read_table
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

__all__ = [
    "FORMATS",
    "DataError",
    "ReadingOptions",
    "Sentence",
    "detect_format",
    "expand_files",
    "known_formats",
    "read_sentences",
]

_log = logging.getLogger(__name__)
_DEFAULTS = ReadingOptions()
_HEAD = 1 << 16
_LONG = 100
_FEW = 50
_COLUMN_SUFFIXES = (".conll", ".conllu", ".conllup", ".bio", ".iob", ".iob2", ".tsv", ".col", ".ner")
_JSON = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*\{)")  # an object, or a list of objects
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_sentences(
    path: Path, options: ReadingOptions = _DEFAULTS, span_counts: SpanCounts | None = None
) -> Iterator[Sentence]:
    """Yield the sentences of a file or folder, in order; a :class:`DataError` says what cannot be read.

    ``span_counts`` get the outcomes of character spans; without it, a warning says what was changed or dropped.
    """
    counts = SpanCounts() if span_counts is None else span_counts
    is_detected = options.format == "auto"
    if is_detected:
        options = replace(options, format=detect_format(path, options))
    offered = _offered_files()
    why = "detected from its name and content" if is_detected else "as --data.format says"
    counts.say(path, f"format {options.format}, {why}")
    if options.format in offered:
        items = offered[options.format].read(path, options)
        sentences = RecordReader(path, options, counts).read_items(items)
    elif options.format in FORMATS:
        sentences = _READERS[options.format](path, options, counts)
    else:
        problem = f"the format {options.format!r} is unknown"
        raise DataError(path, None, problem, f"choose among auto, {', '.join(known_formats())}")
    number = 0
    for sentence in sentences:
        number += 1
        yield sentence
    if number == 1 and options.format in ("conll", "csv", "tsv") and len(sentence.tokens) > _LONG:
        problem = f"no empty line and no column says where a sentence ends: all {len(sentence.tokens):,} words are one"
        counts.say(path, problem, is_surprise=True)
    if not number and options.tagged:
        why = f"; {counts.summary()}" if counts.left_out else ""
        problem = f"no sentence was found (read as {options.format}{why})"
        raise DataError(path, None, problem, "give a file with tagged sentences")
    if span_counts is None and not counts.is_clean:
        _log.warning("%s: %s", path, counts.summary())


def _read_text(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    if options.tagged:
        raise DataError(path, None, "raw text has no tags", "give tagged sentences; raw text is for prediction")
    lines = enumerate(read_lines(path, options.encoding, options.max_record), 1)
    texts = ((path, number, AnnotatedText(line.removesuffix("\n").removesuffix("\r"))) for number, line in lines)
    yield from RecordReader(path, options, counts).read_items(texts)


_READERS: dict[str, Callable[[Path, ReadingOptions, SpanCounts], Iterator[Sentence]]] = {
    "conll": read_columns,
    "jsonl": read_json,
    "json": read_json,
    "spans": read_json,
    "csv": read_table,
    "tsv": read_table,
    "parquet": read_parquet,
    "datasets": read_dataset,
    "text": _read_text,
}
FORMATS = tuple(_READERS)


def _offered_files() -> Mapping[str, FileFormat]:
    offered = offered_formats()
    return {} if offered is None else offered.files


def known_formats() -> tuple[str, ...]:
    """Every format that can be read, those of extras among them."""
    return (*FORMATS, *_offered_files())


def detect_format(path: Path, options: ReadingOptions) -> str:
    """Detect the format of a file or folder.

    A first line that holds the column names that are asked for is a header. Without tags, a ``.txt`` file is raw text
    unless it is plainly made of tagged columns.
    """
    suffix, text = suffix_of(path), "" if path.is_dir() else read_head(path, options.encoding, _HEAD)
    if suffix == ".parquet" or (text.startswith("PAR1") and "\0" in text):  # PAR1 alone can be a word
        return "parquet"
    for name, offered in _offered_files().items():
        if offered.recognises(path, text):
            return name
    if path.is_dir():
        return _folder_format(path)
    lines = text.removesuffix("\n").split("\n")
    lines = (lines[:-1] or lines) if len(text) >= _HEAD // 4 else lines  # the last may be cut
    if suffix == ".txt" and not options.tagged:
        return "conll" if _has_tagged_columns(lines) else "text"
    if suffix in (".jsonl", ".ndjson", ".json") or (suffix != ".csv" and _JSON.match(text)):
        return json_kind(lines)
    for separator in _SEPARATORS.get(suffix, "\t,"):
        if is_table([cell.strip(' "\r') for cell in lines[0].split(separator)], options):
            return "csv" if separator == "," else "tsv"
    if suffix == ".csv":
        return "csv"
    rows = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART"))]
    if _are_sentences(rows):
        return "tsv"
    has_sentences = any(" " in row.strip() for row in rows) and not any("\t" in row for row in rows)
    if has_sentences and not options.tagged and suffix not in _COLUMN_SUFFIXES and not _has_tagged_columns(rows):
        problem = "this may be raw text or columns"
        raise DataError(path, None, problem, "set --data.format to text or conll, or name the file .txt or .conll")
    return "conll"


def _folder_format(path: Path) -> str:
    names = {entry.name for entry in path.iterdir()}
    if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= names:
        return "datasets"
    advice = "name a file, a glob such as folder/*.conll, or a folder of a known format (brat, a saved dataset)"
    raise DataError(path, None, "this folder is not a dataset", advice)


def _are_sentences(rows: Sequence[str]) -> bool:
    """Whether most of the first lines are a sentence, a tab, and as many tags, and none is anything else."""
    pairs = [[cell.split() for cell in row.split("\t")] for row in rows[:_FEW]]
    fits = all(len(pair) == 2 and len(pair[0]) == len(pair[1]) for pair in pairs)
    tags = [[tag] for pair in pairs for tag in pair[-1]]
    return fits and len(tags) > 1.5 * len(pairs) and any(column.rank == 3 for column in tag_columns(tags))


def _has_tagged_columns(lines: Sequence[str]) -> bool:
    """Whether every line is words and a tag: a constant number of columns, the last one ``O`` or prefixed."""
    rows = [line.split() for line in lines if line.strip() and not line.startswith("-DOCSTART")]
    is_even = len(rows) > 2 and {len(row) for row in rows} == {max(len(rows[0]), 2)}
    return is_even and all(is_tag(row[-1]) for row in rows)
