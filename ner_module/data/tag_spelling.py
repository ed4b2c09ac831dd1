"""Which tags of a corpus look like typing errors.

A tag can be wrong only in comparison with the others: ``PRE`` beside ten thousand ``PER``, ``BPER`` where tags are
``B-PER``, a word where columns were swapped on one line. :func:`suspicious_tags` judges the counts of `tag_census.py`,
of one split or several.

Not here: cells that can be no tag at all (`formats/tag_cells.py`), and legal tags in an illegal order (`tagging.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, UNTYPED, has_prefix, split_tag

# A type this many times rarer than one that differs by a letter is a misspelling; the closest honest pair known (DNA
# and RNA of JNLPBA) is 10 times apart.
_RATIO = 20
# Seen this often or less, a tag close to a more frequent one is worth a warning whatever the ratio.
_RARE = 2

_SEPARATORS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Suspicion:
    """A tag that is likely misspelt.

    Attributes:
        tag: as the file has it; ``count`` words carry it, the first one at ``path`` and ``line``.
        problem: why it is suspicious; ``advice``: what to do.
        certain: whether it should stop a run; the others deserve a warning.
    """

    tag: str
    count: int
    path: str
    line: int | None
    problem: str
    advice: str
    certain: bool

    def error(self) -> DataError:
        """The suspicion as an error to raise, or as a message to print."""
        return DataError(self.path, self.line, self.problem, self.advice)


def suspicious_tags(
    counts: Mapping[str, int],
    first_seen: Mapping[str, Sequence[Any]],
    first_words: Mapping[str, str | None] | None = None,
    flat: bool = False,
) -> list[Suspicion]:
    """The tags that are likely misspelt, the certain ones first.

    Args:
        counts: tag -> number of words.
        first_seen: tag -> file and line.
        first_words: tag -> its first word, if known.
        flat: the labels are known to have no prefixes, even where they look as if (``S``, ``B-1``).

    >>> [found] = suspicious_tags({"O": 900, "B-PER": 90, "B-PRE": 1}, {"B-PRE": ("train.conll", 7)})
    >>> str(found.error())
    "train.conll:7: the tag 'B-PRE' occurs once, 'B-PER' 90 times; correct it if that is what was meant"
    """
    found: dict[str, Suspicion] = {}
    for suspicion in _Rules(counts, first_seen, first_words or {}, flat).suspicions():
        known = found.get(suspicion.tag)
        if known is None or suspicion.certain >= known.certain:  # the later rule is more specific
            found[suspicion.tag] = suspicion
    return sorted(found.values(), key=lambda suspicion: (not suspicion.certain, suspicion.count))


class _Rules:
    """The rules, from the general to the specific, over the counts of a corpus."""

    def __init__(
        self,
        counts: Mapping[str, int],
        first_seen: Mapping[str, Sequence[Any]],
        words: Mapping[str, str | None],
        flat: bool,
    ) -> None:
        self.counts, self.first_seen, self.words = counts, first_seen, words
        tags = {tag: count for tag, count in counts.items() if tag != OUTSIDE}
        self.prefixed = {tag: count for tag, count in tags.items() if has_prefix(tag) and not flat}
        self.flat = {tag: count for tag, count in tags.items() if tag not in self.prefixed}
        self.prefix_uses: Counter[str] = Counter()
        for tag, count in self.prefixed.items():
            self.prefix_uses[tag[0]] += count

    def suspicions(self) -> Iterator[Suspicion]:
        yield from self.swapped_columns()
        if self.prefix_uses.total() < sum(self.flat.values()):
            for tag in self.prefixed:
                advice = "correct it, or name the scheme flat if no label is meant to have one"
                yield self.odd(tag, "has a prefix, unlike the others", advice, certain=False)
            yield from self.close_labels()
            return
        for tag in self.flat if self.prefixed else ():
            meant = _nearest(tag, {**self.prefixed, OUTSIDE: self.counts.get(OUTSIDE, 0)})
            advice = f"did you mean {meant!r}?" if meant else "correct it"
            yield self.odd(tag, "has no prefix such as B- or I-, unlike the others", advice)
        bare = [tag for tag in self.prefixed if split_tag(tag)[1] == UNTYPED]
        if sum(self.prefixed[tag] for tag in bare) * 2 < self.prefix_uses.total():
            for tag in bare:
                advice = f"write it out, as in {tag}-PER, or write O"
                yield self.odd(tag, "names no entity type, unlike the others", advice)
        yield from self.odd_prefixes()
        yield from self.rare_types()
        yield from self.close_types()

    def suspect(self, tag: str, problem: str, advice: str, certain: bool) -> Suspicion:
        path, line = self.first_seen.get(tag, ("(unknown file)", None))
        return Suspicion(tag, self.counts[tag], path, line, problem, advice, certain)

    def odd(self, tag: str, problem: str, advice: str, certain: bool = True) -> Suspicion:
        return self.suspect(tag, f"the tag {tag!r} ({_times(self.counts[tag])}) {problem}", advice, certain)

    def misspelt(self, tag: str, meant: str, usual: int, certain: bool) -> Suspicion:
        problem = f"the tag {tag!r} occurs {_times(self.counts[tag])}, {meant!r} {_times(usual)}"
        return self.suspect(tag, problem, "correct it if that is what was meant", certain)

    def swapped_columns(self) -> Iterator[Suspicion]:
        """Rare tags whose word is itself a frequent tag."""
        for tag, count in self.counts.items():
            word = self.words.get(tag)
            if word is not None and count <= _RARE and word != tag and self.counts.get(word, 0) >= _RATIO * count:
                problem = f"the word {word!r} has the tag {tag!r}, which occurs {_times(count)}: they look swapped"
                yield self.suspect(tag, problem, "exchange them", certain=True)

    def odd_prefixes(self) -> Iterator[Suspicion]:
        """Prefixes of a scheme that the corpus does not follow: in BIOES, as many mentions end (E-) as begin (B-)."""
        uses = self.prefix_uses
        odd: set[str] = set()
        for end, single in ("ES", "LU"):
            few = uses[end] <= _RARE and uses[end] != uses["B"] and uses["B"] + uses["I"] >= _RATIO * uses[end]
            if few or uses[end] * _RATIO <= uses["B"]:
                odd.add(end)
                if uses[single] * _RATIO <= uses["B"] + uses["I"]:
                    odd.add(single)
        if uses["E"] >= _RATIO * uses["B"] and not uses["S"]:
            odd.add("B")
        usual = ", ".join(f"{prefix}-" for prefix in "BIESLU" if uses[prefix] and prefix not in odd)
        for tag in self.prefixed:
            if tag[0] in odd:
                yield self.odd(tag, "has a prefix that the others do not use", f"use {usual}")

    @cached_property
    def types(self) -> dict[str, int]:
        """Entity type -> its mentions where tags show where one begins; in IOB1 and IOE, its words."""
        words: Counter[str] = Counter()
        mentions: Counter[str] = Counter()
        for tag, count in self.prefixed.items():
            prefix, entity_type = split_tag(tag)
            words[entity_type] += count
            mentions[entity_type] += count if prefix in "BSU" else 0
        by_mention = mentions.total() * _RATIO >= words.total()
        return {name: (by_mention and mentions[name]) or words[name] for name in words}

    def rare_types(self) -> Iterator[Suspicion]:
        top = max(self.types, key=self.types.__getitem__, default="")
        for tag in self.prefixed:
            count = self.types[split_tag(tag)[1]]
            if count <= _RARE and self.types[top] >= _RATIO * count:
                problem = f"the type of {tag!r} occurs {_times(count)} in all, {top!r} {_times(self.types[top])}"
                advice = "correct it if it is misspelt; a type this rare cannot be learnt"
                yield self.suspect(tag, problem, advice, certain=False)

    def close_types(self) -> Iterator[Suspicion]:
        prefix_of: dict[str, dict[str, str]] = {name: {} for name in self.types}  # by type and tag
        for tag in self.prefixed:
            prefix, entity_type = split_tag(tag)
            prefix_of[entity_type][tag] = prefix
        prefixes = {name: set(of_tag.values()) for name, of_tag in prefix_of.items()}
        for rare, frequent, certain in _close_pairs(self.types, prefixes):
            for tag, prefix in prefix_of[rare].items():
                meant = f"{prefix}-{frequent}"
                yield self.misspelt(tag, meant, self.prefixed.get(meant, self.types[frequent]), certain)

    def close_labels(self) -> Iterator[Suspicion]:
        counts = self.counts
        labels = {**self.flat, OUTSIDE: counts[OUTSIDE]} if OUTSIDE in counts else self.flat
        for rare, frequent, certain in _close_pairs(labels):
            # Short labels (NN, NNS, NNP) differ by a letter by design; only spelling variants are certain.
            spelling = certain and _folded(rare) == _folded(frequent)
            yield self.misspelt(rare, frequent, counts[frequent], spelling)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _close_pairs(
    counts: Mapping[str, int], prefixes: Mapping[str, set[str]] | None = None
) -> Iterator[tuple[str, str, bool]]:
    """``(rare, frequent, certain)`` names that differ in spelling only, or by a letter and much in frequency.

    With ``prefixes``, also those that differ by a letter and never come with the same prefix.
    """
    ranked = sorted(counts, key=lambda name: -counts[name])
    folded = {name: _folded(name) for name in ranked}
    for index, rare in enumerate(ranked):
        for frequent in ranked[:index]:
            if folded[rare] == folded[frequent]:
                yield rare, frequent, True
                break
            cut = frequent.startswith(rare)
            if not cut and (abs(len(rare) - len(frequent)) > 1 or not one_edit_apart(rare, frequent)):
                continue
            # Names of one or two letters differ by a letter by design.
            often = counts[frequent] >= _RATIO * counts[rare] and len(frequent) > 2
            apart = prefixes is not None and not prefixes[rare] & prefixes[frequent]
            if often or apart or counts[rare] <= _RARE:
                subtype = cut and not frequent[len(rare)].isalnum()
                yield rare, frequent, often and len(rare) > 1 and not subtype
                break


def _folded(name: str) -> str:
    """A name without what people vary: case, compatibility forms, separators."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _SEPARATORS.sub("", folded) or folded


def _nearest(tag: str, counts: Mapping[str, int]) -> str | None:
    """The frequent tag that differs only in spelling, or by one letter."""
    ranked = sorted(counts, key=lambda name: -counts[name])
    same = (name for name in ranked if _folded(name) == _folded(tag))
    return next(same, None) or next((name for name in ranked if one_edit_apart(tag, name)), None)


def one_edit_apart(first: str, second: str) -> bool:
    """Whether one letter more, less, other or exchanged with its neighbour makes one name of the other.

    Two different digits count as different names, not as a slip: ``A1`` and ``A2``.

    >>> one_edit_apart("PRE", "PER"), one_edit_apart("PERS", "PER"), one_edit_apart("A1", "A2")
    (True, True, False)
    """
    if len(first) < len(second):
        first, second = second, first
    if len(first) - len(second) > 1 or first == second:
        return False
    start = next((i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), len(second))
    rest, other = first[start:], second[start:]
    if len(rest) > len(other):
        return rest[1:] == other
    if rest[1:] == other[1:]:
        return not (rest[0].isdigit() and other[0].isdigit())
    return rest[:2] == other[:2][::-1] and rest[2:] == other[2:]
