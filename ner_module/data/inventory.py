"""Which labels a model gets, which scheme the files hold, and whether the tags can be trusted.

The inventory is closed under the scheme and taken over all splits: a label seen only in validation data is a label too
(never learnt, which is said), and ``I-PER`` exists wherever ``B-PER`` does.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.data.encoded import EncodedSplit
from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import suspicious_tags
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, complete_label_set, continuation_tag, has_prefix, map_label_names, tags_to_spans

log = logging.getLogger(__name__)


def choose_source_scheme(stored: StoredSplit, asked: str | None) -> str:
    """The scheme a split's files hold: the one that was asked for, or the detected one.

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


def check_label_map(label_map: Mapping[str, str], splits: Sequence[StoredSplit], source_scheme: str) -> None:
    """Refuse a map that renames what does not exist, or to what cannot be a type.

    Raises:
        DataError: naming the types that there are.
    """
    flat = source_scheme == "flat"
    tags = _total_counts(splits)
    types = sorted(tags if flat else {_type_of(tag) for tag in tags if tag != OUTSIDE})
    for source, target in label_map.items():
        if source not in types:
            what = "word has the label" if flat else "entity has the type"
            advice = f"the {'labels' if flat else 'types'} are {', '.join(types) or 'none'}"
            raise DataError("--data.label_map", None, f"no {what} {source!r}", advice)
        if not target.strip() or not target.isprintable():
            problem = f"{source!r} would become {target!r}"
            raise DataError("--data.label_map", None, problem, "give a name, or O to drop it")
        if not flat and "-" in target and has_prefix(target):
            bare = target.partition("-")[2]
            problem = f"{source!r} would become {target!r}, which is a tag and not a type"
            raise DataError("--data.label_map", None, problem, f"write {bare!r}; prefixes are kept")


def choose_outside_label(
    splits: Sequence[StoredSplit], scheme: str, asked: str | None, label_map: Mapping[str, str] | None = None
) -> str | None:
    """The label of words outside any entity; ``None`` for flat labels that have none.

    Raises:
        DataError: the label that was asked for occurs nowhere.
    """
    counts = _total_counts(splits)
    if label_map and scheme == "flat":
        counts.update(label_map[tag] for tag in list(counts) if tag in label_map)
    if asked is not None and asked not in counts:
        raise DataError("--data.outside_label", None, f"no word has the tag {asked!r}", f"tags are {', '.join(counts)}")
    if scheme != "flat":
        return OUTSIDE
    return asked if asked is not None else OUTSIDE if OUTSIDE in counts else None


def check_tags(splits: Sequence[StoredSplit], declared: Sequence[str] | None, scheme: str) -> None:
    """Refuse tags that are unknown or most likely misspelt; mention those that may be.

    Args:
        splits: all tagged data.
        declared: the labels the user or the dataset names; these are trusted, and others are errors.
        scheme: of the data.

    Raises:
        DataError: with the file and line of the first such tag.
    """
    counts, first_seen = _total_counts(splits), _first_seen(splits)
    if declared is not None:
        known = set(complete_label_set(list(declared), scheme, None))
        for tag in counts:
            if tag not in known and tag != OUTSIDE:
                where = first_seen.get(tag, (None, None))
                problem = f"the tag {tag!r} is not among the labels {', '.join(declared)}"
                raise DataError(
                    where[0] or "data", where[1], problem, "correct the tag, or add it to --data.label_names"
                )
        return
    for suspicion in suspicious_tags(counts, first_seen, _first_words(splits), flat=scheme == "flat"):
        error = suspicion.error()
        if suspicion.certain:
            error = DataError(
                error.path, error.line, error.problem, f"{error.advice}, or name all labels in --data.label_names"
            )
            raise error
        log.warning("%s", error)


