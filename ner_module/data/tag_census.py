"""Which tags a corpus holds, how often and where first; its scheme; and which tags look like typing errors.

Counted in one pass; memory depends on the inventory of tags alone. A tag can be wrong only in comparison with the
others: ``PRE`` beside ten thousand ``PER``, ``BPER`` where tags are ``B-PER``.

Not here: cells that can be no tag at all (`formats/cells.py`), other spellings of prefixes (`spelling.py`), and legal
tags in an illegal order (`tagging.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ner_module.data.sentence import Sentence
from ner_module.data.spelling import LIKE_OUTSIDE, is_outside, shown
from ner_module.errors import DataError, SchemeError
from ner_module.tagging import OUTSIDE, UNTYPED, canonical_prefix, has_prefix, split_tag, tags_to_spans, word_places

# Preferred first when several schemes explain the tags equally well: entities of one word tagged B- are IOB2.
_DETECTION_ORDER = ("iob2", "bioes", "bilou", "iob1", "ioe2", "ioe1")
# A type this many times rarer than one that differs by a letter is a misspelling; the closest honest pair known (DNA
# and RNA of JNLPBA) is 10 times apart.
_RATIO = 20
# A type seen this often or less is worth a warning; what is seen more often than the second is no slip, and stops none.
_RARE = 2
_SLIPS = 20
# Among labels without prefixes, runs are entities where at least this share of words is outside. (In Gimpel's tags of
# tweets, O is a pronoun: 7 %.)
OUTSIDE_SHARE = 0.2

_SEPARATORS = re.compile(r"(?<=\w)[-_ ./:]+(?=\w)")  # not those at an end: PRP$, PRP and POS- are three tags

_JOINT = re.compile(r"[|,;+&][BIESLU]-\w")


class SeenTag(NamedTuple):
    """How many words carry a tag, and the file, the line and the text of the first one."""

    uses: int
    path: str
    line: int | None = None
    word: str | None = None


class TagCensus:
    """Counts the tags of a stream of sentences, and the evidence for each scheme.

    A tag's prefix and its place in its span decide in which schemes it is canonical: those combinations are counted.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[str, int | None, str | None]] = {}
        self._prefixes: Counter[tuple[str, Any]] = Counter()

    def add(self, tags: Sequence[str], path: str = "", sentence: Sentence | None = None) -> None:
        """Count the tags of one sentence, which is in the file ``path``."""
        self._counts.update(tags)
        if len(self._counts) != len(self._first):
            for position, tag in enumerate(tags):
                first = (sentence.line_of(position), sentence.tokens[position]) if sentence else (None, None)
                self._first.setdefault(tag, (path, *first))
        if tags.count(OUTSIDE) != len(tags) and any(map(has_prefix, tags)):
            tags = [tag if tag == OUTSIDE or has_prefix(tag) else OUTSIDE for tag in tags]
            for position, _, place in word_places(tags_to_spans(tags)):
                self._prefixes[tags[position][0], place] += 1

    def seen(self) -> dict[str, SeenTag]:
        """The tags in the order of first appearance."""
        return {tag: SeenTag(self._counts[tag], *first) for tag, first in self._first.items()}

    def scheme_report(self) -> dict[str, Any]:
        """The evidence for each tagging scheme, as JSON can hold it.

        ``detected`` is the scheme with the fewest ``illegal_words``, ``None`` when some tags have a prefix and others
        have none (``rarest_flat`` is one), ``flat`` where none has one (see :func:`bare_scheme`).
        """
        flat = [tag for tag in self._first if tag != OUTSIDE and not has_prefix(tag)]
        flat_words = sum(self._counts[tag] for tag in flat)
        prefixed_words = self._counts.total() - flat_words - self._counts[OUTSIDE]
        illegal_words = dict.fromkeys(_DETECTION_ORDER, 0)
        for (prefix, place), count in self._prefixes.items():
            for scheme in _DETECTION_ORDER:
                illegal_words[scheme] += count * (prefix != canonical_prefix(scheme, place))
        detected = min(illegal_words, key=illegal_words.__getitem__)
        return {
            "flat_words": flat_words,
            "prefixed_words": prefixed_words,
            "rarest_flat": min(flat, key=self._counts.__getitem__, default=None),
            "illegal_words": illegal_words,
            "detected": detected if not flat_words else None if prefixed_words else "flat",
        }


