"""Parquet files and saved `datasets` folders -> sentences, batch by batch.

Integer tags get their names from the dataset's own features (``ClassLabel``), which `datasets` keeps in both kinds of
file. A record's line is its row, from 1. pyarrow and `datasets` are imported where they are needed: they take a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.records import Record, RecordReader
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_BATCH = 1_000


def read_parquet(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, 1, "Parquet file", error) from None
    with file:
        records = _records(path, "Parquet file", file.iter_batches(_BATCH), file.schema_arrow)
        yield from RecordReader(path, options, counts).read_all(records)


def read_dataset(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a folder written by ``Dataset.save_to_disk``."""
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a broken folder makes of it: KeyError, JSON and Arrow errors among them
        raise _damaged(path, None, "datasets folder", error) from None
    if isinstance(dataset, datasets.DatasetDict):
        problem = f"this folder holds several splits ({', '.join(sorted(dataset))})"
        raise DataError(path, None, problem, "name the folder of one of them")
    batches = dataset.with_format("arrow").iter(_BATCH)
    records = _records(path, "datasets folder", batches, dataset.features.arrow_schema)
    yield from RecordReader(path, options, counts).read_all(records)


def _records(path: Path, kind: str, batches: Iterable[Any], schema: Any) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa

    names = _label_names(schema)
    row = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # broken offsets would be read as they are
            for record in batch.to_pylist():
                row += 1
                for column, labels in names.items():
                    ids = record.get(column)
                    if isinstance(ids, list):  # an id out of range is left for the reader of tags to refuse
                        record[column] = [labels[i] if type(i) is int and 0 <= i < len(labels) else i for i in ids]
                yield row, record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, row + 1, kind, error) from None


def _label_names(schema: Any) -> dict[str, list[str]]:
    """The label names of the columns that hold lists of ``ClassLabel``."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        columns = {column: feature.get("feature", feature) for column, feature in features.items()}
        return {column: list(inner["names"]) for column, inner in columns.items() if inner.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _damaged(path: Path, row: int | None, kind: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(path, row, f"the {kind} cannot be read ({reason})", "make or fetch it again")
