"""What the predictions of a run say beyond one F1: `analyse`, its tables for the terminal, its errors as JSONL.

The lead-in to the other modules here: intervals (`uncertainty.py`), kinds of errors (`errors.py`), partly right spans
(`overlap.py`), parts of the entities (`breakdown.py`), confidence (`calibration.py`).

Not here: pages in HTML (`outputs/`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from rich import box
from rich.table import Table
from rich.text import Text

from ner_module.extras.analysis.breakdown import (
    FREQUENCIES,
    LENGTHS,
    SEEN,
    PartScores,
    breakdown,
    by_frequency,
    by_length,
    by_training,
    read_train_entities,
)
from ner_module.extras.analysis.calibration import Reliability, reliability
from ner_module.extras.analysis.errors import (
    NO_ENTITY,
    OUTCOMES,
    Pairing,
    count_outcomes,
    error_records,
    pair_entities,
    type_confusion,
)
from ner_module.extras.analysis.overlap import Matching, overlap_counts, overlap_scores
from ner_module.extras.analysis.sentences import (
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_predictions,
    span_tensors,
)
from ner_module.extras.analysis.uncertainty import Interval, bootstrap_f1, bootstrap_f1_by_type
from ner_module.metrics.functional import Scores
from ner_module.tagging import OUTSIDE

_TYPES_SHOWN = 10
"""A confusion matrix with more columns does not fit a terminal; the rarest types share one."""

_OTHER_TYPES = "other types"


@dataclass(frozen=True)
class ErrorReport:
    """Everything :func:`analyse` found; plain data, with tables for the terminal."""

    sentences: list[TaggedSentence]
    pairings: list[list[Pairing]]
    """Gold and predicted entities of each sentence, paired."""
    micro: PartScores
    """Scores of all entities."""
    f1: Interval
    """Micro F1 with its 95 % bootstrap interval over sentences."""
    by_type: dict[str, tuple[PartScores, Interval]]
    """For each type its scores, and its F1 with interval."""
    overlap: dict[str, Scores]
    """Scores by SemEval-2013 matching."""
    by_length: dict[str, PartScores]
    by_training: dict[str, PartScores] | None
    """Scores of entities seen in training or not; ``None`` without training entities."""
    by_frequency: dict[str, PartScores] | None
    reliability: Reliability | None
    """Of entity confidences; ``None`` without scores or predicted entities."""

    @property
    def all_pairings(self) -> list[Pairing]:
        """The pairs of all sentences."""
        return [pairing for of_sentence in self.pairings for pairing in of_sentence]

    def numbers(self) -> dict[str, float]:
        """The scalars worth keeping beside ``f1``, for `results.json` and loggers.

        Keys: ``f1_low`` and ``f1_high`` (95 % interval); ``f1_partial``, ``f1_type``, ``f1_boundary`` (SemEval-2013's
        partial, type and exact matching); of entities that occur in training with this type, and of those that do not,
        ``f1_seen`` and ``f1_unseen``, where there are any; ``calibration_error``, where there are scores.
        """
        found = {"f1_low": self.f1.low, "f1_high": self.f1.high}
        for key, matching in (("partial", "partial"), ("type", "type"), ("boundary", "exact")):
            found[f"f1_{key}"] = float(self.overlap[matching].f1)
        if self.by_training is not None and self.by_frequency is not None:
            for key, part in (("f1_seen", self.by_training[SEEN[0]]), ("f1_unseen", self.by_frequency[FREQUENCIES[0]])):
                if part.num_gold:
                    found[key] = part.f1
        if self.reliability is not None:
            found["calibration_error"] = self.reliability.expected_calibration_error
        return found

    def write_errors(self, path: Path) -> int:
        """Write every error with its sentence, one JSON object a line.

        :func:`~ner_module.extras.analysis.errors.error_records` describes the objects.

        Returns:
            How many errors there are.
        """
        records = error_records(self.sentences, self.pairings)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return len(records)

    def tables(self) -> list[Table]:
        """The tables, to be printed with ``rich.print``."""
        tables = [self._type_table(), self._outcome_table(), self._confusion_table(), self._overlap_table()]
        parts = (
            ("length", self.by_length),
            ("training", self.by_training),
            ("occurrences in training", self.by_frequency),
        )
        tables += [part_table(f"Entities by {name}", scores) for name, scores in parts if scores is not None]
        if self.reliability is not None:
            tables.append(reliability_table(self.reliability))
        return tables

    def _type_table(self) -> Table:
        table = new_table(
            "Entities by type (conlleval)", "type", "precision", "recall", "F1", "95 % interval", "gold", "predicted"
        )
        for name, (scores, interval) in {**self.by_type, "all (micro)": (self.micro, self.f1)}.items():
            counts = str(scores.num_gold), str(scores.num_predicted)
            add_row(table, name, *_decimals(scores), as_range(interval), *counts)
        return table

    def _outcome_table(self) -> Table:
        table = new_table("What became of the entities", "type", *OUTCOMES)
        outcomes = count_outcomes(self.all_pairings)
        for name in self.by_type:
            add_row(table, name, *(str(outcomes[name, outcome]) for outcome in OUTCOMES))
        totals = (sum(outcomes[name, outcome] for name in self.by_type) for outcome in OUTCOMES)
        add_row(table, "all", *map(str, totals))
        return table

    def _confusion_table(self) -> Table:
        frequent = sorted(self.by_type, key=lambda name: -self.by_type[name][0].num_gold)[:_TYPES_SHOWN]
        shown = [name for name in self.by_type if name in frequent]
        if len(shown) < len(self.by_type):
            shown.append(_OTHER_TYPES)
        shown.append(NO_ENTITY)
        confusion: Counter[tuple[str, str]] = Counter()
        for (gold, predicted), count in type_confusion(self.all_pairings).items():
            pair = [name if name in shown else _OTHER_TYPES for name in (gold, predicted)]
            confusion[pair[0], pair[1]] += count
        table = new_table("Gold types (rows) and predicted types, whatever the boundaries", "", *shown)
        for gold in shown:
            add_row(table, gold, *(str(confusion[gold, predicted] or "·") for predicted in shown))
        return table

    def _overlap_table(self) -> Table:
        table = new_table("Partly right entities (SemEval-2013)", "a match shares", "precision", "recall", "F1")
        words = {
            "strict": "boundaries and type",
            "exact": "boundaries",
            "partial": "boundaries; an overlap is half",
            "type": "type, and some word",
        }
        for matching, scores in self.overlap.items():
            add_row(table, f"{matching}: {words[matching]}", *(f"{float(score):.4f}" for score in scores))
        return table


def analyse(
    predictions_path: Path,
    train_entities_path: Path | None = None,
    scheme: str | None = None,
    outside_label: str | None = OUTSIDE,
) -> ErrorReport:
    """Analyse a predictions file.

    Args:
        predictions_path: ``RUN/predictions/{validation,test}.jsonl``.
        train_entities_path: ``RUN/train_entities.json``; without it nothing is said about seen and unseen entities.
        scheme: tagging scheme of the tags; found from the gold tags when it is not given.
        outside_label: for ``flat`` tags, the one that is no entity.

    Raises:
        PredictionsError: a file that cannot be read.
    """
    sentences = read_predictions(predictions_path, scheme, outside_label)
    train_entities = None if train_entities_path is None else read_train_entities(train_entities_path)
    types = entity_types_of(sentences)
    counts = counts_by_sentence(sentences, types)
    by_type = {
        name: (PartScores(*totals), interval)
        for name, totals, interval in zip(types, counts.sum(0).tolist(), bootstrap_f1_by_type(counts), strict=True)
    }
    predicted = span_tensors([sentence.predicted for sentence in sentences], types)
    gold = span_tensors([sentence.gold for sentence in sentences], types)
    return ErrorReport(
        sentences,
        [pair_entities(sentence.gold, sentence.predicted) for sentence in sentences],
        PartScores(*counts.sum((0, 1)).tolist()),
        bootstrap_f1(counts),
        by_type,
        {matching: overlap_scores(overlap_counts(predicted, gold, matching)) for matching in get_args(Matching)},
        breakdown(sentences, by_length, LENGTHS),
        None if train_entities is None else breakdown(sentences, by_training(train_entities), SEEN),
        None if train_entities is None else breakdown(sentences, by_frequency(train_entities), FREQUENCIES),
        _entity_reliability(sentences),
    )


def part_table(title: str, parts: Mapping[str, PartScores]) -> Table:
    """Scores of parts of the entities, one part a row; parts without entities are left out."""
    table = new_table(title, "", "precision", "recall", "F1", "gold", "predicted")
    for name, scores in parts.items():
        if not scores.num_gold + scores.num_predicted:
            continue
        add_row(table, name, *_decimals(scores), str(scores.num_gold), str(scores.num_predicted))
    return table


def reliability_table(bins: Reliability) -> Table:
    """Confidence and precision of predicted entities, one bin a row."""
    table = new_table("Confidence of predicted entities", "confidence", "mean", "precision", "predicted")
    edges = torch.linspace(0, 1, len(bins.num_predicted) + 1).tolist()
    for index, (number, mean, precision) in enumerate(zip(*(field.tolist() for field in bins), strict=True)):
        if number:
            between = f"{edges[index]:.1f} to {edges[index + 1]:.1f}"
            add_row(table, between, f"{mean:.4f}", f"{precision:.4f}", str(number))
    table.caption = f"expected calibration error {bins.expected_calibration_error:.4f}"
    return table


def new_table(title: str, first: str, *others: str) -> Table:
    """A table whose first column holds names and whose others hold numbers."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.pad_edge = False
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def add_row(table: Table, name: str, *numbers: str) -> None:
    """Add a row as it stands: rich would read markup and emoji codes in types and paths."""
    table.add_row(Text(name), *numbers)


def as_range(interval: Interval) -> str:
    """The interval in print.

    >>> as_range(Interval(0.5, 0.41239, 0.6))
    '0.4124 … 0.6000'
    """
    return f"{interval.low:.4f} … {interval.high:.4f}"


def _decimals(scores: PartScores) -> tuple[str, str, str]:
    return f"{scores.precision:.4f}", f"{scores.recall:.4f}", f"{scores.f1:.4f}"


def _entity_reliability(sentences: Sequence[TaggedSentence]) -> Reliability | None:
    confidence, correct = [], []
    for sentence in sentences:
        for span in sentence.predicted:
            score = sentence.confidence(span)
            if score is None:
                return None
            confidence.append(score)
            correct.append(span in sentence.gold)
    if not confidence:
        return None
    return reliability(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct, dtype=torch.bool))
