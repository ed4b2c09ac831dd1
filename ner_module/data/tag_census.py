"""Which tags a corpus holds, how often, where first; and which of them look like typing errors.

A tag can be wrong only against the others: ``PRE`` beside ten thousand ``PER``, ``BPER`` where tags are ``B-PER``, a
word where columns were swapped on one line. :class:`TagCensus` collects in one pass and in memory that depends on the
inventory alone; :func:`suspicious_tags` judges, also over several splits put together.

Not here: cells that can be no tag at all (`formats/tag_cells.py`), and legal tags in an illegal order (`tagging.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ner_module.data.schemes import SchemeCensus
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, SCHEMES, UNTYPED, has_prefix, split_tag

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
        tag: as it stands in the file.
        count: how many words have it.
        path: the file where it was seen first.
        line: the line there.
        problem: what speaks against it.
        advice: what to do.
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


class TagCensus:
    """Counts the tags of a stream of sentences."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[str, int, str | None]] = {}
        self._schemes = SchemeCensus()

    def add(
        self,
        tags: Sequence[str],
        path: str,
        line: int,
        tokens: Sequence[str] | None = None,
        word_per_line: bool = False,
    ) -> None:
        """Count the tags of one sentence.

        Args:
            tags: one tag per word.
            path: the file.
            line: its line there.
            tokens: the words; with them, words and tags that changed places on a line are found.
            word_per_line: word ``i`` stands on line ``line + i`` (`Sentence.word_per_line`).
        """
        self._counts.update(tags)
        if len(self._counts) != len(self._first):
            for position, tag in enumerate(tags):
                if tag not in self._first:
                    word = None if tokens is None else tokens[position]
                    self._first[tag] = (path, line + position if word_per_line else line, word)
        if tags.count(OUTSIDE) != len(tags):
            self._schemes.add(tags)

    def counts(self) -> dict[str, int]:
        """Tag -> number of words, in the order of first appearance."""
        return {tag: self._counts[tag] for tag in self._first}

    def first_seen(self) -> dict[str, tuple[str, int]]:
        """Tag -> file and line of its first word."""
        return {tag: (path, line) for tag, (path, line, _) in self._first.items()}

    def first_words(self) -> dict[str, str | None]:
        """Tag -> its first word, where words were given."""
        return {tag: word for tag, (_, _, word) in self._first.items()}

    def scheme_report(self) -> dict[str, Any]:
        """What speaks for which tagging scheme, as JSON can hold it.

        Returns:
            ``flat_words`` and ``prefixed_words``, words with a tag without and with a prefix; ``rarest_flat``, tag,
            file and line of the rarest of the former (or ``None``); ``detected``, the scheme (``None`` when both
            kinds occur); ``illegal_words``, by scheme.
        """
        flat = [tag for tag in self._first if tag != OUTSIDE and not has_prefix(tag)]
        flat_words = sum(self._counts[tag] for tag in flat)
        prefixed_words = self._counts.total() - flat_words - self._counts[OUTSIDE]
        rarest = min(flat, key=self._counts.__getitem__, default=None)
        return {
            "flat_words": flat_words,
            "prefixed_words": prefixed_words,
            "rarest_flat": None if rarest is None else [rarest, *self._first[rarest][:2]],
            "detected": None if flat_words and prefixed_words else self._schemes.detect(),
            "illegal_words": {scheme: self._schemes.illegal_words(scheme) for scheme in SCHEMES if scheme != "flat"},
        }

    def suspicious(self) -> list[Suspicion]:
        """:func:`suspicious_tags` of what was counted."""
        return suspicious_tags(self._counts, self.first_seen(), self.first_words())


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
    words = first_words or {}
    found: dict[str, Suspicion] = {}
    for tag, problem, advice, certain in _findings(counts, words, flat):
        if tag not in found or certain >= found[tag].certain:  # the later finding says more
            path, line = first_seen.get(tag, ("(unknown file)", None))
            found[tag] = Suspicion(tag, counts[tag], path, line, problem, advice, certain)
    return sorted(found.values(), key=lambda suspicion: (not suspicion.certain, suspicion.count))


_Finding = tuple[str, str, str, bool]


