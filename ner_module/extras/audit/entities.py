"""Every distinct entity of a corpus, with its type, split, number of occurrences and first place; as arrays.

An entity is kept as the hash of its words; the words are read again from the first place when they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.hashing import Hashes, RangeHashes, mix

_COMPACT_AT = 200_000


@dataclass
class Entities:
    """One row for each distinct (words, type, split); sorted by these.

    Attributes:
        hashes: of the words.
        types: index into the corpus's types.
        splits: index into the corpus's splits.
        lengths: words of the entity.
        counts: occurrences.
        first: where the first of them begins, as a word of the corpus.
    """

    hashes: Hashes
    types: npt.NDArray[np.int16]
    splits: npt.NDArray[np.int8]
    lengths: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[Any]) -> Entities:
        """Some of the rows."""
        return Entities(*(column[chosen] for column in self._columns()))

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        return self.hashes, self.types, self.splits, self.lengths, self.counts, self.first


def collect_entities(corpus: Corpus) -> Entities:
    """One pass over the tags."""
    parts: list[Entities] = []
    waiting = 0
    for chunk in corpus.chunks():
        spans = chunk.spans()
        if not len(spans.starts):
            continue
        hashes = RangeHashes(mix(chunk.words))(spans.starts, spans.ends)
        sentences = chunk.first_sentence + chunk.sentence_of(spans.starts)
        parts.append(
            Entities(
                hashes,
                spans.types,
                corpus.split_of[sentences],
                (spans.ends - spans.starts).astype(np.int32),
                np.ones(len(hashes), dtype=np.int64),
                spans.starts + chunk.first_word,
            )
        )
        waiting += len(hashes)
        if waiting > _COMPACT_AT:
            parts, waiting = [_merged(parts)], 0
    return _merged(parts)


def _merged(parts: list[Entities]) -> Entities:
    """Rows with the same words, type and split become one; parts come in the order of the corpus."""
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Entities(
            empty.astype(np.uint64), empty.astype(np.int16), empty.astype(np.int8), empty.astype(np.int32), empty, empty
        )
    whole = Entities(*(np.concatenate(columns) for columns in zip(*(part._columns() for part in parts), strict=True)))
    order = np.lexsort((whole.first, whole.splits, whole.types, whole.hashes))
    whole = whole.where(order)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (
        (whole.hashes[1:] != whole.hashes[:-1])
        | (whole.types[1:] != whole.types[:-1])
        | (whole.splits[1:] != whole.splits[:-1])
    )
    counts = np.add.reduceat(whole.counts, np.flatnonzero(new))
    merged = whole.where(new)
    merged.counts = counts
    return merged


def sentence_at(corpus: Corpus, word: int) -> tuple[int, int]:
    """The sentence a word of the corpus stands in, and its place there."""
    sentence = int(np.searchsorted(corpus.offsets, word, side="right")) - 1
    return sentence, word - int(corpus.offsets[sentence])
