"""Which tags of a corpus look like typing errors.

A tag can be wrong only in comparison with the others: ``PRE`` beside ten thousand ``PER``, ``BPER`` where tags are
``B-PER``. :func:`suspicious_tags` judges the counts of `tag_census.py`, of one split or several.

Not here: cells that can be no tag at all (`formats/tag_cells.py`), and legal tags in an illegal order (`tagging.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ner_module.data.tag_census import SeenTag
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, UNTYPED, has_prefix, split_tag

# A type this many times rarer than one that differs by a letter is a misspelling; the closest honest pair known (DNA
# and RNA of JNLPBA) is 10 times apart.
_RATIO = 20
# A type seen this often or less is worth a warning.
_RARE = 2

_SEPARATORS = re.compile(r"[\W_]+")

_Rule = tuple[str, str, str, bool]
"""A tag, why it is suspicious, what to do, and whether it is certain."""


@dataclass(frozen=True)
class Suspicion:
    """A tag that is likely misspelt; the first word with it is at ``path`` and ``line``."""

    tag: str
    count: int
    path: str
    line: int | None
    problem: str
    advice: str
    certain: bool
    """Whether it should stop a run; the others deserve a warning."""

    def error(self) -> DataError:
        """The suspicion as an error to raise, or as a message to print."""
        return DataError(self.path, self.line, self.problem, self.advice)


def suspicious_tags(seen: Mapping[str, SeenTag], flat: bool = False) -> list[Suspicion]:
    """The tags that are likely misspelt, the certain ones first.

    Args:
        seen: the tags of a corpus.
        flat: the labels are known to have no prefixes, even where they look as if (``S``, ``B-1``).

    >>> counts = {"O": 900, "B-PER": 90, "B-PRE": 1}
    >>> [found] = suspicious_tags({tag: SeenTag(count, "train.conll", 7) for tag, count in counts.items()})
    >>> str(found.error())
    "train.conll:7: the tag 'B-PRE' occurs once, 'B-PER' 90 times; correct it if that is what was meant"
    """
    counts = {tag: found.uses for tag, found in seen.items()}
    prefixed = {tag: count for tag, count in counts.items() if tag != OUTSIDE and has_prefix(tag) and not flat}
    labels = {tag: count for tag, count in counts.items() if tag not in prefixed}
    words = sum(prefixed.values())
    by_prefix = words and words >= sum(labels.values()) - counts.get(OUTSIDE, 0)
    found: dict[str, Suspicion] = {}
    for tag, problem, advice, certain in (_prefixed_tags if by_prefix else _flat_labels)(prefixed, labels):
        if tag not in found or certain >= found[tag].certain:  # the later rule is more specific
            count, path, line, _ = seen[tag]
            found[tag] = Suspicion(tag, count, path, line, problem, advice, certain)
    return sorted(found.values(), key=lambda suspicion: (not suspicion.certain, suspicion.count))


def _flat_labels(prefixed: dict[str, int], labels: dict[str, int]) -> Iterator[_Rule]:
    for tag, count in prefixed.items():
        advice = "correct it, or name the scheme flat if no label is meant to have one"
        yield tag, f"the tag {tag!r} ({_times(count)}) has a prefix, unlike the others", advice, False
    for rare, frequent, _ in _close_pairs(labels):
        # Short labels (NN, NNS, NNP) differ by a letter by design; only spelling variants are certain.
        certain = _folded(rare) == _folded(frequent)
        yield rare, *_misspelt(rare, labels[rare], frequent, labels[frequent]), certain


def _prefixed_tags(prefixed: dict[str, int], labels: dict[str, int]) -> Iterator[_Rule]:
    names = {tag: f"the tag {tag!r} ({_times(count)})" for tag, count in (prefixed | labels).items()}
    known = [OUTSIDE, *sorted(prefixed, key=lambda tag: -prefixed[tag])]
    for tag in (label for label in labels if label != OUTSIDE):
        close = [name for name in known if _folded(name) == _folded(tag)]
        close += [name for name in known if one_edit_apart(tag, name)]
        advice = f"did you mean {close[0]!r}?" if close else "correct it"
        yield tag, f"{names[tag]} has no prefix such as B- or I-, unlike the others", advice, True

    uses, words, mentions = Counter[str](), Counter[str](), Counter[str]()  # by prefix, by type, by type
    for tag, count in prefixed.items():
        prefix, entity_type = split_tag(tag)
        uses[prefix] += count
        words[entity_type] += count
        mentions[entity_type] += count if prefix in "BSU" else 0
    odd = _odd_prefixes(uses)
    usual = ", ".join(f"{prefix}-" for prefix in "BIESLU" if uses[prefix] and prefix not in odd)
    # Mentions are what counts where tags show where one begins; in IOB1 and IOE only words can be counted.
    by_mention = mentions.total() * _RATIO >= words.total()
    types = {name: (by_mention and mentions[name]) or words[name] for name in words}
    top = max(types, key=types.__getitem__)
    meant = {rare: (frequent, certain) for rare, frequent, certain in _close_pairs(types)}
    for tag, count in prefixed.items():
        prefix, entity_type = split_tag(tag)
        if entity_type == UNTYPED and words[UNTYPED] * 2 < uses.total():
            advice = f"write it out, as in {tag}-PER, or write O"
            yield tag, f"{names[tag]} names no entity type, unlike the others", advice, True
        if prefix in odd:
            yield tag, f"{names[tag]} has a prefix that the others do not use", f"use {usual}", True
        if types[entity_type] <= _RARE and types[top] >= _RATIO * types[entity_type]:
            occurs = f"occurs {_times(types[entity_type])} in all, {top!r} {_times(types[top])}"
            advice = "correct it if it is misspelt; a type this rare cannot be learnt"
            yield tag, f"the type of {tag!r} {occurs}", advice, False
        if entity_type in meant:
            frequent, certain = meant[entity_type]
            right = f"{prefix}-{frequent}"
            yield tag, *_misspelt(tag, count, right, prefixed.get(right, types[frequent])), certain


def _odd_prefixes(uses: Counter[str]) -> set[str]:
    """Prefixes of a scheme that the corpus does not follow: in BIOES, as many mentions end (E-) as begin (B-)."""
    odd: set[str] = set()
    for end, single in ("ES", "LU"):
        few = uses[end] <= _RARE and uses[end] != uses["B"] and uses["B"] + uses["I"] >= _RATIO * uses[end]
        if few or uses[end] * _RATIO <= uses["B"]:
            odd.add(end)
            if uses[single] * _RATIO <= uses["B"] + uses["I"]:
                odd.add(single)
    if uses["E"] >= _RATIO * uses["B"] and not uses["S"]:
        odd.add("B")
    return odd


def _misspelt(tag: str, count: int, meant: str, usual: int) -> tuple[str, str]:
    problem = f"the tag {tag!r} occurs {_times(count)}, {meant!r} {_times(usual)}"
    return problem, "correct it if that is what was meant"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _close_pairs(counts: Mapping[str, int]) -> Iterator[tuple[str, str, bool]]:
    """``(rare, frequent, certain)`` names that differ in spelling only, or by a letter and much in frequency."""
    ranked = sorted(counts, key=lambda name: -counts[name])
    folded = {name: _folded(name) for name in ranked}
    for index, rare in enumerate(ranked):
        for frequent in ranked[:index]:
            same, cut = folded[rare] == folded[frequent], frequent.startswith(rare)
            # Names of one or two letters differ by a letter by design.
            often = counts[frequent] >= _RATIO * counts[rare] and len(frequent) > 2
            if same or ((often or counts[rare] <= _RARE) and (cut or one_edit_apart(rare, frequent))):
                subtype = cut and not frequent[len(rare)].isalnum()
                yield rare, frequent, same or (often and len(rare) > 1 and not subtype)
                break


def _folded(name: str) -> str:
    """A name without what people vary: case, compatibility forms, separators."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _SEPARATORS.sub("", folded) or folded


def one_edit_apart(first: str, second: str) -> bool:
    """Whether one letter more, less, other or exchanged with its neighbour makes one name of the other.

    Two different digits count as different names, not as a slip: ``A1`` and ``A2``.

    >>> one_edit_apart("PRE", "PER"), one_edit_apart("PERS", "PER"), one_edit_apart("A1", "A2")
    (True, True, False)
    """
    while first and second and first[0] == second[0]:
        first, second = first[1:], second[1:]
    while first and second and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    if len(first) == len(second) == 1:
        return not (first.isdigit() and second.isdigit())
    return len(first) + len(second) == 1 or (len(first) == 2 and first == second[::-1])
