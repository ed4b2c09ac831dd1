"""Parquet files and saved `datasets` folders -> records, batch by batch.

Integer tags get their names from the dataset's own features (``ClassLabel``), which `datasets` keeps in both kinds of
file. A record's line is its row, from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from ner_module.errors import DataError

_BATCH = 1_000


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file.

    Raises:
        DataError: the file is damaged.
    """
    row = 0
    try:
        with pa.parquet.ParquetFile(path) as file:
            names = _label_names(file.schema_arrow.metadata)
            for batch in file.iter_batches(_BATCH):
                batch.validate(full=True)  # broken offsets would be read as they are
                for record in batch.to_pylist():
                    row += 1
                    yield row, _named(record, names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, row + 1, "Parquet file", error) from None


def dataset_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a folder written by ``Dataset.save_to_disk``.

    Raises:
        DataError: the folder is damaged or holds several splits.
    """
    import datasets  # a second to import, and only needed here

    row = 0
    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever a broken folder makes of it: KeyError, JSON and Arrow errors among them
        raise _damaged(path, None, "datasets folder", error) from None
    if isinstance(dataset, datasets.DatasetDict):
        raise DataError(
            path, None, f"the folder holds several splits ({', '.join(dataset)})", "name one of its folders"
        )
    names = _label_names({b"huggingface": json.dumps({"info": {"features": dataset.features.to_dict()}}).encode()})
    try:
        for batch in dataset.with_format("arrow").iter(_BATCH):
            batch.validate(full=True)
            for record in batch.to_pylist():
                row += 1
                yield row, _named(record, names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, row + 1, "datasets folder", error) from None


def _label_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """The label names of the columns that hold lists of ``ClassLabel``."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        columns = {column: feature.get("feature", feature) for column, feature in features.items()}
        return {column: list(inner["names"]) for column, inner in columns.items() if inner.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _named(record: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """A record with label names for label ids (one out of range is left for the reader of tags to refuse)."""
    for column, labels in names.items():
        ids = record.get(column)
        if isinstance(ids, list):
            record[column] = [labels[i] if type(i) is int and 0 <= i < len(labels) else i for i in ids]
    return record


def _damaged(path: Path, row: int | None, kind: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(path, row, f"the {kind} cannot be read ({reason})", "make or fetch it again")
