"""F1 on parts of the entities: seen in training or not, by length, by frequency in training; and by confidence.

Each part is defined by a property that an entity has by itself, its words and type, whether gold or predicted. A
correct prediction then lies in the same part as its gold entity, so that precision, recall and F1 of a part are well
defined, and the counts of all parts add up to the whole.

Why by training entities: much of a test set's F1 is memory (Augenstein, Derczynski and Bontcheva, "Generalisation in
named entity recognition", 2017, https://doi.org/10.1016/j.csl.2017.01.012).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ner_module.errors import DataError
from ner_module.extras.analysis.sentences import TaggedSentence
from ner_module.files import read_json_object
from ner_module.tagging import Span

TrainEntities = Mapping[str, Mapping[str, int]]
"""Type -> words joined by single spaces -> how often that entity occurs in the training data."""

LENGTHS = ("1 word", "2 words", "3 words", "4 words", "5 words or more")
SEEN = ("seen with this type", "seen with other types only", "words never seen")
FREQUENCIES = ("never", "once", "2 to 4 times", "5 to 9 times", "10 to 49 times", "50 times or more")


class Counts(NamedTuple):
    """How many entities are correct, predicted and gold; scores are 0 where a denominator is 0."""

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
) -> dict[str, Counts]:
    """Counts of each part.

    Args:
        sentences: the sentences.
        part_of: which part an entity belongs to; must depend on its words and type only.
        parts: all parts, in the order wanted.
    """
    counts = {part: [0, 0, 0] for part in parts}
    for sentence in sentences:
        found = set(sentence.predicted).intersection(sentence.gold)
        for column, spans in enumerate((found, sentence.predicted, sentence.gold)):
            for span in spans:
                counts[part_of(sentence, span)][column] += 1
    return {part: Counts(*count) for part, count in counts.items()}


def by_length(sentence: TaggedSentence, span: Span) -> str:
    """The part of :data:`LENGTHS` that an entity belongs to."""
    return LENGTHS[min(span.end - span.start, len(LENGTHS)) - 1]


def by_training(train_entities: TrainEntities) -> Callable[[TaggedSentence, Span], str]:
    """The part of :data:`SEEN`; an entity is seen if the training data has exactly its words, case included."""
    all_texts = {text for texts in train_entities.values() for text in texts}

    def part_of(sentence: TaggedSentence, span: Span) -> str:
        text = sentence.text(span)
        if text in train_entities.get(span.entity_type, {}):
            return SEEN[0]
        return SEEN[1] if text in all_texts else SEEN[2]

    return part_of


def by_frequency(train_entities: TrainEntities) -> Callable[[TaggedSentence, Span], str]:
    """The part of :data:`FREQUENCIES`: how often the entity occurs in training with this type."""

    def part_of(sentence: TaggedSentence, span: Span) -> str:
        count = train_entities.get(span.entity_type, {}).get(sentence.text(span), 0)
        return FREQUENCIES[sum(count >= least for least in (1, 2, 5, 10, 50))]

    return part_of


def read_train_entities(path: Path) -> TrainEntities:
    """Read ``train_entities.json`` of a run.

    Raises:
        DataError: it is not an object of objects of numbers.
    """
    found = read_json_object(path)
    if not all(isinstance(texts, dict) for texts in found.values()):
        problem = 'it is not of the form {"TYPE": {"words of the entity": count}}'
        raise DataError(path, None, problem, "`python -m ner_module fit` writes it into the run directory")
    return found


class Bin(NamedTuple):
    """Predicted entities of similar confidence: how many, their mean confidence, and the share that is correct."""

    num_predicted: int
    confidence: float
    precision: float


def reliability(confidence: Sequence[float], correct: Sequence[bool], num_bins: int = 10) -> list[Bin]:
    """Sort predictions into bins of equal width; bin ``i`` of ``n`` holds confidences in ``(i / n, (i + 1) / n]``.

    Of the entities predicted with confidence 0.8 about 80 % should be correct.

    Args:
        confidence: the mean probability of the predicted tags of each entity's words.
        correct: whether the entity is correct.
        num_bins: how many bins.

    >>> [each for each in reliability([0.95, 0.95, 0.55], [True, False, True]) if each.num_predicted]
    [Bin(num_predicted=1, confidence=0.55, precision=1.0), Bin(num_predicted=2, confidence=0.95, precision=0.5)]
    """
    values = np.asarray(confidence, dtype=np.float64)
    index = np.searchsorted(np.arange(1, num_bins) / num_bins, values)
    numbers = np.bincount(index, minlength=num_bins)
    means = [
        np.bincount(index, weights, minlength=num_bins) / np.maximum(numbers, 1)
        for weights in (values, np.asarray(correct, dtype=np.float64))
    ]
    return [Bin(int(n), float(mean), float(share)) for n, mean, share in zip(numbers, *means, strict=True)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of confidence and precision, weighted by predictions.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015); Guo et al.,
    "On calibration of modern neural networks" (2017, https://arxiv.org/abs/1706.04599). 0 without predictions.

    >>> round(calibration_error(reliability([0.95, 0.95, 0.55], [True, False, True])), 4)
    0.45
    """
    total = sum(each.num_predicted for each in bins)
    return sum(abs(each.confidence - each.precision) * each.num_predicted for each in bins) / max(total, 1)