def _findings(counts: Mapping[str, int], words: Mapping[str, str | None], all_flat: bool) -> Iterator[_Finding]:
    prefixed = {tag: n for tag, n in counts.items() if tag != OUTSIDE and has_prefix(tag) and not all_flat}
    flat = {tag: count for tag, count in counts.items() if tag != OUTSIDE and tag not in prefixed}
    yield from _swapped(counts, words)
    if sum(prefixed.values()) >= sum(flat.values()):
        for tag, count in flat.items() if prefixed else ():
            meant = _nearest(tag, {**prefixed, OUTSIDE: counts.get(OUTSIDE, 0)})
            problem = f"the tag {tag!r} ({_times(count)}) has no prefix such as B- or I-, unlike the others"
            yield tag, problem, f"did you mean {meant!r}?" if meant else "correct it", True
        yield from _bare(prefixed)
        yield from _odd_prefixes(prefixed)
        yield from _misspelt_types(prefixed)
    else:
        for tag, count in prefixed.items():
            problem = f"the tag {tag!r} ({_times(count)}) has a prefix, unlike the others"
            yield tag, problem, "correct it, or name the scheme flat if no label is meant to have one", False
        inventory = {**flat, OUTSIDE: counts[OUTSIDE]} if OUTSIDE in counts else flat
        for rare, frequent, certain in _close_pairs(inventory):
            # Short labels (NN, NNS, NNP) differ by a letter by design; only spelling variants are certain.
            yield (*_misspelt(rare, frequent, counts), certain and _folded(rare) == _folded(frequent))


def _swapped(counts: Mapping[str, int], words: Mapping[str, str | None]) -> Iterator[_Finding]:
    """Rare tags whose word is itself a frequent tag: the two columns changed places."""
    for tag, count in counts.items():
        word = words.get(tag)
        if word is not None and count <= _RARE and word != tag and counts.get(word, 0) >= _RATIO * count:
            problem = f"the word {word!r} has the tag {tag!r}, which occurs {_times(count)}: they look swapped"
            yield tag, problem, "exchange them", True


def _bare(prefixed: dict[str, int]) -> Iterator[_Finding]:
    bare = {tag: count for tag, count in prefixed.items() if split_tag(tag)[1] == UNTYPED}
    if sum(bare.values()) * 2 < sum(prefixed.values()):
        for tag, count in bare.items():
            problem = f"the tag {tag!r} ({_times(count)}) names no entity type, unlike the others"
            yield tag, problem, f"write it out, as in {tag}-PER, or write O", True


def _odd_prefixes(prefixed: dict[str, int]) -> Iterator[_Finding]:
    """Prefixes of a scheme that the corpus does not follow: in BIOES, as many mentions end (E-) as begin (B-)."""
    uses: Counter[str] = Counter()
    for tag, count in prefixed.items():
        uses[tag[0]] += count
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
    for tag, count in prefixed.items():
        if tag[0] in odd:
            problem = f"the tag {tag!r} ({_times(count)}) has a prefix that the others do not use"
            yield tag, problem, f"use {usual}", True


def _misspelt_types(prefixed: dict[str, int]) -> Iterator[_Finding]:
    # A mention counts once where tags tell where it begins; in IOB1 and IOE, words count.
    begun = sum(count for tag, count in prefixed.items() if tag[0] in "BSU")
    by_mention = begun * _RATIO >= sum(prefixed.values())
    mentions: Counter[str] = Counter()
    words: Counter[str] = Counter()
    prefixes: dict[str, str] = {}
    for tag, count in prefixed.items():
        prefix, entity_type = split_tag(tag)
        words[entity_type] += count
        mentions[entity_type] += count if prefix in "BSU" else 0
        prefixes[entity_type] = prefixes.get(entity_type, "") + prefix
    types = {name: mentions[name] if by_mention and mentions[name] else words[name] for name in words}
    top = max(types, key=types.__getitem__, default="")
    for tag in prefixed:
        name = split_tag(tag)[1]
        if types[name] <= _RARE and types[top] >= _RATIO * types[name]:
            problem = f"the type of {tag!r} occurs {_times(types[name])} in all, {top!r} {_times(types[top])}"
            yield tag, problem, "correct it if it is misspelt; a type this rare cannot be learnt", False
    for rare, frequent, certain in _close_pairs(types, prefixes):
        for tag in prefixed:
            prefix, entity_type = split_tag(tag)
            if entity_type == rare:
                meant = f"{prefix}-{frequent}"
                usual = {meant: prefixed.get(meant, types[frequent]), tag: prefixed[tag]}
                yield (*_misspelt(tag, meant, usual), certain)


def _misspelt(tag: str, meant: str, counts: Mapping[str, int]) -> tuple[str, str, str]:
    problem = f"the tag {tag!r} occurs {_times(counts[tag])}, {meant!r} {_times(counts[meant])}"
    return tag, problem, "correct it if that is what was meant"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _close_pairs(
    counts: Mapping[str, int], prefixes: Mapping[str, str] | None = None
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
            apart = prefixes is not None and not set(prefixes[rare]) & set(prefixes[frequent])
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
    start = 0
    while start < len(second) and first[start] == second[start]:
        start += 1
    if len(first) > len(second):
        return first[start + 1 :] == second[start:]
    if first[start + 1 :] == second[start + 1 :]:
        return not (first[start].isdigit() and second[start].isdigit())
    return first[start : start + 2] == second[start : start + 2][::-1] and first[start + 2 :] == second[start + 2 :]
