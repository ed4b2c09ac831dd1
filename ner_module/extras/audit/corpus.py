"""The splits of a dataset as columns of numbers: what every part of the audit works on.

One pass turns words and tags into indices, kept in temporary files that are memory-mapped; in memory stay the distinct
forms and, for each sentence, where its words begin (8 bytes) and three hashes (24 bytes): of its words, of its
characters without case and white space, and of its tags. No text of a sentence is held; examples are read again from
the stored split when they are shown.

Not here: any judgement. Each sibling module makes one kind of finding.
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.data.store import StoredSplit
from ner_module.extras.audit.hashing import Hashes, RangeHashes, mix, text_keys
from ner_module.extras.audit.spans import Bools, Spans, TagTable, find_spans, tag_table
from ner_module.extras.audit.wording import excerpt
from ner_module.extras.findings import Example

SPLITS = ("train", "validation", "test")

_CHUNK = 8_000


@dataclass(frozen=True)
class Source:
    """A stored split to audit.

    Attributes:
        stored: its sentences.
        scheme: how its files write entities.
        held_out: indices of the sentences that are validation data; for training data without a validation file.
    """

    stored: StoredSplit
    scheme: str
    held_out: npt.NDArray[np.int64] | None = None


class Chunk(NamedTuple):
    """Consecutive sentences of one source.

    Attributes:
        first_sentence: its index in the corpus.
        first_word: likewise.
        offsets: ``[sentences + 1]``, where their words begin in the arrays below.
        words: indices of forms, ``[words]``.
        tags: indices of tags, ``[words]``.
        first_words: whether a word begins a sentence, ``[words]``.
        table: what the tags mean.
        scheme: of the source.
    """

    first_sentence: int
    first_word: int
    offsets: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]
    tags: npt.NDArray[np.int16]
    first_words: Bools
    table: TagTable
    scheme: str

    def spans(self) -> Spans:
        """The entities, by their place in this chunk."""
        return find_spans(self.tags, self.table, self.first_words)

    def sentence_of(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Which of the chunk's sentences each of some words belongs to."""
        found: npt.NDArray[np.int64] = np.searchsorted(self.offsets, words, side="right") - 1
        return found


