"""The sentences of all splits in memory, read as training will read them, each with its place in a file.

Equal words, and equal sequences of tags with their spans, are one object; a sentence of 15 words takes some 400 bytes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.data.store import StoredSplit
from ner_module.extras.audit.wording import excerpt
from ner_module.extras.findings import Example
from ner_module.tagging import OUTSIDE, Span, has_prefix, illegal_words, tags_to_spans

SPLITS = ("train", "validation", "test")


class Source(NamedTuple):
    """A stored split, the scheme of its files, and the indices of its sentences that are held out for validation."""

    stored: StoredSplit
    scheme: str
    held_out: npt.NDArray[np.int64] | None = None


class Sentence(NamedTuple):
    """A sentence: words and tags as the file writes them, entities, words that are illegally tagged, and its place."""

    split: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    spans: list[Span]
    illegal: list[int]
    source: Source
    number: int

    def example(self, start: int = 0, end: int = 0, note: str = "") -> Example:
        """The sentence as an example, the words from ``start`` to ``end`` in brackets, and a note after it."""
        return Example(*self.source.stored.origin(self.number, start), excerpt(self.tokens, start, end) + note)


@dataclass
class Corpus:
    """All splits."""

    sources: dict[str, Source]
    """The stored splits by name, in the order of training, validation and test."""
    splits: list[str]
    """Names of the splits that have sentences, likewise; a held-out part counts."""
    sentences: list[Sentence]
    forms: Counter[str]
    """The distinct words, and how often each occurs."""

    def of(self, split: str) -> list[Sentence]:
        """The sentences of a split."""
        return [sentence for sentence in self.sentences if sentence.split == split]

    def count(self, forms: Iterable[str]) -> int:
        """How many words are one of some forms."""
        return sum(self.forms[form] for form in forms)

    def first_word(self, forms: Iterable[str]) -> Example:
        """The first word that is one of some forms."""
        wanted = set(forms)
        sentence = next(sentence for sentence in self.sentences if not wanted.isdisjoint(sentence.tokens))
        at = next(at for at, word in enumerate(sentence.tokens) if word in wanted)
        return sentence.example(at, at + 1)


def read_corpus(
    sources: Mapping[str, Source], outside_label: str | None, label_map: Mapping[str, str] | None = None
) -> Corpus:
    """Read all sentences; types are renamed or dropped, as training will."""
    sources = {name: sources[name] for name in SPLITS if name in sources}
    sentences = []
    for name, source in sources.items():
        held_out = set() if source.held_out is None else set(source.held_out.tolist())
        known: dict[tuple[str, ...], tuple[tuple[str, ...], list[Span], list[int]]] = {}
        chunks = source.stored.chunks()
        pairs = chain.from_iterable(zip(chunk.tokens, map(tuple, chunk.tags or ()), strict=True) for chunk in chunks)
        for number, (tokens, tags) in enumerate(pairs):
            if tags not in known:
                known[tags] = tags, *annotate(tags, source.scheme, outside_label, label_map or {})
            split = "validation" if number in held_out else name
            sentences.append(Sentence(split, tuple(map(sys.intern, tokens)), *known[tags], source, number))
    present = {sentence.split for sentence in sentences}
    forms = Counter(chain.from_iterable(sentence.tokens for sentence in sentences))
    return Corpus(sources, [name for name in SPLITS if name in present], sentences, forms)


def annotate(
    tags: tuple[str, ...], scheme: str, outside_label: str | None, label_map: Mapping[str, str]
) -> tuple[list[Span], list[int]]:
    """The entities, renamed or dropped by the label map, and the words that are illegally tagged.

    Under a prefixed scheme a tag without a prefix, which is an error of its own, counts as outside.

    >>> annotate(("B-boss", "I-boss", "O", "I-misc", "PER"), "iob2", "O", {"boss": "PER", "misc": "O"})
    ([Span(start=0, end=2, entity_type='PER')], [3])
    """
    readable = tags if scheme == "flat" else [tag if has_prefix(tag) else OUTSIDE for tag in tags]
    illegal = illegal_words(readable, scheme)
    spans = tags_to_spans(readable, scheme, outside_label)
    if label_map:
        named = [Span(start, end, label_map.get(name, name)) for start, end, name in spans]
        spans = [span for span in named if span.entity_type not in (OUTSIDE, outside_label)]
    return spans, illegal
