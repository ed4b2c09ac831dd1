"""Entities as output of `predict` and `NERTagger`, and counts of annotated entities."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from ner_module.data.encoded import EncodedSplit, Indices
from ner_module.data.sentence import Sentence
from ner_module.data.store import StoredSplit
from ner_module.tagging import LabelSet, Span


class OperatingPoint(Protocol):
    """Selects and scores predicted entities."""

    @property
    def has_candidates(self) -> bool:
        """Whether candidates are requested, which need all probabilities."""

    def score(self, entity_type: str, mean: float) -> float | None:
        """The score of an entity, from the mean probability of its words; ``None`` drops it."""

    def find_candidates(
        self, probabilities: Any, scores: Sequence[float], labels: LabelSet
    ) -> list[tuple[Span, float]]:
        """The candidates of a sentence and their scores, from the probabilities of all labels of each word."""


def prediction(
    sentence: Sentence,
    label_ids: Sequence[int],
    scores: Sequence[float],
    labels: LabelSet,
    top: Sequence[Sequence[float]] | None = None,
    top_ids: Sequence[Sequence[int]] = (),
    point: OperatingPoint | None = None,
    probabilities: Sequence[Sequence[float]] = (),
) -> dict[str, Any]:
    """The entities of one sentence.

    Args:
        sentence: raw text with its words' offsets, or words alone.
        label_ids: the predicted label of each word.
        scores: the probability of each of them.
        labels: the model's labels.
        top: the highest probabilities of each word; with them the result has ``word_tags``, one object per word:
            ``{"text", "start", "end", "tag", "score", "probabilities": {label: probability}}``.
        top_ids: the label ids of ``top``.
        point: selects and scores entities; with candidates the result has ``candidates``, like ``entities``.
        probabilities: of all labels for each word, for candidates.

    Returns:
        ``{"text": …, "entities": […]}`` with ``start`` and ``end`` in characters, or ``{"tokens": …, "entities": […]}``
        with ``start`` and ``end`` in words, after the sentence's ``id``, if any. ``score`` is the mean probability of
        the entity's words, or the point's score for it, with 4 decimals.
    """
    raw, tokens = sentence.text, sentence.tokens
    places = sentence.offsets if raw is not None and sentence.offsets else [(i, i + 1) for i in range(len(tokens))]

    def entity(span: Span, score: float) -> dict[str, Any]:
        first, last = places[span.start][0], places[span.end - 1][1]
        text = " ".join(tokens[span.start : span.end]) if raw is None else raw[first:last]
        return {"type": span.entity_type, "text": text, "start": first, "end": last, "score": round(score, 4)}

    result: dict[str, Any] = {} if sentence.id is None else {"id": sentence.id}
    result |= {"tokens": tokens} if raw is None else {"text": raw}
    result["entities"] = []
    for span in labels.spans([labels.names[label] for label in label_ids]):
        mean = sum(scores[span.start : span.end]) / (span.end - span.start)
        score = mean if point is None else point.score(span.entity_type, mean)
        if score is not None:
            result["entities"].append(entity(span, score))
    if point is not None and point.has_candidates:
        result["candidates"] = [entity(*found) for found in point.find_candidates(probabilities, scores, labels)]
    if top is None:
        return result
    word_tags = []
    for word, (text, (start, end), label, score) in enumerate(zip(tokens, places, label_ids, scores, strict=True)):
        likeliest = {
            labels.names[index]: round(value, 4) for index, value in zip(top_ids[word], top[word], strict=True)
        }
        place = {"text": text, "start": start, "end": end}
        word_tags.append(place | {"tag": labels.names[label], "score": round(score, 4), "probabilities": likeliest})
    return result | {"word_tags": word_tags}


def count_entities(
    stored: StoredSplit, encoded: EncodedSplit, sentences: Indices, labels: LabelSet
) -> dict[str, dict[str, int]]:
    """Count the entities of given sentences: type -> surface form (words joined by spaces) -> count."""
    entities: dict[str, dict[str, int]] = defaultdict(Counter)
    for index in sentences.tolist():
        spans = labels.spans([encoded.tag_names[tag] for tag in encoded.word_labels[encoded.words_of(index)]])
        tokens = stored.tokens(index) if spans else []
        for start, end, entity_type in spans:
            entities[entity_type][" ".join(tokens[start:end])] += 1
    return dict(entities)
