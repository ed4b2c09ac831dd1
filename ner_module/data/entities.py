"""Entities as `predict` writes them, one sentence a line, and as `NERTagger` returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ner_module.data.sentence import Sentence
from ner_module.tagging import LabelSet


def prediction(
    sentence: Sentence,
    label_ids: Sequence[int],
    scores: Sequence[float],
    labels: LabelSet,
    top: Sequence[Sequence[float]] | None = None,
    top_ids: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """The entities of one sentence.

    Args:
        sentence: raw text with its words' offsets, or words alone.
        label_ids: the predicted label of each word.
        scores: the probability of each of them.
        labels: the model's labels.
        top: the highest probabilities of each word; with them the result has ``word_tags``, one object a word:
            ``{"text", "start", "end", "tag", "score", "probabilities": {label: probability}}``.
        top_ids: whose they are.

    Returns:
        ``{"text": …, "entities": […]}`` with ``start`` and ``end`` in characters, or ``{"tokens": …, "entities": […]}``
        with ``start`` and ``end`` in words. ``score`` is the mean probability of the entity's words, 4 decimals.
    """
    raw, tokens = sentence.text, sentence.tokens
    places = sentence.offsets if raw is not None and sentence.offsets else [(i, i + 1) for i in range(len(tokens))]
    entities = []
    for start, end, entity_type in labels.spans([labels.names[label] for label in label_ids]):
        first, last = places[start][0], places[end - 1][1]
        text = " ".join(tokens[start:end]) if raw is None else raw[first:last]
        score = round(sum(scores[start:end]) / (end - start), 4)
        entities.append({"type": entity_type, "text": text, "start": first, "end": last, "score": score})
    given = {"tokens": tokens} if raw is None else {"text": raw}
    if top is None:
        return {**given, "entities": entities}
    word_tags = []
    for word, (text, (start, end), label, score) in enumerate(zip(tokens, places, label_ids, scores, strict=True)):
        found = {labels.names[index]: round(value, 4) for index, value in zip(top_ids[word], top[word], strict=True)}
        place = {"text": text, "start": start, "end": end}
        word_tags.append(place | {"tag": labels.names[label], "score": round(score, 4), "probabilities": found})
    return {**given, "entities": entities, "word_tags": word_tags}
