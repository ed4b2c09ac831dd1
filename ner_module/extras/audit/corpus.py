"""The sentences of all splits in memory, read as training will read them, each with its place in a file.

Tags at which ``fit`` would stop become findings, and the rest is still audited. Equal words, and equal sequences of
tags with their spans, are one object; a sentence of 15 words takes some 400 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.data.datamodule import NERDataModule
from ner_module.data.inventory import Tags, choose_source_schemes
from ner_module.data.partial import AnnotatedTypes, types_of
from ner_module.data.preparation import choose_held_out, store_splits
from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import suspicious_tags
from ner_module.errors import DataError
from ner_module.extras.audit.findings import Example, Finding, excerpt, plural
from ner_module.tagging import BARE, OUTSIDE, Span, has_prefix, illegal_words, tags_to_spans

SPLITS = ("train", "validation", "test")


class Source(NamedTuple):
    """A stored split, the scheme of its files, and the indices of its sentences that are held out for validation."""

    stored: StoredSplit
    scheme: str
    held_out: npt.NDArray[np.int64] | None = None


class Sentence(NamedTuple):
    """A sentence: words and tags as the file writes them, entities, words that are illegally tagged, and its place."""

    split: str
    file: str
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
    annotated_types: AnnotatedTypes | None = None
    """As ``--data.annotated_types`` gives them."""

    @cached_property
    def types_by_file(self) -> dict[str, list[str] | None]:
        """The types that each file annotates; ``None``: all."""
        files = chain.from_iterable(source.stored.meta["sources"] for source in self.sources.values())
        return {file: types_of(file, self.annotated_types) for file in files}

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


def read_data(data: NERDataModule) -> tuple[Corpus, list[Finding]]:
    """Read all splits that a configuration names, or take those that the data module has read.

    Returns:
        The sentences, and what is wrong with the inventory of tags.

    Raises:
        DataError: a file cannot be read.
    """
    options: Any = data.hparams
    findings: list[Finding] = []
    stored = data.stored or store_splits(options, "fit", data.cache)
    outside, schemes = options["outside_label"], {}
    with _errors_as(findings, "labels_without_prefix"):
        schemes = choose_source_schemes(stored, options["source_scheme"], outside)
    for name, split in stored.items() if not schemes else ():
        census = split.meta["schemes"]  # the tags in question are found below, one by one
        fewest = min(census["illegal_words"], key=census["illegal_words"].__getitem__)
        schemes[name] = fewest if census["prefixed_words"] else "flat"
    sources = {name: Source(split, schemes[name]) for name, split in stored.items()}
    if "train" in sources and "validation" not in sources and options["validation_file"] is None:
        with _errors_as(findings, "too_few_sentences"):
            held_out = choose_held_out(stored["train"], options["validation_fraction"], options["seed"])
            sources["train"] = sources["train"]._replace(held_out=held_out)
    tags = Tags(stored, schemes, options["label_names"], data.label_map)
    findings += _misspelt_tags(tags)
    for line in tags.how_counted(outside):
        advice = "make sure that this is meant: the scores count entities"
        findings.append(Finding("how_counted", "warning", 1, line, None, advice))
    label_map: dict[str, str] = {}
    with _errors_as(findings, "label_map"):
        tags.check_label_map()
        label_map = tags.label_map
    known = outside if tags.is_bare else OUTSIDE
    with _errors_as(findings, "outside_label"):
        known = tags.outside_label(next(iter(schemes.values())), outside)
    return replace(read_corpus(sources, known, label_map), annotated_types=options["annotated_types"]), findings


@contextmanager
def _errors_as(findings: list[Finding], code: str) -> Iterator[None]:
    """An error at which ``fit`` would stop becomes a finding of this code."""
    try:
        yield
    except DataError as error:
        example = Example(str(error.path), error.line, error.problem)
        findings.append(Finding(code, "error", 1, error.problem, example, error.advice))


def _misspelt_tags(tags: Tags) -> Iterator[Finding]:
    """Every tag that is unknown or looks like a typing error; ``fit`` stops at the first that is certainly one."""
    for tag in tags.undeclared():
        uses, path, line, word = tags.seen[tag]
        problem = f"the tag {tag!r} ({plural(uses, 'word')}) is not among the labels {', '.join(tags.declared or ())}"
        advice = "correct the tag, or add it to --data.label_names"
        yield Finding("unknown_tag", "error", uses, problem, Example(path, line, f"{word} {tag}"), advice)
    for found in suspicious_tags(tags.seen, flat=tags.is_bare) if tags.declared is None else ():
        example = Example(found.path, found.line, f"{tags.seen[found.tag].word} {found.tag}")
        if found.certain:
            advice = f"{found.advice}, or name all labels in --data.label_names"
            yield Finding("misspelt_tag", "error", found.count, found.problem, example, advice)
        else:
            yield Finding("rare_tag", "warning", found.count, found.problem, example, found.advice)


def read_corpus(
    sources: Mapping[str, Source], outside_label: str | None, label_map: Mapping[str, str] | None = None
) -> Corpus:
    """Read all sentences; types are renamed or dropped, as training will."""
    sources = {name: sources[name] for name in SPLITS if name in sources}
    forms: dict[str, str] = {}
    sentences = []
    for name, source in sources.items():
        held_out = set() if source.held_out is None else set(source.held_out.tolist())
        files = source.stored.meta["sources"]
        known: dict[tuple[str, ...], tuple[tuple[str, ...], list[Span], list[int]]] = {}
        for number, (tokens, found, place) in enumerate(source.stored.annotated("file")):
            tags = tuple(found or ())
            if tags not in known:
                known[tags] = tags, *annotate(tags, source.scheme, outside_label, label_map or {})
            words = tuple([forms.setdefault(word, word) for word in tokens])
            split = "validation" if number in held_out else name
            file = files[place[0]]  # type: ignore[index]
            sentences.append(Sentence(split, file, words, *known[tags], source, number))
    present = {sentence.split for sentence in sentences}
    counts = Counter(chain.from_iterable(sentence.tokens for sentence in sentences))
    return Corpus(sources, [name for name in SPLITS if name in present], sentences, counts)


def annotate(
    tags: tuple[str, ...], scheme: str, outside_label: str | None, label_map: Mapping[str, str]
) -> tuple[list[Span], list[int]]:
    """The entities, renamed or dropped by the label map, and the words that are illegally tagged.

    Under a prefixed scheme a tag without a prefix, which is an error of its own, counts as outside.

    >>> annotate(("B-boss", "I-boss", "O", "I-misc", "PER"), "iob2", "O", {"boss": "PER", "misc": "O"})
    ([Span(start=0, end=2, entity_type='PER')], [3])
    """
    readable = tags if scheme in BARE else [tag if has_prefix(tag) else OUTSIDE for tag in tags]
    illegal = illegal_words(readable, scheme)
    spans = tags_to_spans(readable, scheme, outside_label)
    if label_map:
        named = [Span(start, end, label_map.get(name, name)) for start, end, name in spans]
        spans = [span for span in named if span.entity_type not in (OUTSIDE, outside_label)]
    return spans, illegal
