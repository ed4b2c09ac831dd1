"""The sentences of all splits in memory, read as training will read them, each with its place in a file.

An error at which ``fit`` would stop becomes a finding, and the rest is still audited. Equal words, and equal sequences
of tags with their spans, are one object; a sentence of 15 words takes some 400 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import expand_files
from ner_module.data.inventory import Tags, choose_source_schemes
from ner_module.data.preparation import NEEDED, choose_held_out, store_splits
from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import Suspicion, suspicious_tags
from ner_module.errors import DataError
from ner_module.extras.audit.wording import excerpt, plural
from ner_module.extras.findings import Example, Finding
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


def read_data(data: NERDataModule) -> tuple[Corpus, list[Finding], DataError | None]:
    """Read all splits that a configuration names, or take those that the data module has read.

    Returns:
        The sentences; what stood in the way, and what is wrong with the inventory of tags; why ``fit`` would stop where
        some file cannot be read.

    Raises:
        DataError: no file can be read.
    """
    options: Any = data.hparams
    findings: list[Finding] = []
    failure: DataError | None = None

    def attempt(code: str, otherwise: Any, check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except DataError as error:
            example = Example(str(error.path), error.line, error.problem)
            findings.append(Finding(code, "error", 1, error.problem, example, error.advice))
            return otherwise

    def store(split: str, files: list[str]) -> StoredSplit:
        others = {f"{name}_file": None for name in SPLITS}
        chosen = type(options)({**options, **others, "dataset_name": None, f"{split}_file": files})
        [command] = [command for command, needed in NEEDED.items() if needed == split]
        return store_splits(chosen, command, data.cache)[split]

    try:
        stored = data.stored or store_splits(options, "fit", data.cache)
    except DataError as error:
        stored = {}
        for split in SPLITS:
            asked = options[f"{split}_file"]
            files = [] if asked is None else [str(path) for path in attempt("unreadable", [], expand_files, asked)]
            if readable := [file for file in files if attempt("unreadable", None, store, split, [file])]:
                stored[split] = store(split, readable)
        if not stored:
            raise
        if options["train_file"] is not None or options["dataset_name"] is not None:
            failure = error
    asked, outside = options["source_scheme"], options["outside_label"]
    schemes = attempt("labels_without_prefix", {}, choose_source_schemes, stored, asked, outside)
    for name, split_data in stored.items() if not schemes else ():
        census = split_data.meta["schemes"]  # the tags in question are found below, one by one
        fewest = min(census["illegal_words"], key=census["illegal_words"].__getitem__)
        schemes[name] = fewest if census["prefixed_words"] else "flat"
    sources = {name: Source(split_data, schemes[name]) for name, split_data in stored.items()}
    if "train" in sources and "validation" not in sources and options["validation_file"] is None:
        train, share, seed = sources["train"], options["validation_fraction"], options["seed"]
        held_out = attempt("too_few_sentences", None, choose_held_out, train.stored, share, seed)
        sources["train"] = train._replace(held_out=held_out)
    tags = Tags(stored, schemes, options["label_names"], data.label_map)
    findings += misspelt_tags(tags)
    for line in tags.how_counted(outside):
        advice = "make sure that this is meant: the scores count entities"
        findings.append(Finding("how_counted", "warning", 1, line, None, advice))
    if attempt("label_map", "refused", tags.check_label_map) == "refused":
        tags.label_map = {}
    scheme = next(iter(schemes.values()))
    known = attempt("outside_label", outside if tags.is_bare else OUTSIDE, tags.outside_label, scheme, outside)
    return read_corpus(sources, known, tags.label_map), findings, failure


def misspelt_tags(tags: Tags) -> Iterator[Finding]:
    """Every tag that is unknown or looks like a typing error; ``fit`` stops at the first that is certainly one."""
    if tags.declared is None:
        code, otherwise = "misspelt_tag", ", or name all labels in --data.label_names"
        suspicions = suspicious_tags(tags.seen, flat=tags.is_bare)
    else:
        code, otherwise = "unknown_tag", ", or add it to --data.label_names"
        suspicions = []
        for tag in tags.undeclared():
            uses, path, line, _ = tags.seen[tag]
            problem = f"the tag {tag!r} ({plural(uses, 'word')}) is not among the labels {', '.join(tags.declared)}"
            suspicions.append(Suspicion(tag, uses, path, line, problem, "correct the tag", certain=True))
    for found in suspicions:
        example = Example(found.path, found.line, f"{tags.seen[found.tag].word} {found.tag}")
        if found.certain:
            yield Finding(code, "error", found.count, found.problem, example, found.advice + otherwise)
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
        known: dict[tuple[str, ...], tuple[tuple[str, ...], list[Span], list[int]]] = {}
        for number, (tokens, found, _) in enumerate(source.stored.annotated()):
            tags = tuple(found or ())
            if tags not in known:
                known[tags] = tags, *annotate(tags, source.scheme, outside_label, label_map or {})
            split = "validation" if number in held_out else name
            sentences.append(
                Sentence(split, tuple([forms.setdefault(word, word) for word in tokens]), *known[tags], source, number)
            )
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
