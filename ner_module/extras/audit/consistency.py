"""The same words annotated in different ways: as different types, or as an entity here and as nothing there.

For each form (words, case and all) its *readings* are counted over all splits: each type it has, and "outside" for each
place where the whole form stands in words that belong to no entity. The reading that most places have is the usual one,
the others are the cases to look at. What to look at first: the lower end of the 95 % Wilson interval of the usual
reading's share, so that 24 of 26 comes before 2 of 3, and both before an even split, which is honest ambiguity. A form
that is usually *outside* ("us", "May") is the normal state of words that are also names: only entities of several
words, or of a rate below 5 %, are taken for slips, and they come after the others.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.entities import Form
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import Span

OUTSIDE_READING = "outside"

# Longer entities are hardly ever repeated outside, and each length costs a look at every word.
_LONGEST = 8
_DETAILS = 200
_PLACES = 3
# The usual reading must have at least this lower bound of its share for the others to look like slips.
_CLEAR = 0.5
_RARELY_ENTITY = 0.05


@dataclass
class Reading:
    """One way a form is annotated: how often, and its first places: sentence and first word."""

    name: str
    count: int = 0
    places: list[tuple[Sentence, int]] = field(default_factory=list)


class Conflict:
    """A form with several readings, the usual one first.

    Attributes:
        unusual_count: occurrences with another reading.
        certainty: the lower end of the Wilson interval of the usual reading's share.
        rank: higher is more worth looking at.
        is_slip: whether an unusual reading is likely a mistake, not one of two honest meanings of a word.
    """

    def __init__(self, form: Form, readings: list[Reading]) -> None:
        self.form, self.readings = form, readings
        total = sum(reading.count for reading in readings)
        self.unusual_count = total - readings[0].count
        self.certainty = wilson_lower(readings[0].count, total)
        usually_outside = readings[0].name == OUTSIDE_READING
        self.rank = self.certainty / (4 if usually_outside else 1), self.unusual_count
        self.is_slip = not usually_outside or len(form) > 1 or self.unusual_count < _RARELY_ENTITY * total

    def places(self, reading: Reading) -> list[Example]:
        """The first places of a reading."""
        return [sentence.example(start, start + len(self.form)) for sentence, start in reading.places]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        readings = [
            {"reading": reading.name, "count": reading.count, "places": [*map(asdict, self.places(reading))]}
            for reading in self.readings
        ]
        return {"form": " ".join(self.form), "certainty": round(self.certainty, 4), "readings": readings}


def consistency_findings(corpus: Corpus, types: Sequence[str]) -> list[Finding]:
    """Forms of several types, and forms that are entities here and outside there.

    Args:
        corpus: the sentences.
        types: the entity types; of readings equally frequent, the first is the usual one.
    """
    several, outside = [], []
    for conflict in find_conflicts(corpus, types):
        if sum(reading.name != OUTSIDE_READING for reading in conflict.readings) > 1:
            several.append(conflict)
        elif conflict.is_slip:
            outside.append(conflict)
    advice = "look at the unusual ones first; if both are right, state in the guidelines when each applies"
    found = [_finding("conflicting_types", several, "annotated with different types", advice)] if several else []
    if outside:
        problem = "an entity in some places and not annotated in others"
        advice = "look at the unusual places: is one forgotten, or annotated by mistake?"
        found.append(_finding("entity_or_outside", outside, problem, advice))
    return found


def find_conflicts(corpus: Corpus, types: Sequence[str]) -> list[Conflict]:
    """All forms with several readings, the most telling first."""
    found: dict[Form, dict[str, Reading]] = {
        sentence.tokens[start:end]: {} for sentence in corpus.sentences for start, end, _ in sentence.spans
    }
    lengths: dict[str, set[int]] = defaultdict(set)  # of the forms that begin with a word
    for form in found:
        if len(form) <= _LONGEST:
            lengths[form[0]].add(len(form))

    def note(form: Form, name: str, sentence: Sentence, start: int) -> None:
        readings = found[form]
        reading = readings.get(name) or readings.setdefault(name, Reading(name))
        reading.count += 1
        if len(reading.places) < _PLACES:
            reading.places.append((sentence, start))

    for sentence in corpus.sentences:
        tokens, gap = sentence.tokens, 0
        for start, end, name in [*sentence.spans, Span(len(tokens), len(tokens), "")]:
            for at in range(gap, start):
                for length in lengths.get(tokens[at], ()):
                    if at + length <= start and tokens[at : at + length] in found:
                        note(tokens[at : at + length], OUTSIDE_READING, sentence, at)
            if name:
                note(tokens[start:end], name, sentence, start)
            gap = end
    order = {name: number for number, name in enumerate([*types, OUTSIDE_READING])}
    conflicts = [
        Conflict(form, sorted(readings.values(), key=lambda reading: (-reading.count, order[reading.name])))
        for form, readings in found.items()
        if len(readings) > 1
    ]
    return sorted(conflicts, key=lambda conflict: conflict.rank, reverse=True)


def wilson_lower(successes: int, trials: int, z: float = 1.96) -> float:
    """The lower end of the Wilson score interval of a share (Wilson, 1927).

    >>> round(wilson_lower(24, 26), 2), round(wilson_lower(2, 3), 2), round(wilson_lower(12, 22), 2)
    (0.76, 0.21, 0.35)
    """
    p = successes / trials
    spread = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return (p + z * z / (2 * trials) - spread) / (1 + z * z / trials)


def _finding(code: str, conflicts: list[Conflict], problem: str, advice: str) -> Finding:
    message = f"{plural(len(conflicts), 'form is', 'forms are')} {problem}"
    clear = [conflict for conflict in conflicts if conflict.certainty >= _CLEAR]
    if clear:
        against = plural(sum(conflict.unusual_count for conflict in clear), "place")
        message += f"; of {len(clear):,} the usual reading is clear, with {against} against it"
    slips = [conflict for conflict in conflicts if conflict.is_slip]
    example = slips[0].places(slips[0].readings[-1])[0] if slips else None
    details = [conflict.as_json() for conflict in slips[:_DETAILS]]
    return Finding(code, "warning" if clear else "info", len(conflicts), message, example, advice, details)
