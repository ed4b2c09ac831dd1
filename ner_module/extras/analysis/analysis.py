"""What the predictions of a run say beyond one F1: computed once, shown by terminal, report and Weights & Biases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args

from ner_module.extras.analysis.errors import Pairing, error_records, pair_entities
from ner_module.extras.analysis.overlap import Matching, OverlapCounts, overlap_counts
from ner_module.extras.analysis.parts import (
    FREQUENCIES,
    LENGTHS,
    SEEN,
    Bin,
    Counts,
    breakdown,
    by_frequency,
    by_length,
    by_training,
    calibration_error,
    read_train_entities,
    reliability,
)
from ner_module.extras.analysis.sentences import (
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_run_predictions,
)
from ner_module.extras.analysis.uncertainty import Interval, f1_intervals
from ner_module.files import write_atomically


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
    """Micro F1 with its 95 % bootstrap interval over sentences."""
    by_type: dict[str, tuple[Counts, Interval]]
    """For each type its counts, and its F1 with interval."""
    overlap: dict[str, OverlapCounts]
    """Outcomes by SemEval-2013 matching."""
    by_length: dict[str, Counts]
    by_training: dict[str, Counts] | None
    """Of entities seen in training or not; ``None`` without training entities."""
    by_frequency: dict[str, Counts] | None
    reliability: list[Bin]
    """Of entity confidences; empty without scores or predicted entities."""

    @property
    def all_pairings(self) -> list[Pairing]:
        """The pairs of all sentences."""
        return list(chain.from_iterable(self.pairings))

    def numbers(self) -> dict[str, float]:
        """The scalars worth keeping beside ``f1``, for ``results.json`` and loggers.

        Keys: ``f1_low`` and ``f1_high`` (95 % interval); ``f1_partial``, ``f1_type``, ``f1_boundary`` (SemEval-2013's
        partial, type and exact matching); of entities that occur in training with this type, and of those that do not,
        ``f1_seen`` and ``f1_unseen``, where there are any; ``calibration_error``, where there are scores.
        """
        found = {"f1_low": self.f1.low, "f1_high": self.f1.high}
        for key, matching in (("partial", "partial"), ("type", "type"), ("boundary", "exact")):
            found[f"f1_{key}"] = self.overlap[matching].scores[2]
        if self.by_training is not None and self.by_frequency is not None:
            for key, part in (("f1_seen", self.by_training[SEEN[0]]), ("f1_unseen", self.by_frequency[FREQUENCIES[0]])):
                if part.num_gold:
                    found[key] = part.f1
        if self.reliability:
            found["calibration_error"] = calibration_error(self.reliability)
        return found

    def write_errors(self, path: Path) -> int:
        """Write every error with its sentence, one JSON object a line; returns how many there are."""
        records = error_records(self.sentences, self.pairings)
        write_atomically(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
        return len(records)


def analyse(run_dir: Path, split: str) -> Analysis:
    """Analyse the predictions of a run.

    Args:
        run_dir: the run directory; ``train_entities.json`` in it tells which entities were seen in training.
        split: ``test`` or ``validation``.

    Raises:
        DataError: a file cannot be read.
    """
    sentences = read_run_predictions(run_dir, split)
    train_file = run_dir / "train_entities.json"
    train = read_train_entities(train_file) if train_file.is_file() else None
    types = entity_types_of(sentences)
    counts = counts_by_sentence(sentences, types)
    f1, f1_by_type = f1_intervals(counts)
    predicted, gold = [each.predicted for each in sentences], [each.gold for each in sentences]
    return Analysis(
        split,
        sentences,
        [pair_entities(sentence.gold, sentence.predicted) for sentence in sentences],
        Counts(*counts.sum((0, 1)).tolist()),
        f1,
        {
            name: (Counts(*totals), interval)
            for name, totals, interval in zip(types, counts.sum(0).tolist(), f1_by_type, strict=True)
        },
        {matching: overlap_counts(predicted, gold, matching) for matching in get_args(Matching)},
        breakdown(sentences, by_length, LENGTHS),
        None if train is None else breakdown(sentences, by_training(train), SEEN),
        None if train is None else breakdown(sentences, by_frequency(train), FREQUENCIES),
        _entity_reliability(sentences),
    )


def _entity_reliability(sentences: Sequence[TaggedSentence]) -> list[Bin]:
    predicted = [
        (sentence.confidence(span), span in sentence.gold) for sentence in sentences for span in sentence.predicted
    ]
    confidences = [confidence for confidence, _ in predicted if confidence is not None]
    if not confidences or len(confidences) < len(predicted):
        return []
    return reliability(confidences, [correct for _, correct in predicted])
