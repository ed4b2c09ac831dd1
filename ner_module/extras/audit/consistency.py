"""The same words annotated in different ways: as different types, or as an entity here and as nothing there.

For each form (words, case and all) its *readings* are counted over all splits: each type it has, and "outside" for each
place where the whole form stands in words that belong to no entity. The reading that most places have is the usual one,
the others are the cases to look at. What to look at first: the lower end of the 95 % Wilson interval of the usual
reading's share, so that 24 of 26 comes before 2 of 3, and both before an even split, which is honest ambiguity. A form
that is usually *outside* ("us", "May") is the normal state of words that are also names: only entities of several
words, or of a rate below 5 %, are taken for slips, and they come after the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.entities import Entities, sentence_at
from ner_module.extras.audit.hashing import Hashes, RangeHashes, mix
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Finding

OUTSIDE_READING = "outside"

# Longer entities are hardly ever repeated outside, and each length costs a look at every word.
_LONGEST = 8
_KEPT = 200
_PLACES = 3
# The usual reading must have at least this lower bound of its share for the others to look like slips.
_CLEAR = 0.5
_RARELY_ENTITY = 0.05


@dataclass
class Form:
    """A form with several readings.

    Attributes:
        hash: of its words.
        readings: reading -> occurrences, the usual one first.
        certainty: the lower end of the Wilson interval of the usual reading's share.
        places: reading -> some of its places, as a word of the corpus.
        length: words of the form.
    """

    hash: int
    readings: dict[str, int]
    certainty: float
    places: dict[str, list[int]]
    length: int

    @property
    def usual(self) -> str:
        """The reading that most places have."""
        return next(iter(self.readings))

    @property
    def unusual_count(self) -> int:
        """Occurrences with another reading."""
        return sum(self.readings.values()) - self.readings[self.usual]

    @property
    def rank(self) -> tuple[float, int]:
        """Higher is more worth looking at."""
        return self.certainty / (4 if self.usual == OUTSIDE_READING else 1), self.unusual_count


def consistency_findings(corpus: Corpus, entities: Entities) -> list[Finding]:
    """Forms of several types, and forms that are entities here and outside there."""
    forms = conflicting_forms(corpus, entities)
    several = [form for form in forms if sum(reading != OUTSIDE_READING for reading in form.readings) > 1]
    typed = {form.hash for form in several}
    outside = [form for form in forms if form.hash not in typed and OUTSIDE_READING in form.readings and _is_slip(form)]
    found = []
    if several:
        found.append(
            _finding(
                corpus,
                several,
                "conflicting_types",
                "{forms} {are} annotated with different types",
                "look at the unusual ones first; if both are right, state in the guidelines when each applies",
            )
        )
    if outside:
        found.append(
            _finding(
                corpus,
                outside,
                "entity_or_outside",
                "{forms} {are} an entity in some places and not annotated in others",
                "look at the unusual places: is one forgotten, or annotated by mistake?",
            )
        )
    return found


def _is_slip(form: Form) -> bool:
    """Whether an unusual reading is likely a mistake, not one of two honest meanings of a word."""
    if form.usual != OUTSIDE_READING:
        return True
    total = sum(form.readings.values())
    return form.length > 1 or total - form.readings[form.usual] < _RARELY_ENTITY * total


def conflicting_forms(corpus: Corpus, entities: Entities) -> list[Form]:
    """All forms with several readings, the most telling first; the first of them with places."""
    readings: dict[int, dict[str, int]] = defaultdict(dict)
    lengths: dict[int, int] = {}
    hashes, index_of = np.unique(entities.hashes, return_inverse=True)
    by_length = {
        int(length): np.unique(entities.hashes[entities.lengths == length])
        for length in np.unique(entities.lengths)
        if length <= _LONGEST
    }
    outside = _count_outside(corpus, by_length, _first_words(corpus, entities))
    several = np.zeros(len(hashes), dtype=bool)
    types_of = np.full(len(hashes), -1, dtype=np.int32)
    for row, form in enumerate(index_of.tolist()):
        if types_of[form] == -1:
            types_of[form] = entities.types[row]
        elif types_of[form] != entities.types[row]:
            several[form] = True
    for row in np.flatnonzero(
        several[index_of] | np.isin(entities.hashes, np.array(list(outside), dtype=np.uint64))
    ).tolist():
        key, name = int(entities.hashes[row]), corpus.types[entities.types[row]]
        readings[key][name] = readings[key].get(name, 0) + int(entities.counts[row])
        lengths[key] = int(entities.lengths[row])
    forms = []
    for key, counts in readings.items():
        if key in outside:
            counts[OUTSIDE_READING] = outside[key]
        ordered = dict(sorted(counts.items(), key=lambda item: -item[1]))
        certainty = wilson_lower(next(iter(ordered.values())), sum(ordered.values()))
        forms.append(Form(key, ordered, certainty, {}, lengths[key]))
    forms.sort(key=lambda form: form.rank, reverse=True)
    _find_places(corpus, [form for form in forms if _is_slip(form)][: 2 * _KEPT])
    return forms


def wilson_lower(successes: int, trials: int, z: float = 1.96) -> float:
    """The lower end of the Wilson score interval of a share (Wilson, 1927).

    >>> round(wilson_lower(24, 26), 2), round(wilson_lower(2, 3), 2), round(wilson_lower(12, 22), 2)
    (0.76, 0.21, 0.35)
    """
    p = successes / trials
    spread = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return float((p + z * z / (2 * trials) - spread) / (1 + z * z / trials))


def _first_words(corpus: Corpus, entities: Entities) -> npt.NDArray[np.bool_]:
    """Which forms begin an entity: ``[forms]``; nowhere else need an entity be looked for."""
    firsts = np.zeros(len(corpus.forms), dtype=bool)
    firsts[corpus.words_at(entities.first)] = True
    return firsts


def _matches(corpus: Corpus, wanted: dict[int, Hashes], firsts: npt.NDArray[np.bool_]) -> Any:
    """Places where wanted words stand wholly outside entities: (hashes, first words) for each chunk and length."""
    for chunk in corpus.chunks():
        outside = chunk.table.types[chunk.tags] < 0
        candidates = np.flatnonzero(outside & firsts[chunk.words])
        if not len(candidates):
            continue
        hashes = RangeHashes(mix(chunk.words))
        inside = np.concatenate([[0], np.cumsum(~outside)])
        sentence_ends = chunk.offsets[1:][chunk.sentence_of(candidates)]
        for length, values in wanted.items():
            ends = candidates + length
            fits = ends <= sentence_ends
            starts, ends = candidates[fits], ends[fits]
            clear = inside[ends] == inside[starts]
            starts, ends = starts[clear], ends[clear]
            found = hashes(starts, ends)
            at = np.searchsorted(values, found)
            at[at == len(values)] = 0
            hit = values[at] == found
            if hit.any():
                yield found[hit], starts[hit] + chunk.first_word


def _count_outside(corpus: Corpus, wanted: dict[int, Hashes], firsts: npt.NDArray[np.bool_]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for found, _ in _matches(corpus, wanted, firsts):
        distinct, each = np.unique(found, return_counts=True)
        for key, count in zip(distinct.tolist(), each.tolist(), strict=True):
            counts[key] += count
    return dict(counts)


def _find_places(corpus: Corpus, forms: list[Form]) -> None:
    """Add the first places of each reading to some forms."""
    if not forms:
        return
    by_hash = {form.hash: form for form in forms}
    wanted = np.array(sorted(by_hash), dtype=np.uint64)

    def note(keys: Hashes, names: npt.NDArray[np.int16], words: npt.NDArray[np.int64]) -> None:
        # Only the first few of each key: of a frequent word there are thousands.
        order = np.lexsort((words, names, keys))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (keys[order][1:] != keys[order][:-1]) | (names[order][1:] != names[order][:-1])
        rank = np.arange(len(order)) - np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        few = order[rank < _PLACES]
        for key, index, word in zip(keys[few].tolist(), names[few].tolist(), words[few].tolist(), strict=True):
            name = OUTSIDE_READING if index < 0 else corpus.types[index]
            places = by_hash[key].places.setdefault(name, [])
            if len(places) < _PLACES:
                places.append(word)

    firsts = np.zeros(len(corpus.forms), dtype=bool)
    for chunk in corpus.chunks():
        spans = chunk.spans()
        found = RangeHashes(mix(chunk.words))(spans.starts, spans.ends)
        hit = np.isin(found, wanted)
        firsts[chunk.words[spans.starts[hit]]] = True
        note(found[hit], spans.types[hit], spans.starts[hit] + chunk.first_word)
    by_length: dict[int, list[int]] = defaultdict(list)
    for form in forms:
        by_length[form.length].append(form.hash)
    arrays = {length: np.array(sorted(keys), dtype=np.uint64) for length, keys in by_length.items()}
    for found, words in _matches(corpus, arrays, firsts):
        note(found, np.full(len(words), -1, dtype=np.int16), words)


def _finding(corpus: Corpus, forms: list[Form], code: str, message: str, advice: str) -> Finding:
    clear = [form for form in forms if form.certainty >= _CLEAR]
    cases = sum(form.unusual_count for form in clear)
    text = message.format(forms=plural(len(forms), "form"), are="is" if len(forms) == 1 else "are")
    if clear:
        text += f"; of {len(clear):,} the usual reading is clear, with {plural(cases, 'place')} against it"
    details = [_as_json(corpus, form) for form in forms[:_KEPT] if form.places]
    top = next((form for form in forms if form.places), None)
    example = None
    if top is not None:
        unusual = next(reading for reading in reversed(top.readings) if top.places.get(reading))
        sentence, word = sentence_at(corpus, top.places[unusual][0])
        example = corpus.example(sentence, word, word + top.length)
    return Finding(code, "warning" if clear else "info", len(forms), text, example, advice, details)


def _as_json(corpus: Corpus, form: Form) -> dict[str, Any]:
    readings = []
    text = ""
    for reading, count in form.readings.items():
        places = []
        for word in form.places.get(reading, []):
            sentence, at = sentence_at(corpus, word)
            example = corpus.example(sentence, at, at + form.length)
            text = text or " ".join(corpus.tokens(sentence)[at : at + form.length])
            places.append({"file": example.file, "line": example.line, "text": example.text})
        readings.append({"reading": reading, "count": count, "places": places})
    return {"form": text, "certainty": round(form.certainty, 4), "readings": readings}
