"""Sentences that occur more than once: inside a split, in two splits (leakage), and with different tags.

Sentences are compared by hash (`hashing.py`): exactly, word by word; and nearly, by their characters without case,
white space and compatibility variants, so that another tokenisation of the same text is found too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.hashing import Hashes
from ner_module.extras.audit.spans import Bools
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.findings import Example, Finding

# Shorter sentences ("Yes .", a score, a dateline) repeat in honest data.
_LONG_ENOUGH = 5
# From this share on a training split says one thing too often.
_MANY = 0.05


def duplicate_findings(corpus: Corpus) -> list[Finding]:
    """Contradictions first, then leakage, then mere repetition."""
    lengths = corpus.lengths()
    occupied = lengths > 0
    first_of = _first_equal(corpus.exact)
    findings = _contradictions(corpus, first_of, occupied)
    leaked = _leakage(corpus, corpus.exact, occupied)
    nearly = _leakage(corpus, corpus.folded, occupied)
    for split, found in leaked.items():
        findings += _leak_findings(corpus, split, found, nearly[split], lengths)
    repeats = (first_of != np.arange(len(corpus))) & occupied
    for index, split in enumerate(corpus.splits):
        inside = repeats & (corpus.split_of == index) & (corpus.split_of[first_of] == index)
        count, size = int(inside.sum()), int((corpus.split_of == index).sum())
        if count:
            later = int(np.argmax(np.where(inside, np.minimum(lengths, _LONG_ENOUGH), -1)))
            example = _pair(corpus, later, int(first_of[later]))
            long = int((inside & (lengths >= _LONG_ENOUGH)).sum())
            findings.append(
                Finding(
                    "duplicate_sentences",
                    "warning" if split == "train" and long > _MANY * size else "info",
                    count,
                    f"{plural(count, 'sentence')} of the {split} data ({share(count, size)}; {long:,} of "
                    f"{_LONG_ENOUGH} words or more) {'repeats' if count == 1 else 'repeat'} an earlier one",
                    example,
                    "remove repetitions unless their frequency is what you want to learn"
                    if split == "train"
                    else "remove repetitions: they count several times in the score",
                )
            )
    return findings


def _first_equal(hashes: Hashes) -> npt.NDArray[np.int32]:
    """For each sentence, the first one with the same hash: ``[sentences]``."""
    order = np.argsort(hashes, kind="stable").astype(np.int32)  # small numbers: a million sentences pass here
    new = np.ones(len(order), dtype=bool)
    rising = hashes[order]
    new[1:] = rising[1:] != rising[:-1]
    del rising
    group_of = np.cumsum(new, dtype=np.int32)
    group_of -= 1
    first_of = np.empty(len(order), dtype=np.int32)
    first_of[order] = order[new][group_of]
    return first_of


def _pair(corpus: Corpus, sentence: int, other: int) -> Example:
    example = corpus.example(sentence)
    return Example(example.file, example.line, f"{example.text}  (also {corpus.example(other).place})")


def _contradictions(corpus: Corpus, first_of: npt.NDArray[np.int32], occupied: Bools) -> list[Finding]:
    """Equal sentences with different tags."""
    differ = (corpus.tagged != corpus.tagged[first_of]) & occupied
    count = len(np.unique(first_of[differ]))
    if not count:
        return []
    details: list[dict[str, Any]] = []
    for later in np.flatnonzero(differ)[:100].tolist():
        one, other = corpus.example(int(first_of[later])), corpus.example(later)
        details.append({"places": [one.place, other.place], "text": one.text})
    later = int(np.argmax(differ))
    first = int(first_of[later])
    base, other_base = int(corpus.offsets[first]), int(corpus.offsets[later])
    words = range(int(corpus.lengths()[first]))
    word = next(index for index in words if corpus.tag(base + index) != corpus.tag(other_base + index))
    shown = corpus.example(later, word, word + 1)
    there = corpus.example(first, word, word + 1).place
    tags = f"{corpus.tag(other_base + word)} here, {corpus.tag(base + word)} in {there}"
    return [
        Finding(
            "contradicting_duplicates",
            "warning",
            count,
            f"{plural(count, 'sentence')} {'occurs' if count == 1 else 'occur'} several times with different tags",
            Example(shown.file, shown.line, f"{shown.text}  {tags}"),
            "decide which annotation is right; a model cannot learn both, and a score cannot reward both",
            details,
        )
    ]


class _Leak(NamedTuple):
    """Which sentences of a split occur in training data, and an equal one of each there."""

    leaked: Bools
    training: npt.NDArray[np.int64]


def _leakage(corpus: Corpus, hashes: Hashes, occupied: Bools) -> dict[str, _Leak]:
    """For each split but training: its sentences that occur in the training data; of test also those in validation."""
    found: dict[str, _Leak] = {}
    for index, split in enumerate(corpus.splits):
        if split == "train" or "train" not in corpus.splits:
            continue
        train = np.flatnonzero((corpus.split_of == corpus.splits.index("train")) & occupied)
        train = train[np.argsort(hashes[train], kind="stable")]
        here = np.flatnonzero((corpus.split_of == index) & occupied)
        at = np.searchsorted(hashes[train], hashes[here])
        at[at == len(train)] = 0
        hit = hashes[train[at]] == hashes[here] if len(train) else np.zeros(len(here), dtype=bool)
        leaked = np.zeros(len(corpus), dtype=bool)
        leaked[here[hit]] = True
        found[split] = _Leak(leaked, train[at[hit]])
    return found


def _leak_findings(
    corpus: Corpus, split: str, exact: _Leak, nearly: _Leak, lengths: npt.NDArray[np.int32]
) -> list[Finding]:
    size = int(corpus.in_split(split).sum())
    findings = []
    only_nearly = nearly.leaked & ~exact.leaked
    for code, leaked, leak, how in (
        ("leakage", exact.leaked, exact, ""),
        ("near_leakage", only_nearly, nearly, " but for case, white space or tokenisation"),
    ):
        count, long = int(leaked.sum()), int((leaked & (lengths >= _LONG_ENOUGH)).sum())
        if not count:
            continue
        # A long sentence says more than "Yes .", so the example is one if there is one.
        chosen = int(np.argmax(np.where(leaked, np.minimum(lengths, _LONG_ENOUGH), -1)))
        twin = int(leak.training[np.searchsorted(np.flatnonzero(leak.leaked), chosen)])
        findings.append(
            Finding(
                code,
                "warning" if long else "info",
                count,
                f"{plural(count, 'sentence')} of the {split} data ({share(count, size)}; {long:,} of {_LONG_ENOUGH} "
                f"words or more) {'is' if count == 1 else 'are'} in the training data too{how}",
                _pair(corpus, chosen, twin),
                f"remove them from one side: the {split} score rewards remembering them",
                [{"place": corpus.example(index).place} for index in np.flatnonzero(leaked)[:1000].tolist()],
            )
        )
    return findings
