"""F1 on parts of the entities: seen in training or not, by length, by frequency in training.

Each part is defined by a property that an entity has by itself, its words and type, whether gold or predicted. A
correct prediction then lies in the same part as its gold entity, so that precision, recall and F1 of a part are well
defined: correct, predicted and gold entities with that property. The counts of all parts add up to the whole.

Why by training entities: much of a test set's F1 is memory (Augenstein, Derczynski and Bontcheva, "Generalisation in
named entity recognition", 2017, https://doi.org/10.1016/j.csl.2017.01.012).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ner_module.extras.analysis.sentences import PredictionsError, TaggedSentence
from ner_module.tagging import Span

TrainEntities = Mapping[str, Mapping[str, int]]
"""Type -> words joined by single spaces -> how often that entity occurs in the training data."""


class PartScores(NamedTuple):
    """Precision, recall and F1 of one part of the entities; 0 where a denominator is 0."""

    true_positives: int
    num_predicted: int
    num_gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are correct."""
        return self.true_positives / max(1, self.num_predicted)

    @property
    def recall(self) -> float:
        """Share of the gold entities that were found."""
        return self.true_positives / max(1, self.num_gold)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.true_positives / max(1, self.num_predicted + self.num_gold)


def breakdown(
    sentences: Iterable[TaggedSentence], part_of: Callable[[TaggedSentence, Span], str], parts: Sequence[str]
) -> dict[str, PartScores]:
    """Scores of each part.

    Args:
        sentences: the sentences.
        part_of: which part an entity belongs to; must depend on its words and type only.
        parts: all parts, in the order wanted.

    >>> new_york, rome = Span(0, 2, "LOC"), Span(2, 3, "LOC")
    >>> sentence = TaggedSentence(["New", "York", "Rome"], [new_york, rome], [rome], None)
    >>> for length, scores in breakdown([sentence], by_length, LENGTHS).items():
    ...     if scores.num_gold:
    ...         print(length, scores)
    1 word PartScores(true_positives=1, num_predicted=1, num_gold=1)
    2 words PartScores(true_positives=0, num_predicted=0, num_gold=1)
    """
    counts = {part: [0, 0, 0] for part in parts}
    for sentence in sentences:
        found = set(sentence.predicted).intersection(sentence.gold)
        for column, spans in enumerate((found, sentence.predicted, sentence.gold)):
            for span in spans:
                counts[part_of(sentence, span)][column] += 1
    return {part: PartScores(*count) for part, count in counts.items()}


LENGTHS = ("1 word", "2 words", "3 words", "4 words", "5 words or more")


def by_length(sentence: TaggedSentence, span: Span) -> str:
    """The part of :data:`LENGTHS` that an entity belongs to."""
    return LENGTHS[min(span.end - span.start, len(LENGTHS)) - 1]


SEEN = ("seen with this type", "seen with other types only", "words never seen")


def by_training(train_entities: TrainEntities) -> Callable[[TaggedSentence, Span], str]:
    """Tells the part of :data:`SEEN`; case and all count."""
    all_texts = {text for texts in train_entities.values() for text in texts}

    def part_of(sentence: TaggedSentence, span: Span) -> str:
        text = sentence.text(span)
        if text in train_entities.get(span.entity_type, {}):
            return SEEN[0]
        return SEEN[1] if text in all_texts else SEEN[2]

    return part_of


FREQUENCIES = ("never", "once", "2 to 4 times", "5 to 9 times", "10 to 49 times", "50 times or more")


def by_frequency(train_entities: TrainEntities) -> Callable[[TaggedSentence, Span], str]:
    """Tells the part of :data:`FREQUENCIES`: how often the entity occurs in training with this type."""

    def part_of(sentence: TaggedSentence, span: Span) -> str:
        count = train_entities.get(span.entity_type, {}).get(sentence.text(span), 0)
        return FREQUENCIES[sum(count >= least for least in (1, 2, 5, 10, 50))]

    return part_of


def read_train_entities(path: Path) -> TrainEntities:
    """Read ``train_entities.json`` of a run.

    Raises:
        PredictionsError: the file is missing or not an object of objects of numbers.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PredictionsError(
            f"cannot read training entities from {path} ({error}); `python -m ner_module fit` writes them into the run "
            "directory"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(texts, dict) for texts in found.values()):
        raise PredictionsError(f'{path}: not of the form {{"TYPE": {{"words of the entity": count}}}}')
    return found
