"""Sentences of a split as one memory-mapped Arrow file, with the origin of each.

Every source (files of any format, hub datasets) is converted to this format, so that later steps handle only one, and
no process ever holds the text of a corpus in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ner_module.data.encoded import Annotated
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.sentence import Sentence
from ner_module.data.spelling import respelling
from ner_module.data.tag_census import SeenTag, TagCensus
from ner_module.files import folder_written_whole

# Number of sentences read and written together.
_CHUNK = 2_000

Documents = Literal["marked", "file"]

# The fields of `Sentence`, and the index of its file (or dataset).
_SCHEMA = pa.schema(
    [
        ("tokens", pa.list_(pa.string())),
        ("tags", pa.list_(pa.string())),
        ("line", pa.int32()),
        ("document", pa.string()),
        ("text", pa.string()),
        ("offsets", pa.list_(pa.list_(pa.int32(), 2))),
        ("word_per_line", pa.bool_()),
        ("id", pa.string()),  # as JSON: 7 is not "7"
        ("source", pa.int32()),
    ]
)


class StoredSplit:
    """The sentences of one split, memory-mapped.

    Attributes:
        folder: their folder.
        meta: stored metadata: ``sources`` (file names by index) and the findings of reading.
        seen: the tags that occur.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.seen = {tag: SeenTag(*found) for tag, found in self.meta["tags"].items()}
        self._table = _open_table(folder / "sentences.arrow")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def tokens(self, index: int) -> list[str]:
        """The words of one sentence."""
        words: list[str] = self._table["tokens"][index].as_py()
        return words

    def origin(self, index: int, word: int = 0) -> tuple[str, int]:
        """The file (or dataset) and the 1-based line (or row) of a sentence, or of one of its words."""
        [row] = self._table.select(["source", "line", "word_per_line"]).slice(index, 1).to_pylist()
        return self.meta["sources"][row["source"]], row["line"] + word * row["word_per_line"]

    def sources(self) -> npt.NDArray[np.int64]:
        """The index of each sentence's file, in ascending order."""
        numbers: npt.NDArray[np.int64] = self._table["source"].to_numpy().astype(np.int64)
        return numbers

    def documents(self) -> npt.NDArray[np.int64] | None:
        """The number of each sentence's document; ``None`` if some sentence has none.

        Documents with the same name in two files are different.
        """
        if self._table["document"].null_count:
            return None
        names = self._table["document"].combine_chunks().dictionary_encode()
        name = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, numbers = np.unique(self.sources() * (len(names.dictionary) + 1) + name, return_inverse=True)
        return numbers.astype(np.int64)

    def annotated(self, documents: Documents | None = None) -> Iterator[Annotated]:
        """Words, tags and document of each sentence.

        ``documents``: ``None`` omits documents; ``marked`` takes those marked in the data; ``file`` also makes one of
        all sentences in a file that have none.
        """
        for batch in self._table.to_batches(max_chunksize=_CHUNK):
            columns = (batch.column(name).to_pylist() for name in ("tokens", "tags", "source", "document"))
            for tokens, tags, source, name in zip(*columns, strict=True):
                belongs = documents == "file" or (documents == "marked" and name is not None)
                yield tokens, tags, (source, name) if belongs else None

    def sentences(self, start: int = 0, stop: int | None = None) -> Iterator[Sentence]:
        """Consecutive sentences, with all fields."""
        length = None if stop is None else stop - start
        return (sentence for _, sentence in _sentences(self._table.slice(start, length)))


def _open_table(path: Path) -> Any:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _sentences(table: Any) -> Iterator[tuple[int, Sentence]]:
    """The rows of a table, each with the index of its source."""
    for batch in table.to_batches(max_chunksize=_CHUNK):
        for row in batch.to_pylist():
            row["offsets"] = row["offsets"] and list(map(tuple, row["offsets"]))
            row["id"] = row["id"] and json.loads(row["id"])
            yield row.pop("source"), Sentence(**row)


def store_sentences(
    folder: Path,
    sources: list[str],
    sentences: Iterable[tuple[int, Sentence]],
    changed_spans: SpanCounts,
    meta: dict[str, Any],
    outside_label: str | None = None,
) -> None:
    """Write sentences, each with the index of its source, findings, and ``meta`` to ``folder``.

    ``changed_spans`` is filled while sentences are read. Other spellings of tags (``b-per``, or an ``outside_label``
    for ``O``) are normalised.
    """
    with folder_written_whole(folder, checksums=True) as scratch:
        file, as_found = scratch / "sentences.arrow", scratch / "as_found.arrow"
        census = _write(file, sources, sentences)
        respelt = respelling([*(meta["declared_names"] or ()), *census.seen()], outside_label)
        if respelt:
            file.rename(as_found)
            census = _write(file, sources, _sentences(_open_table(as_found)), respelt)
            as_found.unlink()
        found = {
            "sources": sources,
            "tags": census.seen(),
            "respelt": respelt,
            "schemes": census.scheme_report(),
            "changed_spans": None if changed_spans.is_clean else changed_spans.summary(),
            "first_changed_span": changed_spans.first_change,
            "notes": changed_spans.notes,
        }
        text = json.dumps({**found, **meta}, ensure_ascii=False)
        (scratch / "meta.json").write_text(text, encoding="utf-8")


def _write(
    path: Path, sources: list[str], sentences: Iterable[tuple[int, Sentence]], respelt: Mapping[str, str] | None = None
) -> TagCensus:
    census, stream = TagCensus(), iter(sentences)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while chunk := list(islice(stream, _CHUNK)):
            for source, sentence in chunk:
                if sentence.tags is not None:
                    sentence.tags = [respelt.get(tag, tag) for tag in sentence.tags] if respelt else sentence.tags
                    census.add(sentence.tags, sources[source], sentence)
            columns = {name: [getattr(each, name) for _, each in chunk] for name in _SCHEMA.names if name != "source"}
            columns["id"] = [None if name is None else json.dumps(name) for name in columns["id"]]
            columns["source"] = [source for source, _ in chunk]
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=_SCHEMA))
    return census