class Corpus:
    """All splits, as numbers; a context manager, since it keeps temporary files.

    Attributes:
        splits: names of the splits that have sentences, in the order of training, validation and test.
        split_of: index into ``splits``, ``[sentences]``.
        offsets: where each sentence's words begin, ``[sentences + 1]``.
        exact, folded, tagged: hashes of words, of characters without case and white space, and of tags,
            ``[sentences]``.
        forms: the distinct words.
        types: the entity types (or flat labels).

    Args:
        sources: the stored splits by name.
        outside_label: of flat labels, if there is one.
        label_map: renames or drops types, as training will.
    """

    def __init__(
        self, sources: Mapping[str, Source], outside_label: str | None, label_map: Mapping[str, str] | None = None
    ) -> None:
        self._sources = dict(sorted(sources.items(), key=lambda item: SPLITS.index(item[0])))
        self._folder = tempfile.TemporaryDirectory(prefix="ner-audit-")
        self._bases = np.cumsum([0, *(len(source.stored) for source in self._sources.values())])
        names = {*self._sources}
        if any(source.held_out is not None for source in self._sources.values()):
            names.add("validation")
        self.splits = tuple(name for name in SPLITS if name in names)
        self._tags: dict[str, int] = {}
        for source in self._sources.values():
            for tag in source.stored.meta["tag_counts"]:
                self._tags.setdefault(tag, len(self._tags))
        self.types, self._tables = self._tag_tables(outside_label, label_map)
        self.forms: list[str] = []
        self._read()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        del self._words, self._tag_ids  # the maps, before their files
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    # ------------------------------------------------------------------ reading

    def _tag_tables(
        self, outside_label: str | None, label_map: Mapping[str, str] | None
    ) -> tuple[list[str], list[TagTable]]:
        """The types of the corpus, and for each source what the tags mean there."""
        tables = [
            tag_table(list(self._tags), source.scheme == "flat", outside_label, label_map)
            for source in self._sources.values()
        ]
        types: dict[str, int] = {}
        for table, source in zip(tables, self._sources.values(), strict=True):
            held = np.array([tag in source.stored.meta["tag_counts"] for tag in self._tags], dtype=bool)
            occurring = {int(index) for index in table.types[held]} - {-1}
            for index, name in enumerate(table.type_names):
                if index in occurring:
                    types.setdefault(name, len(types))
        for table in tables:
            index_of = np.array([*(types.get(name, -1) for name in table.type_names), -1], dtype=np.int16)
            table.types = index_of[table.types]
            table.type_names = list(types)
        return list(types), tables

    def _read(self) -> None:
        sentences = int(self._bases[-1])
        self.offsets = np.zeros(sentences + 1, dtype=np.int64)
        self.split_of = np.zeros(sentences, dtype=np.int8)
        self.exact, self.folded, self.tagged = (np.zeros(sentences, dtype=np.uint64) for _ in range(3))
        known: dict[str, int] = {}
        keys = _GrowingKeys()
        at = 0
        folder = Path(self._folder.name)
        with (folder / "words").open("wb") as words_file, (folder / "tags").open("wb") as tags_file:
            for name, source in self._sources.items():
                first = at
                for tokens, tags in source.stored.columns(_CHUNK):
                    lengths = np.diff(tokens.offsets.to_numpy())
                    words = _indices(tokens.flatten(), known)
                    keys.add(list(islice(known, len(keys), None)))
                    tag_ids = _indices(tags.flatten(), self._tags).astype(np.int16)
                    words_file.write(words.tobytes())
                    tags_file.write(tag_ids.tobytes())
                    ends = np.cumsum(lengths)
                    these = slice(at, at + len(lengths))
                    self.offsets[at + 1 : at + len(lengths) + 1] = self.offsets[at] + ends
                    bounds = ends - lengths, ends
                    self.exact[these] = RangeHashes(mix(words))(*bounds)
                    self.folded[these] = RangeHashes(keys.keys[words], keys.widths[words])(*bounds)
                    self.tagged[these] = RangeHashes(mix(tag_ids))(*bounds)
                    at += len(lengths)
                self.split_of[first:at] = self.splits.index(name)
                if source.held_out is not None:
                    self.split_of[first + source.held_out] = self.splits.index("validation")
        self.forms = list(known)
        self._words = _mapped(folder / "words", np.int32)
        self._tag_ids = _mapped(folder / "tags", np.int16)

    # ------------------------------------------------------------------ looking at it

    def chunks(self) -> Iterator[Chunk]:
        """All sentences, a few thousand of one source at a time."""
        for index, source in enumerate(self._sources.values()):
            for start in range(int(self._bases[index]), int(self._bases[index + 1]), _CHUNK):
                stop = min(start + _CHUNK, int(self._bases[index + 1]))
                first, last = int(self.offsets[start]), int(self.offsets[stop])
                offsets = self.offsets[start : stop + 1] - first
                first_words = np.zeros(last - first, dtype=bool)
                first_words[offsets[:-1][np.diff(offsets) > 0]] = True
                words, tags = np.asarray(self._words[first:last]), np.asarray(self._tag_ids[first:last])
                yield Chunk(start, first, offsets, words, tags, first_words, self._tables[index], source.scheme)

    def lengths(self, split: str | None = None) -> npt.NDArray[np.int32]:
        """Words of each sentence of a split, or of all."""
        lengths = np.diff(self.offsets).astype(np.int32)
        return lengths if split is None else lengths[self.in_split(split)]

    def in_split(self, split: str) -> Bools:
        """Which sentences belong to a split: ``[sentences]``."""
        found: Bools = self.split_of == self.splits.index(split)
        return found

    def place(self, sentence: int) -> tuple[StoredSplit, int]:
        """The stored split a sentence lies in, and its index there."""
        source = int(np.searchsorted(self._bases, sentence, side="right")) - 1
        return list(self._sources.values())[source].stored, sentence - int(self._bases[source])

    def tokens(self, sentence: int) -> list[str]:
        """The words of a sentence, read from disk."""
        stored, index = self.place(sentence)
        return stored.tokens(index)

    def example(self, sentence: int, start: int = 0, end: int = 0, text: str | None = None) -> Example:
        """A sentence as an example, the words from ``start`` to ``end`` in brackets; or with a text of its own."""
        stored, index = self.place(sentence)
        path, line = stored.origin(index, start)
        return Example(path, line, excerpt(stored.tokens(index), start, end) if text is None else text)

    def file_of(self, sentences: npt.NDArray[np.int64]) -> list[str]:
        """The file of each of some sentences."""
        found = []
        for sentence in sentences.tolist():
            stored, index = self.place(sentence)
            found.append(stored.origin(index)[0])
        return found

    def words_at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The form of the word at each of some places of the corpus."""
        return np.asarray(self._words[places])

    def tag(self, word: int) -> str:
        """The tag of a word, by its index in the corpus."""
        return list(self._tags)[int(self._tag_ids[word])]


class _GrowingKeys:
    """Hash and number of the characters of each form, without case, white space and compatibility variants."""

    def __init__(self) -> None:
        self._size = 0
        self.keys: Hashes = np.zeros(1024, dtype=np.uint64)
        self.widths = np.zeros(1024, dtype=np.int64)

    def __len__(self) -> int:
        return self._size

    def add(self, forms: Sequence[str]) -> None:
        size = self._size + len(forms)
        if size > len(self.keys):
            room = max(size, 2 * len(self.keys))
            self.keys = np.resize(self.keys, room)
            self.widths = np.resize(self.widths, room)
        self.keys[self._size : size], self.widths[self._size : size] = text_keys([folded(form) for form in forms])
        self._size = size


def folded(form: str) -> str:
    r"""A word without what people vary when they copy text: case, white space, compatibility forms.

    >>> folded("Ｓtraße"), folded(" New\xa0York ")
    ('strasse', 'newyork')
    """
    if not form.isascii():
        form = unicodedata.normalize("NFKC", form).casefold()
    return "".join(form.lower().split())


def _indices(values: Any, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Indices of an Arrow array of strings; new ones are added to ``known``."""
    encoded = values.dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    table = np.fromiter((known.setdefault(value, len(known)) for value in distinct), np.int32, len(distinct))
    found: npt.NDArray[np.int32] = table[encoded.indices.to_numpy()]
    return found


def _mapped(path: Path, dtype: Any) -> Any:
    """A file as an array; an empty file cannot be mapped."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
