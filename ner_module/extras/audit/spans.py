"""The rules of `tagging.py` on whole columns of tags: where entities lie, and which words are tagged illegally.

One tag costs a few array operations here instead of Python's work per word; `tests/unit/test_audit_spans.py` holds
both functions against the originals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, split_tag

Bools = npt.NDArray[np.bool_]

_PREFIXES = "OBIESLU"
_OUT, _B, _I, _E, _S, _L, _U = range(len(_PREFIXES))

# The prefix of a word by where it stands: alone, first, inside, last.
_CANONICAL = {
    "iob2": (_B, _B, _I, _I),
    "ioe2": (_E, _I, _I, _E),
    "bioes": (_S, _B, _I, _E),
    "bilou": (_U, _B, _I, _L),
}


class Spans(NamedTuple):
    """Entities of consecutive sentences: words ``starts`` to ``ends`` (exclusive) and the index of their type."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    types: npt.NDArray[np.int16]


@dataclass
class TagTable:
    """What each tag of a corpus means, by its index there."""

    prefixes: npt.NDArray[np.uint8]
    written: npt.NDArray[np.int16]
    """The type as the files write it, a number for each; -1 for outside."""
    types: npt.NDArray[np.int16]
    """Index into ``type_names``; -1 for outside, and for types that the label map drops."""
    type_names: list[str]


def tag_table(
    tags: Sequence[str], flat: bool, outside_label: str | None, label_map: Mapping[str, str] | None = None
) -> TagTable:
    """Split each tag into prefix and type; under a prefixed scheme a tag without a prefix counts as outside.

    Args:
        tags: all that occur.
        flat: whether they are labels without prefixes.
        outside_label: of flat labels, if there is one.
        label_map: renames types, or drops them (``O`` or the outside label), as training will.
    """
    prefixes, written, types = [], [], []
    raw: dict[str, int] = {}
    names: dict[str, int] = {}
    for tag in tags:
        prefix, name = _split(tag, flat, outside_label)
        prefixes.append(_PREFIXES.index(prefix))
        written.append(raw.setdefault(name, len(raw)) if prefix != OUTSIDE else -1)
        mapped = (label_map or {}).get(name, name)
        dropped = prefix == OUTSIDE or (mapped != name and mapped in (OUTSIDE, outside_label))
        types.append(-1 if dropped else names.setdefault(mapped, len(names)))
    return TagTable(np.array(prefixes, np.uint8), np.array(written, np.int16), np.array(types, np.int16), list(names))


def _split(tag: str, flat: bool, outside_label: str | None) -> tuple[str, str]:
    if flat:
        return (OUTSIDE, "") if tag == outside_label else ("S", tag)
    try:
        return split_tag(tag)
    except SchemeError:
        return OUTSIDE, ""


def find_spans(tags: npt.NDArray[Any], table: TagTable, first_words: Bools, *, dropped: bool = False) -> Spans:
    """The entities of consecutive sentences.

    Args:
        tags: index of each word's tag, ``[words]``.
        table: what they mean.
        first_words: whether a word begins a sentence, ``[words]``.
        dropped: with those of types that the label map drops; their type is -1.
    """
    prefixes, written = table.prefixes[tags], table.written[tags]
    inside = prefixes != _OUT
    continues = np.zeros(len(tags), dtype=bool)
    if len(tags):
        before = prefixes[:-1]
        joins = np.isin(prefixes[1:], (_I, _E, _L)) & np.isin(before, (_B, _I)) & (written[1:] == written[:-1])
        continues[1:] = joins & ~first_words[1:]
    starts = np.flatnonzero(inside & ~continues)
    ends = np.flatnonzero(inside & ~np.append(continues[1:], False)) + 1
    types = table.types[tags[starts]]
    kept = slice(None) if dropped else types >= 0
    return Spans(starts[kept], ends[kept], types[kept])


def find_illegal(tags: npt.NDArray[Any], table: TagTable, spans: Spans, first_words: Bools, scheme: str) -> Bools:
    """Which words carry another tag than the one ``scheme`` writes for the entities that were read: ``[words]``."""
    prefixes = table.prefixes[tags]
    illegal = np.zeros(len(tags), dtype=bool)
    if scheme == "flat" or not len(spans.starts):
        return illegal
    expected = np.zeros(len(tags), dtype=np.uint8)
    starts, ends = spans.starts, spans.ends
    lengths = ends - starts
    words = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())
    if scheme in ("iob1", "ioe1"):
        expected[words] = _I
        written = table.written[tags[starts]]
        touches = (ends[:-1] == starts[1:]) & (written[:-1] == written[1:]) & ~first_words[starts[1:]]
        if scheme == "iob1":
            expected[starts[1:][touches]] = _B
        else:
            expected[ends[:-1][touches] - 1] = _E
    else:
        alone, first, middle, last = _CANONICAL[scheme]
        expected[words] = middle
        expected[starts] = first
        expected[ends - 1] = last
        expected[starts[lengths == 1]] = alone
    illegal[words] = prefixes[words] != expected[words]
    return illegal
