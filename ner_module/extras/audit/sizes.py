"""How large the splits are: sentences, words, subwords, entities, and how lengths are distributed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.balance import Balance
from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.subwords import SubwordCounts

_PERCENTILES = (50, 95, 99)

HISTOGRAM_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Lower bounds of the histogram's classes, in words or subwords; the last has no upper bound."""


def split_sizes(corpus: Corpus, balance: Balance, subwords: SubwordCounts | None) -> dict[str, dict[str, Any]]:
    """The numbers of each split, as JSON holds them."""
    inside = _words_inside(corpus)
    sizes: dict[str, dict[str, Any]] = {}
    for split in corpus.splits:
        here = corpus.in_split(split)
        lengths = corpus.lengths(split)
        words = int(lengths.sum())
        mentions = balance.mentions[split]
        sizes[split] = {
            "sentences": int(here.sum()),
            "words": words,
            "sentences_with_entities": int(np.count_nonzero(inside[here])),
            "entities": sum(mentions.values()),
            "distinct_entities": sum(balance.distinct[split].values()),
            "entities_by_type": mentions,
            "distinct_entities_by_type": balance.distinct[split],
            "words_in_entities": int(inside[here].sum()),
            "words_per_sentence": distribution(lengths),
        }
        if split in balance.seen:
            sizes[split]["entities_seen_in_training"] = balance.seen[split]
        if subwords is not None:
            sizes[split]["subwords"] = int(subwords.lengths[here].sum())
            sizes[split]["subwords_per_sentence"] = distribution(subwords.lengths[here])
            sizes[split]["unknown_words"] = subwords.unknown[split]
            sizes[split]["rows"] = subwords.rows[split]
            sizes[split]["windowed_sentences"] = subwords.windowed[split]
    return sizes


def distribution(lengths: npt.NDArray[Any]) -> dict[str, Any]:
    """Mean, percentiles (the nearest that occurs), longest, and a histogram over :data:`HISTOGRAM_EDGES`.

    >>> distribution(np.array([1, 2, 3, 40]))["p50"], distribution(np.array([], dtype=int))["longest"]
    (2, 0)
    """
    if not len(lengths):
        return {"mean": 0.0, **{f"p{p}": 0 for p in _PERCENTILES}, "longest": 0, "histogram": []}
    counts = np.bincount(lengths)  # of each length; a million sentences are not sorted, nor copied as floats
    up_to = np.cumsum(counts)
    classes = np.searchsorted(HISTOGRAM_EDGES, np.arange(len(counts)), side="right")
    return {
        "mean": round(float(lengths.mean()), 2),
        **{f"p{p}": int(np.searchsorted(up_to, len(lengths) * p / 100)) for p in _PERCENTILES},
        "longest": len(counts) - 1,
        "histogram": np.bincount(classes, counts, minlength=len(HISTOGRAM_EDGES) + 1).astype(int).tolist(),
    }


def _words_inside(corpus: Corpus) -> npt.NDArray[np.int32]:
    """Words of each sentence that belong to an entity."""
    found = np.zeros(len(corpus), dtype=np.int32)
    for chunk in corpus.chunks():
        inside = np.concatenate([[0], np.cumsum(chunk.table.types[chunk.tags] >= 0)])
        count = len(chunk.offsets) - 1
        found[chunk.first_sentence : chunk.first_sentence + count] = (
            inside[chunk.offsets[1:]] - inside[chunk.offsets[:-1]]
        )
    return found
