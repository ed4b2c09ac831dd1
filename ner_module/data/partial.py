"""Files that do not annotate all entity types (``--data.annotated_types``): several inventories train one model.

A word tagged as outside in a file that does not annotate PER may be PER. The labels of all types that a file does not
annotate are the *open labels* of its outside words. The loss sums over them (Greenberg et al. 2018,
https://aclanthology.org/D18-1306/), and evaluation does not count predictions of such types.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePath

import numpy as np

from ner_module.data.encoded import EncodedSplit, Indices, OpenLabels
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.tagging import LabelSet, split_tag

log = logging.getLogger(__name__)

AnnotatedTypes = list[str] | dict[str, list[str]]
"""The entity types that all files annotate; or types by path or pattern of files."""

_OPTION = "--data.annotated_types"

# The absence of a type from a file is reported if at least this many words are expected: entities come in clusters.
_EXPECTED = 10


def types_of(file: str, given: AnnotatedTypes | None) -> list[str] | None:
    """The types that a file annotates, by the first pattern that matches its path or the end of it; ``None``: all."""
    if not isinstance(given, dict):
        return given
    return next((types for pattern, types in given.items() if _matches(file, pattern)), None)


def _matches(file: str, pattern: str) -> bool:
    return bool(pattern) and (PurePath(file) == PurePath(pattern) or PurePath(file).match(pattern))


def find_open_labels(
    given: AnnotatedTypes | None,
    stored: Mapping[str, StoredSplit],
    encoded: Mapping[str, EncodedSplit],
    labels: LabelSet,
    is_fit: bool,
) -> dict[str, OpenLabels]:
    """The open labels of annotated splits in which some file does not annotate all types, by name.

    For ``fit``, also warns if training files seem to lack types and the option is not given.

    Raises:
        DataError: unknown type or (for ``fit``) file, or an entity of a type that its file does not annotate.
    """
    if given is None:
        if is_fit and len(stored["train"].meta["sources"]) > 1:
            _warn_of_absent_types(stored["train"], encoded["train"], labels)
        return {}
    by_file, files = isinstance(given, dict), [file for split in stored.values() for file in split.meta["sources"]]
    for pattern in given if by_file and is_fit else ():
        if not any(_matches(file, pattern) for file in files):
            raise DataError(_OPTION, None, f"no file is {pattern!r}", f"the files are {', '.join(files)}")
    for name in chain(*given.values()) if isinstance(given, dict) else given:
        if name not in labels.entity_types:
            advice = f"the types are {', '.join(labels.entity_types)}"
            raise DataError(_OPTION, None, f"no entity has the type {name!r}", advice)
    if labels.outside not in labels.names:
        raise DataError(_OPTION, None, "the labels have no outside label", "omit the option")
    found = {name: _open_labels(given, split, encoded[name], labels) for name, split in stored.items()}
    return {name: open_labels for name, open_labels in found.items() if open_labels.table.any()}


def _open_labels(given: AnnotatedTypes, stored: StoredSplit, encoded: EncodedSplit, labels: LabelSet) -> OpenLabels:
    types = np.array(["", *labels.entity_types])
    of_tags, rows = _types_of_tags(encoded.tag_names, labels), []
    for file, words in zip(stored.meta["sources"], _words_of_files(stored, encoded), strict=True):
        annotated = types_of(file, given)
        rows.append(np.isin(types, ["", *(labels.entity_types if annotated is None else annotated)], invert=True))
        if rows[-1].any():
            log.info("%s: outside words may be %s", file, ", ".join(types[rows[-1]]))
            wrong = np.isin(encoded.word_labels[words], np.flatnonzero(rows[-1][of_tags]))
            if wrong.any():
                word = words.start + int(np.argmax(wrong))
                problem = f"an entity of {types[of_tags[encoded.word_labels[word]]]}, which {_OPTION} does not name"
                advice = "name the type for this file, too, or take its tags out of it"
                raise DataError(*stored.origin(*encoded.place_of(word)), problem, advice)
    return OpenLabels(stored.sources(), np.array(rows)[:, _types_of_tags(labels.names, labels)])


def _types_of_tags(tags: Sequence[str], labels: LabelSet) -> Indices:
    """The index of each tag's type from 1; 0 for the outside label."""
    types = [tag if tag == labels.outside or labels.scheme == "flat" else split_tag(tag)[1] for tag in tags]
    return np.array([[labels.outside, *labels.entity_types].index(name) for name in types], dtype=np.int64)


def _words_of_files(stored: StoredSplit, encoded: EncodedSplit) -> list[slice]:
    """The slice of ``word_labels`` of each file, whose sentences are consecutive."""
    files = np.searchsorted(stored.sources(), np.arange(len(stored.meta["sources"]) + 1))
    starts = encoded.sequence_words[encoded.sentence_sequences[files]].tolist()
    return list(map(slice, starts, starts[1:]))


def _warn_of_absent_types(stored: StoredSplit, encoded: EncodedSplit, labels: LabelSet) -> None:
    """Warn of files that probably lack types, with the option that says so."""
    of_files, types = [encoded.word_labels[words] for words in _words_of_files(stored, encoded)], labels.entity_types
    words = np.zeros((len(of_files), 1 + len(types)), dtype=np.int64)
    for tag, of_type in enumerate(_types_of_tags(encoded.tag_names, labels).tolist()):
        words[:, of_type] += [np.count_nonzero(of_file == tag) for of_file in of_files]
    sizes = words.sum(1, keepdims=True)
    expected = (words.sum(0) - words) * sizes / (sizes.sum() - sizes).clip(1)
    absent = ((words == 0) & (expected >= _EXPECTED))[:, 1:]
    rows = np.flatnonzero(absent.any(1)).tolist()[:5]
    lacking = {stored.meta["sources"][row]: np.array(types)[absent[row]].tolist() for row in rows}
    option = {file: [name for name in types if name not in names] for file, names in lacking.items()}
    if lacking:
        said = "; ".join(f"{file} has no {', '.join(names)}" for file, names in lacking.items())
        said += ", which other training files have" + "; there are more such files" * (int(absent.any(1).sum()) > 5)
        written = json.dumps(option, ensure_ascii=False)
        log.warning(
            "%s; if they are not annotated there, give %s '%s', or they count as outside", said, _OPTION, written
        )