def new_inventory(
    splits: Mapping[str, StoredSplit],
    tags: Sequence[str],
    declared: Sequence[str] | None,
    scheme: str,
    outside_label: str | None,
    label_map: Mapping[str, str] | None = None,
) -> list[str]:
    """The labels of a new model, by id.

    Args:
        splits: the tagged splits by name.
        tags: every tag that occurs, in the trained scheme.
        declared: a dataset's own label names; their order is kept when they are in the trained scheme.
        scheme: the trained one.
        outside_label: the label of words outside any entity, if there is one.
        label_map: entity type -> its new name.
    """
    if declared is not None and label_map:
        bare = not any(name != OUTSIDE and has_prefix(name) for name in declared)
        declared = map_label_names(declared, label_map, "flat" if bare else "iob2", outside_label)
    names = complete_label_set(set(tags), scheme, outside_label)
    if declared is not None and _in_scheme(declared, scheme, outside_label):
        ordered = complete_label_set(list(declared), scheme, outside_label)
        if set(tags) <= set(ordered):
            return ordered
    _mention_untaught(splits, label_map or {})
    return names


def _in_scheme(declared: Sequence[str], scheme: str, outside_label: str | None) -> bool:
    """Whether the scheme writes each of these labels."""
    if scheme != "flat" and not all(name == OUTSIDE or has_prefix(name) for name in declared):
        return False
    return set(declared) <= set(complete_label_set(set(declared), scheme, outside_label))


def _mention_untaught(splits: Mapping[str, StoredSplit], label_map: Mapping[str, str]) -> None:
    """Warn of each entity type (or flat label) that the training data lacks."""
    if "train" not in splits:
        return
    mentioned = {OUTSIDE, *(_type_of(tag, label_map) for tag in splits["train"].meta["tag_counts"])}
    for split in splits.values():
        for tag, (path, line) in split.meta["first_seen"].items():
            if _type_of(tag, label_map) not in mentioned:
                mentioned.add(_type_of(tag, label_map))
                message = "%s:%s: the label %r does not occur in the training data: it cannot be learnt"
                log.warning(message, path, line, tag)


def _type_of(tag: str, label_map: Mapping[str, str] | None = None) -> str:
    name = tag.partition("-")[2] or tag if has_prefix(tag) else tag
    return (label_map or {}).get(name, name)


def check_known(
    names: Sequence[str], tags: Sequence[str], split: StoredSplit, label_map: Mapping[str, str] | None = None
) -> None:
    """Refuse tags that a checkpoint's model has no label for.

    Raises:
        DataError: with the file and line of the first such tag.
    """
    known = set(names)
    for tag in tags:
        if tag not in known:
            places = split.meta["first_seen"]
            path, line = places.get(tag) or next(
                (
                    place
                    for seen, place in places.items()
                    if seen.endswith(tag[1:])
                    or continuation_tag(seen) == tag
                    or _type_of(seen, label_map) == _type_of(tag)
                ),
                (split.meta["sources"][0], None),
            )
            problem = f"the label {tag!r} is unknown to the checkpoint's model, which has {', '.join(names)}"
            raise DataError(path, line, problem, "correct the tag, or train a model that knows it")


def count_entities(
    stored: StoredSplit,
    encoded: EncodedSplit,
    sentences: npt.NDArray[np.int64] | None,
    scheme: str,
    outside_label: str | None,
) -> dict[str, dict[str, int]]:
    """The entities of some sentences (``None``: all): type -> surface form (words joined by spaces) -> count."""
    entities: dict[str, dict[str, int]] = {}
    for sentence in range(len(stored)) if sentences is None else sentences.tolist():
        tags = [encoded.tag_names[label] for label in encoded.word_labels[encoded.words_of(sentence)]]
        spans = tags_to_spans(tags, scheme, outside_label)
        tokens = stored.tokens(sentence) if spans else []
        for start, end, entity_type in spans:
            form = " ".join(tokens[start:end])
            of_type = entities.setdefault(entity_type, {})
            of_type[form] = of_type.get(form, 0) + 1
    return entities


def _total_counts(splits: Sequence[StoredSplit]) -> Counter[str]:
    total: Counter[str] = Counter()
    for split in splits:
        total.update(split.meta["tag_counts"])
    return total


def _first_seen(splits: Sequence[StoredSplit]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in splits:
        found = split.meta["first_seen"] | found
    return found


def _first_words(splits: Sequence[StoredSplit]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split in splits:
        found = split.meta["first_words"] | found
    return found
