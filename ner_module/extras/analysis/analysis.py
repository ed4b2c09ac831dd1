"""What the predictions of a run say beyond one F1: computed once, shown by terminal, report and Weights & Biases.

Scores of a *part* of the entities (by length, seen in training or not) rest on a property that an entity has by itself,
its words and type, whether gold or predicted. A correct prediction then lies in the same part as its gold entity, and
the counts of all parts add up to the whole.

Why by training entities: much of a test set's F1 is memory (Augenstein, Derczynski and Bontcheva, "Generalisation in
named entity recognition", 2017, https://doi.org/10.1016/j.csl.2017.01.012).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ner_module.errors import DataError
from ner_module.extras.analysis.errors import Pairing, error_records, pair_entities
from ner_module.extras.analysis.overlap import MATCHING, overlap_counts
from ner_module.extras.analysis.sentences import (
    Counts,
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_predictions,
)
from ner_module.extras.analysis.uncertainty import Interval, f1_intervals
from ner_module.files import read_json_object
from ner_module.tagging import Span
from ner_module.training.results import is_as_written

TrainEntities = Mapping[str, Mapping[str, int]]
"""Type -> words joined by single spaces -> how often that entity occurs in the training data."""

SEEN = ("seen with this type", "seen with other types only", "never seen")


class Bin(NamedTuple):
    """Predicted entities of similar confidence: how many, their mean confidence, and the share that is correct."""

    num_predicted: int
    confidence: float
    precision: float


@dataclass(frozen=True)
class Analysis:
    """Everything :func:`analyse` found; plain data."""

    split: str
    """``test`` or ``validation``."""
    sentences: list[TaggedSentence]
    pairings: list[list[Pairing]]
    """Gold and predicted entities of each sentence, paired."""
    micro: Counts
    f1: Interval
    by_type: dict[str, tuple[Counts, Interval]]
    """For each type its counts, and its F1 with interval."""
    overlap: dict[str, Counts]
    """By :data:`~ner_module.extras.analysis.overlap.MATCHING`."""
    by_training: dict[str, Counts]
    """By :data:`SEEN`; empty without training entities."""
    reliability: list[Bin]
    """Of entity confidences; empty without scores or predicted entities."""

    @cached_property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """Counts of ``(type, outcome)``; the type is the gold one, of spurious entities the predicted one."""
        all_pairings = chain.from_iterable(self.pairings)
        return Counter((pairing.types[pairing.gold is None], pairing.outcome) for pairing in all_pairings)

    @cached_property
    def confusion(self) -> Counter[tuple[str, str]]:
        """Counts of ``(gold type, predicted type)``, whatever the boundaries, with ``no entity`` for none.

        Rows add up to the number of gold entities of a type, columns to the predicted ones.
        """
        return Counter(pairing.types for pairing in chain.from_iterable(self.pairings))

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """Every error with its sentence; see :func:`~ner_module.extras.analysis.errors.error_records`."""
        return error_records(self.sentences, self.pairings)

    def numbers(self) -> dict[str, float]:
        """The scalars worth keeping besides ``f1``, for ``results.json`` and loggers.

        Keys: ``f1_low`` and ``f1_high`` (95 % interval); ``f1_partial``, ``f1_type``, ``f1_boundary`` (SemEval-2013's
        partial, type and exact matching); of entities that occur in training with this type, and of those that do not,
        ``f1_seen`` and ``f1_unseen``; ``calibration_error``. Those that cannot be computed are left out.
        """
        found = {"f1_low": self.f1.low, "f1_high": self.f1.high}
        for key, matching in (("f1_partial", "partial"), ("f1_type", "type"), ("f1_boundary", "exact")):
            found[key] = self.overlap[matching].scores[2]
        if self.by_training:
            seen, *unseen = self.by_training.values()
            for key, part in (("f1_seen", seen), ("f1_unseen", Counts(*map(sum, zip(*unseen, strict=True))))):
                if part.num_gold:
                    found[key] = part.scores[2]
        if self.reliability:
            found["calibration_error"] = calibration_error(self.reliability)
        return found


def analyse(run_dir: Path, split: str) -> Analysis:
    """Analyse the predictions of a run.

    Args:
        run_dir: the run directory; ``train_entities.json`` in it tells which entities were seen in training.
        split: ``test`` or ``validation``.

    Raises:
        DataError: a file cannot be read.
    """
    sentences = read_predictions(run_dir, split)
    train_file, results = run_dir / "train_entities.json", read_json_object(run_dir / "results.json")
    knows_seen = train_file.is_file() and is_as_written(train_file, run_dir, results)
    types = entity_types_of(sentences)
    counts = counts_by_sentence(sentences, types)
    f1, f1_by_type = f1_intervals(counts)
    by_type = zip(types, counts.sum(0).tolist(), f1_by_type, strict=True)
    golds, predictions = [each.gold for each in sentences], [each.predicted for each in sentences]
    scored = [(each.confidence(span), span in each.gold) for each in sentences for span in each.predicted]
    return Analysis(
        split,
        sentences,
        list(map(pair_entities, golds, predictions)),
        Counts(*counts.sum((0, 1)).tolist()),
        f1,
        {name: (Counts(*totals), interval) for name, totals, interval in by_type},
        {matching: overlap_counts(predictions, golds, matching) for matching in MATCHING},
        by_training(sentences, read_train_entities(train_file)) if knows_seen else {},
        reliability([(confidence, correct) for confidence, correct in scored if confidence is not None]),
    )


def by_training(sentences: Sequence[TaggedSentence], train_entities: TrainEntities) -> dict[str, Counts]:
    """Counts by :data:`SEEN`; an entity is seen if the training data has exactly its words, case included."""
    all_texts = set().union(*train_entities.values())

    def part_of(sentence: TaggedSentence, span: Span) -> str:
        text = sentence.text(span)
        if text in train_entities.get(span.entity_type, {}):
            return SEEN[0]
        return SEEN[1] if text in all_texts else SEEN[2]

    totals = counts_by_sentence(sentences, SEEN, part_of).sum(0).tolist()
    return {part: Counts(*total) for part, total in zip(SEEN, totals, strict=True)}


def read_train_entities(path: Path) -> TrainEntities:
    """Read ``train_entities.json`` of a run; raises a :class:`DataError` if it is not an object of objects."""
    found = read_json_object(path, most=1 << 26)
    if not all(isinstance(texts, dict) for texts in found.values()):
        problem = 'it is not of the form {"TYPE": {"words of the entity": count}}'
        raise DataError(path, None, problem, "`python -m ner_module fit` writes it into the run directory")
    return found


def reliability(scored: Sequence[tuple[float, bool]], num_bins: int = 10) -> list[Bin]:
    """Sort predictions, each a confidence and whether it is correct, into bins of equal width; none without any.

    Bin ``i`` of ``n`` holds confidences in ``(i / n, (i + 1) / n]``.

    >>> [each for each in reliability([(0.95, True), (0.95, False), (0.55, True)]) if each.num_predicted]
    [Bin(num_predicted=1, confidence=0.55, precision=1.0), Bin(num_predicted=2, confidence=0.95, precision=0.5)]
    """
    if not scored:
        return []
    confidence, correct = np.asarray(scored, dtype=np.float64).T
    index = np.searchsorted(np.arange(1, num_bins) / num_bins, confidence)
    numbers = np.bincount(index, minlength=num_bins)
    means = [np.bincount(index, of, minlength=num_bins) / np.maximum(numbers, 1) for of in (confidence, correct)]
    return [Bin(*each) for each in zip(numbers.tolist(), *(mean.tolist() for mean in means), strict=True)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of confidence and precision, weighted by predictions.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015); Guo et al.,
    "On calibration of modern neural networks" (2017, https://arxiv.org/abs/1706.04599). 0 without predictions.
    """
    total = sum(each.num_predicted for each in bins)
    return sum(abs(each.confidence - each.precision) * each.num_predicted for each in bins) / max(total, 1)
