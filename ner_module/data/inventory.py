"""Which labels a model gets, which scheme the files are in, and whether the tags can be trusted.

The inventory is closed under the scheme and taken over all splits: a label seen only in validation data is a label too
(it cannot be learnt, which is reported), and ``I-PER`` exists wherever ``B-PER`` does.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ner_module.data.encoded import EncodedSplit
from ner_module.data.store import StoredSplit
from ner_module.data.tag_spelling import suspicious_tags
from ner_module.errors import DataError
from ner_module.tagging import (
    OUTSIDE,
    LabelSet,
    complete_label_set,
    has_prefix,
    illegal_words,
    map_label_names,
)

log = logging.getLogger(__name__)


def choose_source_scheme(stored: StoredSplit, asked: str | None) -> str:
    """The scheme a split's files are in: the one that was asked for, or the detected one.

    Raises:
        DataError: tags with and without prefixes are mixed, or an asked-for prefixed scheme meets bare labels.
    """
    report = stored.meta["schemes"]
    if asked == "flat":
        return asked
    if report["flat_words"] and (asked is not None or report["prefixed_words"]):
        tag, path, line = report["rarest_flat"]
        against = (
            f"{report['prefixed_words']:,} other words have a tag with one"
            if report["prefixed_words"]
            else f"which --data.source_scheme {asked} needs"
        )
        advice = "correct it, or set --data.source_scheme flat if labels are meant to have none"
        raise DataError(path, line, f"the tag {tag!r} has no prefix such as B- or I-; {against}", advice)
    return asked or str(report["detected"])


class Tags:
    """The tags of the annotated splits of a command, taken together.

    Args:
        splits: by name.
        schemes: of the files of each, see :func:`choose_source_scheme`.
        label_names: the labels that the user names; else those that a dataset declares. They are trusted.
        label_map: entity type (flat: label) -> its new name.
    """

    def __init__(
        self,
        splits: Mapping[str, StoredSplit],
        schemes: Mapping[str, str],
        label_names: Sequence[str] | None = None,
        label_map: Mapping[str, str] | None = None,
    ) -> None:
        self.splits, self.schemes, self.label_map = splits, schemes, dict(label_map or {})
        self.source_scheme = schemes.get("train") or next(iter(schemes.values()), "iob2")
        metas = [split.meta for split in splits.values()]
        declared = [*filter(None, [label_names, *(meta["declared_names"] for meta in metas)])]
        self.declared: list[str] | None = list(declared[0]) if declared else None
        self.counts: Counter[str] = Counter()
        self.first_seen: dict[str, Any] = {}
        self.first_words: dict[str, Any] = {}
        for meta in metas:
            self.counts.update(meta["tag_counts"])
            self.first_seen = meta["first_seen"] | self.first_seen
            self.first_words = meta["first_words"] | self.first_words

    @classmethod
    def of(cls, stored: Mapping[str, StoredSplit], options: Any, label_map: Mapping[str, str]) -> Tags:
        """The tags of stored splits, read as the arguments of ``NERDataModule`` say.

        Raises:
            DataError: see :func:`choose_source_scheme` and :func:`check_strict`.
        """
        splits = {name: split for name, split in stored.items() if name != "predict"}
        schemes = {name: choose_source_scheme(split, options.source_scheme) for name, split in splits.items()}
        for name, split in splits.items() if options.strict else ():
            check_strict(split, schemes[name])
        return cls(splits, schemes, options.label_names, label_map)

    def check(self, scheme: str | None, outside_label: str | None) -> LabelSet:
        """Refuse what a new model cannot be trained on; a label set without names yet.

        Args:
            scheme: the one to train; by default ``iob2``, or ``flat`` for flat data.
            outside_label: the label asked for.
        """
        self.check_label_map()
        scheme = scheme or ("flat" if self.source_scheme == "flat" else "iob2")
        labels = LabelSet((), scheme, self.outside_label(scheme, outside_label))
        self.check_spelling()
        return labels

    def check_label_map(self) -> None:
        """Refuse a map that renames what does not exist, or to what cannot be a type.

        Raises:
            DataError: naming the types that there are.
        """
        flat = self.source_scheme == "flat"
        types = sorted(self.counts if flat else {_type_of(tag) for tag in self.counts if tag != OUTSIDE})
        for source, target in self.label_map.items():
            if source not in types:
                what = "word has the label" if flat else "entity has the type"
                advice = f"the {'labels' if flat else 'types'} are {', '.join(types) or 'none'}"
                raise DataError("--data.label_map", None, f"no {what} {source!r}", advice)
            if not target.strip() or not target.isprintable():
                problem, advice = f"{source!r} would become {target!r}", "give a name, or O to drop it"
                raise DataError("--data.label_map", None, problem, advice)
            if not flat and "-" in target and has_prefix(target):
                problem = f"{source!r} would become {target!r}, which is a tag and not a type"
                advice = f"write {target.partition('-')[2]!r}; prefixes are kept"
                raise DataError("--data.label_map", None, problem, advice)

    def outside_label(self, scheme: str, asked: str | None) -> str | None:
        """The label of words outside any entity; ``None`` for flat labels that have none.

        Raises:
            DataError: the label that was asked for occurs nowhere.
        """
        counts = self.counts.copy()
        if scheme == "flat":
            counts.update(self.label_map[tag] for tag in self.counts if tag in self.label_map)
        if asked is not None and asked not in counts:
            problem, advice = f"no word has the tag {asked!r}", f"tags are {', '.join(counts)}"
            raise DataError("--data.outside_label", None, problem, advice)
        if scheme != "flat":
            return OUTSIDE
        return asked if asked is not None else OUTSIDE if OUTSIDE in counts else None

    def check_spelling(self) -> None:
        """Refuse tags that are undeclared or most likely misspelt; log those that may be.

        Raises:
            DataError: with the file and line of the first such tag.
        """
        if self.declared is not None:
            known = {OUTSIDE, *complete_label_set(self.declared, self.source_scheme, None)}
            if unknown := [tag for tag in self.counts if tag not in known]:
                path, line = self.first_seen[unknown[0]]
                problem = f"the tag {unknown[0]!r} is not among the labels {', '.join(self.declared)}"
                raise DataError(path, line, problem, "correct the tag, or add it to --data.label_names")
            return
        flat = self.source_scheme == "flat"
        for found in suspicious_tags(self.counts, self.first_seen, self.first_words, flat):
            if found.certain:
                advice = f"{found.advice}, or name all labels in --data.label_names"
                raise DataError(found.path, found.line, found.problem, advice)
            log.warning("%s", found.error())

    def label_set(self, tags: Iterable[str], scheme: str, outside: str | None) -> LabelSet:
        """The labels of a new model.

        Args:
            tags: every tag that occurs, in the trained scheme.
            scheme: the trained one. Declared labels keep their order when they are in it.
            outside: the label of words outside any entity, if there is one.
        """
        tags, declared = set(tags), self.declared
        if declared is not None and self.label_map:
            bare = not any(name != OUTSIDE and has_prefix(name) for name in declared)
            declared = map_label_names(declared, self.label_map, "flat" if bare else "iob2", outside)
        if declared is not None and (scheme == "flat" or all(name == OUTSIDE or has_prefix(name) for name in declared)):
            ordered = complete_label_set(declared, scheme, outside)
            if tags <= set(ordered) and set(declared) <= set(complete_label_set(set(declared), scheme, outside)):
                return LabelSet(tuple(ordered), scheme, outside)
        self._report_unlearnable()
        return LabelSet(tuple(complete_label_set(tags, scheme, outside)), scheme, outside)

    def _report_unlearnable(self) -> None:
        """Warn of each entity type (or flat label) that the training data lacks."""
        if "train" not in self.splits:
            return
        known = {OUTSIDE, *(_type_of(tag, self.label_map) for tag in self.splits["train"].meta["tag_counts"])}
        for split in self.splits.values():
            for tag, (path, line) in split.meta["first_seen"].items():
                if _type_of(tag, self.label_map) not in known:
                    known.add(_type_of(tag, self.label_map))
                    message = "%s:%s: the label %r does not occur in the training data: it cannot be learnt"
                    log.warning(message, path, line, tag)


def _type_of(tag: str, label_map: Mapping[str, str] | None = None) -> str:
    name = tag.partition("-")[2] or tag if has_prefix(tag) else tag
    return (label_map or {}).get(name, name)


def check_known(labels: LabelSet, stored: StoredSplit, encoded: EncodedSplit) -> None:
    """Refuse tags that a checkpoint's model has no label for.

    Raises:
        DataError: with the file and line of the first word with such a tag.
    """
    for tag in encoded.tag_names:
        if tag not in labels.names:
            path, line = stored.origin(*encoded.first_word_tagged(tag))
            problem = f"the label {tag!r} is unknown to the checkpoint's model, which has {', '.join(labels.names)}"
            raise DataError(path, line, problem, "correct the tag, or train a model that knows it")


def check_strict(stored: StoredSplit, source_scheme: str) -> None:
    """``--data.strict``: refuse a split in which something would have to be repaired.

    That is a tag that its scheme would not have written after the tags before it (`tagging.py`), or a character span
    that had to be widened, or dropped because it overlaps another, holds no word or is in pieces
    (`formats/char_spans.py`).

    Raises:
        DataError: at the first such place.
    """
    meta = stored.meta
    if meta["first_changed_span"] is not None:
        problem = f"a character span does not fit whole words, or another span ({meta['changed_spans']} in all)"
        advice = "correct the span, or leave out --data.strict to have them repaired"
        path, line = meta["first_changed_span"]
        raise DataError(path, line, problem, advice)
    total = meta["schemes"]["illegal_words"].get(source_scheme)  # counted when the data was read
    sentences = chain.from_iterable(chunk.tags or () for chunk in stored.chunks())
    for index, tags in enumerate(sentences if total else ()):
        if illegal := illegal_words(tags, source_scheme):
            word = illegal[0]
            before = f"after {tags[word - 1]!r}" if word else "at the start of a sentence"
            problem = f"the tag {tags[word]!r} {before} is illegal in {source_scheme}"
            problem += f" (word {word + 1} of the sentence; {total:,} such tags in all)"
            advice = "correct it, name another --data.source_scheme, or leave out --data.strict to have it repaired"
            path, line = stored.origin(index, word)
            raise DataError(path, line, problem, advice)