def bare_scheme(seen: Mapping[str, SeenTag], outside_label: str | None) -> str:
    """How labels without prefixes are counted: by runs (``io``) where many words are outside, else word by word."""
    outside = seen.get(outside_label or OUTSIDE)
    words = sum(found.uses for found in seen.values())
    return "io" if outside is not None and outside.uses >= OUTSIDE_SHARE * words else "flat"


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of the tags of some sentences; refuses tags of which some have a prefix and others none."""
    census = TagCensus()
    for tags in sentences:
        census.add(tags)
    report = census.scheme_report()
    if report["detected"] is None:
        problem = f"some tags have a prefix (B-, I-, …), but {report['rarest_flat']!r} has none"
        raise SchemeError(f"{problem}: correct it, or name the scheme with --data.source_scheme=flat")
    return str(report["detected"])


@dataclass(frozen=True)
class Suspicion:
    """A tag that is likely misspelt, and where it is first; a certain one should stop a run."""

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


def suspicious_tags(seen: Mapping[str, SeenTag], flat: bool = False) -> list[Suspicion]:
    """The tags of a corpus that are likely misspelt, the certain ones first.

    ``flat`` labels are known to have no prefixes, even where they look as if (``S``, ``B-1``).

    >>> counts = {"O": 900, "B-PER": 90, "B-PRE": 1}
    >>> [found] = suspicious_tags({tag: SeenTag(count, "train.conll", 7) for tag, count in counts.items()})
    >>> str(found.error())
    "train.conll:7: the tag 'B-PRE' occurs once, 'B-PER' 90 times; correct it if that is what was meant"
    """
    prefixed = {tag: found.uses for tag, found in seen.items() if tag != OUTSIDE and has_prefix(tag) and not flat}
    labels = {tag: found.uses for tag, found in seen.items() if tag not in prefixed}
    words = sum(prefixed.values())
    by_prefix = words and (len(labels) == 1 or words >= sum(labels[tag] for tag in labels if not is_outside(tag)))
    found: dict[str, Suspicion] = {}
    for tag, problem, advice, certain in (_prefixed_tags if by_prefix else _flat_labels)(prefixed, labels):
        if tag not in found or certain >= found[tag].certain:  # the later rule is more specific
            count, path, line, _ = seen[tag]
            found[tag] = Suspicion(tag, count, path, line, problem, advice, certain)
    return sorted(found.values(), key=lambda suspicion: (not suspicion.certain, suspicion.count))


def _flat_labels(prefixed: dict[str, int], labels: dict[str, int]) -> Iterator[tuple[str, str, str, bool]]:
    for tag, count in prefixed.items():
        advice = "correct it, or name the scheme flat if no label is meant to have one"
        yield tag, f"the tag {tag!r} ({_times(count)}) has a prefix, unlike the others", advice, False
    for rare, frequent, _ in _close_pairs(labels):
        # Short labels (NN, NNS, NNP) differ by a letter by design; only spelling variants are certain.
        certain = _folded(rare) == _folded(frequent) and _is_slip(labels[rare], labels[frequent])
        problem = f"the tag {rare!r} occurs {_times(labels[rare])}, {frequent!r} {_times(labels[frequent])}"
        yield rare, problem, "correct it if that is what was meant", certain

    for tag in LIKE_OUTSIDE & labels.keys() if OUTSIDE in labels else ():
        advice = "write O, or name all labels in --data.label_names if it is one"
        problem = f"the tag {shown(tag)} ({_times(labels[tag])}) looks like another way to write O"
        yield tag, problem, advice, _is_slip(labels[tag], labels[OUTSIDE])


def _prefixed_tags(prefixed: dict[str, int], labels: dict[str, int]) -> Iterator[tuple[str, str, str, bool]]:
    names = {tag: f"the tag {shown(tag)} ({_times(count)})" for tag, count in (prefixed | labels).items()}
    known = [*({OUTSIDE} & labels.keys()), *sorted(prefixed, key=lambda tag: -prefixed[tag])]
    for tag in (label for label in labels if label != OUTSIDE):
        close = [name for name in known if _folded(name) == _folded(tag)]
        close += [name for name in known if one_edit_apart(tag, name)]
        advice = f"did you mean {close[0]!r}?" if close else "correct it"
        if is_outside(tag) or labels[tag] > sum(prefixed.values()) or not (close or OUTSIDE in labels):
            advice = f"write O, or set --data.outside_label {tag} if it marks words outside any entity"
        yield tag, f"{names[tag]} has no prefix such as B- or I-, unlike the others", advice, True

    uses, words, mentions = Counter[str](), Counter[str](), Counter[str]()  # by prefix, by type, by type
    for tag, count in prefixed.items():
        prefix, entity_type = split_tag(tag)
        uses[prefix] += count
        words[entity_type] += count
        mentions[entity_type] += count * (prefix in "BSU")
    # Mentions are what counts where tags show where one begins; in IOB1 and IOE only words can be counted.
    by_mention = mentions.total() * _RATIO >= words.total()
    types = {name: (by_mention and mentions[name]) or words[name] for name in words}
    odd = _odd_prefixes(uses)
    usual = ", ".join(f"{prefix}-" for prefix in "BIESLU" if uses[prefix] and prefix not in odd)
    top = max(types, key=types.__getitem__)
    meant = {rare: (frequent, certain) for rare, frequent, certain in _close_pairs(types)}
    for tag, count in prefixed.items():
        prefix, entity_type = split_tag(tag)
        if entity_type == UNTYPED and words[UNTYPED] < uses.total():
            advice = f"write it out, as in {prefix}-PER, or write O"
            goes_on = by_mention and not mentions[UNTYPED]  # B-PER I I
            problem = f"{names[tag]} names no entity type, unlike the others"
            yield tag, problem, advice, goes_on or _is_slip(words[UNTYPED], uses.total())
        if _JOINT.search(tag):
            advice = "keep one of them: entities in entities are not trained together"
            yield tag, f"{names[tag]} holds several tags, of which one type is made", advice, False
        if prefix in odd:
            yield tag, f"{names[tag]} has a prefix that the others do not use", f"use {usual}", uses[prefix] <= _SLIPS
        if types[entity_type] <= _RARE and types[top] >= _RATIO * types[entity_type]:
            occurs = f"occurs {_times(types[entity_type])} in all, {top!r} {_times(types[top])}"
            advice = "correct it if it is misspelt; a type this rare cannot be learnt"
            yield tag, f"the type of {tag!r} {occurs}", advice, False
        if entity_type in meant:
            frequent, certain = meant[entity_type]
            right = f"{prefix}-{frequent}"
            others = _times(prefixed.get(right, types[frequent]))
            problem = f"the tag {tag!r} occurs {_times(count)}, {right!r} {others}"
            yield tag, problem, "correct it if that is what was meant", certain


def _odd_prefixes(uses: Counter[str]) -> set[str]:
    """Prefixes of a scheme that the corpus does not follow: in BIOES, as many mentions end (E-) as begin (B-)."""
    odd = {"B"} if uses["E"] >= _RATIO * uses["B"] and not uses["S"] else set()
    for end, single in ("ES", "LU"):
        if uses[end] * _RATIO <= uses["B"]:
            odd |= {prefix for prefix in (end, single) if uses[prefix] * _RATIO <= uses["B"] + uses["I"]}
    return odd


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _close_pairs(counts: Mapping[str, int]) -> Iterator[tuple[str, str, bool]]:
    """``(rare, frequent, certain)`` names that differ in spelling only, or by a letter and much in frequency."""
    ranked = sorted(counts, key=lambda name: -counts[name])
    folded = {name: _folded(name) for name in ranked}
    letters = {name: re.sub(r"\W+$", "", name) or name for name in ranked}
    parts = {name: set(re.split(r"[\W_]+", name)) for name in ranked}
    holders = Counter(part for each in parts.values() for part in each)
    for index, rare in enumerate(ranked):
        for frequent in ranked[:index]:
            same, cut = folded[rare] == folded[frequent], frequent.startswith(rare)
            if not same and letters[rare] == letters[frequent]:  # PRP and PRP$
                continue
            if not same and all(holders[part] > 1 for part in parts[rare]):  # GPE.NOM beside GPE.NAM and PER.NOM
                continue
            # Names of one or two letters differ by a letter by design; of three, in one (DNA and RNA, 27 times apart).
            often = counts[frequent] >= _RATIO * counts[rare] and len(frequent) > 2
            if same or ((often or counts[rare] <= _RARE) and (cut or one_edit_apart(rare, frequent))):
                is_other = len(rare) == len(frequent) == 3 and {*rare} != {*frequent} and counts[rare] > _RARE
                subtype = cut and not frequent[len(rare)].isalnum()
                certain = same or (often and len(rare) > 1 and not subtype and not is_other)
                yield rare, frequent, certain and _is_slip(counts[rare], counts[frequent])
                break


def _is_slip(rare: int, frequent: int) -> bool:
    """Whether what is so much rarer than what it looks like is a slip, not a name that someone chose."""
    return rare <= _SLIPS and rare * _RATIO <= frequent


def _folded(name: str) -> str:
    """A name without what people vary: case, compatibility forms, separators."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return _SEPARATORS.sub("", folded) or folded


def one_edit_apart(first: str, second: str) -> bool:
    """Whether one letter more, less, other (no digit) or exchanged with its neighbour makes one name of the other.

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
