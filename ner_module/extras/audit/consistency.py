"""The same words annotated in different ways: as different types, or as an entity here and not there.

The *readings* of a form are counted over all splits: each type it has, and "outside" for each place where the whole
form occurs in words that belong to no entity. The most frequent reading is the usual one; forms are ranked by the lower
end of the 95 % Wilson interval of its share, so that 24 of 26 comes before 2 of 3, and both before an even split, which
is honest ambiguity. A form that is usually *outside* ("us", "May") is the normal state of words that are also names:
only entities of several words, or of a rate below 5 %, are taken for slips, and they come after the others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.findings import Example, Finding, plural
from ner_module.tagging import Span

OUTSIDE_READING = "outside"

_KINDS = {
    "conflicting_types": ("more than one type", "check the minority: mistakes, or genuine ambiguity?"),
    "entity_or_outside": ("occurrences inside and outside entities", "check the minority: missed entities?"),
}

# Longer entities are hardly ever repeated outside, and each length costs a look at every word.
_LONGEST = 8
_DETAILS = 200
_PLACES = 3
# The dominant reading must have at least this lower bound of its share for the others to look like slips.
_CLEAR = 0.5
_RARELY_ENTITY = 0.05

Form = tuple[str, ...]


Readings = dict[str, list[tuple[Sentence, int]]]
"""By type, or :data:`OUTSIDE_READING`, the places: sentence and first word."""


class _Conflict(NamedTuple):
    """A form with several readings, the usual one first; sorted, what is most worth looking at comes last."""

    rank: float
    unusual: int
    certainty: float
    is_slip: bool  # a minority reading is likely a mistake, not a genuine second meaning
    form: Form
    readings: Readings

    def as_json(self) -> dict[str, Any]:
        readings = []
        for name, places in self.readings.items():
            examples = [asdict(sentence.example(at, at + len(self.form))) for sentence, at in places[:_PLACES]]
            readings.append({"reading": name, "count": len(places), "places": examples})
        return {"form": " ".join(self.form), "certainty": round(self.certainty, 4), "readings": readings}


def consistency_findings(corpus: Corpus, types: Sequence[str]) -> Iterator[Finding]:
    """Forms of several types, and forms that are entities here and outside there; ``types`` break ties."""
    order = {name: number for number, name in enumerate([*types, OUTSIDE_READING])}
    of_kind: dict[str, list[_Conflict]] = {kind: [] for kind in _KINDS}
    for form, found in find_readings(corpus).items():
        readings = dict(sorted(found.items(), key=lambda item: (-len(item[1]), order[item[0]])))
        usual, *others = map(len, readings.values())
        unusual, certainty = sum(others), wilson_lower(usual, usual + sum(others))
        usually_outside = next(iter(readings)) == OUTSIDE_READING
        is_slip = not usually_outside or len(form) > 1 or unusual < _RARELY_ENTITY * (usual + unusual)
        several_types = len(readings.keys() - {OUTSIDE_READING}) > 1
        if several_types or is_slip:
            kind = "conflicting_types" if several_types else "entity_or_outside"
            rank = certainty / (4 if usually_outside else 1)
            of_kind[kind].append(_Conflict(rank, unusual, certainty, is_slip, form, readings))
    for kind, conflicts in of_kind.items():
        if conflicts:
            yield _finding(kind, conflicts)


def _finding(kind: str, conflicts: list[_Conflict]) -> Finding:
    problem, advice = _KINDS[kind]
    message = f"{plural(len(conflicts), 'name has', 'names have')} {problem}"
    clear = [conflict for conflict in conflicts if conflict.certainty >= _CLEAR]
    if clear:
        unusual = sum(conflict.unusual for conflict in clear)
        disagree = plural(unusual, "occurrence disagrees", "occurrences disagree")
        message += f"; for {len(clear):,} of them one reading dominates, and {disagree}"
    slips = [conflict for conflict in conflicts if conflict.is_slip]
    slips.sort(key=lambda conflict: conflict[:2], reverse=True)
    details = [conflict.as_json() for conflict in slips[:_DETAILS]]
    example = Example(**details[0]["readings"][-1]["places"][0]) if details else None
    return Finding(kind, "warning" if clear else "info", len(conflicts), message, example, advice, details)


def find_readings(corpus: Corpus) -> dict[Form, Readings]:
    """The readings of each form that has several."""
    found: dict[Form, Readings] = {}
    lengths: dict[str, set[int]] = defaultdict(set)  # of the forms that begin with a word
    for sentence in corpus.sentences:
        for start, end, name in sentence.spans:
            form = sentence.tokens[start:end]
            found.setdefault(form, defaultdict(list))[name]  # each type, before any outside reading
            if len(form) <= _LONGEST:
                lengths[form[0]].add(len(form))
    for sentence in corpus.sentences:
        tokens, gap, annotated = sentence.tokens, 0, corpus.types_by_file[sentence.file]
        for start, end, name in [*sentence.spans, Span(len(tokens), len(tokens), "")]:
            for at in range(gap, start):
                for length in lengths.get(tokens[at], ()):
                    readings = found.get(tokens[at : at + length]) if at + length <= start else None
                    # Where no type of the form is annotated, it says nothing that it is outside.
                    if readings is not None and (annotated is None or not readings.keys().isdisjoint(annotated)):
                        readings[OUTSIDE_READING].append((sentence, at))
            if name:
                found[tokens[start:end]][name].append((sentence, start))
            gap = end
    return {form: readings for form, readings in found.items() if len(readings) > 1}


def wilson_lower(successes: int, trials: int, z: float = 1.96) -> float:
    """The lower end of the Wilson score interval of a share (Wilson, 1927).

    >>> round(wilson_lower(24, 26), 2), round(wilson_lower(2, 3), 2), round(wilson_lower(12, 22), 2)
    (0.76, 0.21, 0.35)
    """
    p = successes / trials
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return (p + z * z / (2 * trials) - spread) / (1 + z * z / trials)
