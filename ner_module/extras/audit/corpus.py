"""The sentences of all splits in memory, read as training will read them, each with its place in a file.

Equal words, and equal sequences of tags with their spans, are one object; a sentence of 15 words takes some 400 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """All splits.

    Attributes:
        sources: the stored splits by name, in the order of training, validation and test.
        splits: names of the splits that have sentences, likewise; a held-out part counts.
        sentences: of all of them.
        forms: the distinct words.
    """

    sources: dict[str, Source]
    splits: list[str]
    sentences: list[Sentence]
    forms: list[str]

    def of(self, split: str) -> list[Sentence]:
        """The sentences of a split."""
        return [sentence for sentence in self.sentences if sentence.split == split]


def read_corpus(
    sources: Mapping[str, Source], outside_label: str | None, label_map: Mapping[str, str] | None = None
) -> Corpus:
    """Read all sentences.

    Args:
        sources: the stored splits by name.
        outside_label: the label of words outside any entity, if there is one.
        label_map: renames or drops types, as training will.
    """
    sources = {name: sources[name] for name in SPLITS if name in sources}
    forms: dict[str, str] = {}
    sentences = []
    for name, source in sources.items():
        held_out = set() if source.held_out is None else set(source.held_out.tolist())
        known: dict[tuple[str, ...], tuple[tuple[str, ...], list[Span], list[int]]] = {}
        number = 0
        for chunk in source.stored.chunks():
            assert chunk.tags is not None
            for tokens, tags in zip(chunk.tokens, map(tuple, chunk.tags), strict=True):
                if tags not in known:
                    known[tags] = tags, *annotate(tags, source.scheme, outside_label, label_map or {})
                words = tuple([forms.setdefault(word, word) for word in tokens])
                split = "validation" if number in held_out else name
                sentences.append(Sentence(split, words, *known[tags], source, number))
                number += 1
    split_off = any(source.held_out is not None for source in sources.values())
    splits = [name for name in SPLITS if name in sources or (name == "validation" and split_off)]
    return Corpus(sources, splits, sentences, list(forms))


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
