"""What kind of error each entity is: gold and predicted entities in pairs, and a class for each pair.

Within a sentence gold and predicted entities are paired one to one: first those that share the most words; of equals
those with the same type, then those further left. The pair, or the entity that found no partner, is

* ``correct``: same words, same type;
* ``wrong type``: same words, another type;
* ``wrong boundary``: same type, but only some words shared;
* ``wrong type and boundary``: only some words shared, and another type;
* ``missed``: a gold entity without a partner;
* ``spurious``: a predicted entity without a partner.

So each gold entity counts once among all but ``spurious``, and each predicted one once among all but ``missed``. The
classes follow MUC-5 (https://aclanthology.org/M93-1007), whose *incorrect* is split by what is wrong. They differ from
:mod:`~ner_module.extras.analysis.overlap` in the pairing, which takes entities from left to right there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ner_module.extras.analysis.sentences import TaggedSentence
from ner_module.tagging import Span

OUTCOMES = ("correct", "wrong boundary", "wrong type", "wrong type and boundary", "missed", "spurious")

NO_ENTITY = "no entity"


class Pairing(NamedTuple):
    """A gold entity and the predicted one it is compared with; one of them is ``None`` where there is no partner."""

    gold: Span | None
    predicted: Span | None

    @property
    def outcome(self) -> str:
        """One of :data:`OUTCOMES`."""
        if self.gold is None:
            return "spurious"
        if self.predicted is None:
            return "missed"
        same_type = self.gold.entity_type == self.predicted.entity_type
        if self.gold[:2] == self.predicted[:2]:
            return "correct" if same_type else "wrong type"
        return "wrong boundary" if same_type else "wrong type and boundary"

    @property
    def types(self) -> tuple[str, str]:
        """The gold and the predicted type, :data:`NO_ENTITY` where there is none."""
        return (
            self.gold.entity_type if self.gold else NO_ENTITY,
            self.predicted.entity_type if self.predicted else NO_ENTITY,
        )


def pair_entities(gold: Sequence[Span], predicted: Sequence[Span]) -> list[Pairing]:
    """Pair the entities of one sentence as the module's docstring says, ordered by position.

    >>> gold = [Span(0, 2, "PER"), Span(4, 7, "ORG"), Span(8, 9, "LOC")]
    >>> predicted = [Span(0, 2, "LOC"), Span(3, 5, "ORG"), Span(5, 7, "LOC")]
    >>> for pairing in pair_entities(gold, predicted):
    ...     print(pairing.outcome, tuple(pairing.gold or ()), tuple(pairing.predicted or ()))
    wrong type (0, 2, 'PER') (0, 2, 'LOC')
    spurious () (3, 5, 'ORG')
    wrong type and boundary (4, 7, 'ORG') (5, 7, 'LOC')
    missed (8, 9, 'LOC') ()
    """
    candidates = []
    for g in gold:
        for p in predicted:
            shared = min(g.end, p.end) - max(g.start, p.start)
            if shared > 0:
                candidates.append((-shared, g.entity_type != p.entity_type, g, p))
    pairings = []
    free_gold, free_predicted = set(gold), set(predicted)
    for _, _, g, p in sorted(candidates):
        if g in free_gold and p in free_predicted:
            free_gold.remove(g)
            free_predicted.remove(p)
            pairings.append(Pairing(g, p))
    pairings += [Pairing(g, None) for g in free_gold] + [Pairing(None, p) for p in free_predicted]
    return sorted(pairings, key=lambda pairing: min(span for span in pairing if span is not None))


def error_records(sentences: Sequence[TaggedSentence], pairings: Sequence[Sequence[Pairing]]) -> list[dict[str, Any]]:
    """Every error with its sentence, in input order, ready for JSON; ``pairings`` holds the pairs of each sentence.

    Returns:
        Objects with ``sentence`` (its number from 1), ``file`` and ``line`` (where it begins, or null), ``error`` (the
        outcome), ``gold`` and ``predicted`` (an entity, or null) and ``tokens``. An entity has ``type``, ``text``,
        ``start`` and ``end`` (words, end exclusive), and a predicted one ``score``.
    """
    return [
        {
            "sentence": number,
            "file": sentence.file,
            "line": sentence.line,
            "error": pairing.outcome,
            "gold": _entity(sentence, pairing.gold, with_score=False),
            "predicted": _entity(sentence, pairing.predicted, with_score=True),
            "tokens": sentence.tokens,
        }
        for number, (sentence, pairs) in enumerate(zip(sentences, pairings, strict=True), start=1)
        for pairing in pairs
        if pairing.outcome != "correct"
    ]


def _entity(sentence: TaggedSentence, span: Span | None, with_score: bool) -> dict[str, Any] | None:
    if span is None:
        return None
    found = {"type": span.entity_type, "text": sentence.text(span), "start": span.start, "end": span.end}
    score = sentence.confidence(span) if with_score else None
    return found if score is None else {**found, "score": round(score, 4)}
