"""Predictions with their gold tags, as `validate` and `test` leave them in a run directory: reading, counting.

One JSON object a line, one line a sentence, in input order: ``{"tokens": […], "gold_tags": […], "predicted_tags": […],
"scores": [probability of the predicted tag of each word]}``. ``scores`` may be missing in files from elsewhere.

Here it is plain Python on strings: evaluation files are small, and what is done with them (tables of errors, tests) is
about single entities. Spans are those of :func:`ner_module.tagging.tags_to_spans`, the conlleval rules.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ner_module.data.schemes import SchemeCensus
from ner_module.errors import SchemeError
from ner_module.metrics.functional import LabelSpans
from ner_module.tagging import OUTSIDE, Span, tags_to_spans


class PredictionsError(ValueError):
    """A predictions file that cannot be read or used; the message names file and line, and what to do."""


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with its gold and predicted spans."""

    tokens: list[str]
    gold: list[Span]
    predicted: list[Span]
    scores: list[float] | None
    """Probability of the predicted tag of each word."""

    def text(self, span: Span) -> str:
        """The words of a span, joined by single spaces; the form in which `train_entities.json` lists them."""
        return " ".join(self.tokens[span.start : span.end])

    def confidence(self, span: Span) -> float | None:
        """The mean probability of the predicted tags of a span's words; ``None`` in a file without scores."""
        if self.scores is None:
            return None
        return sum(self.scores[span.start : span.end]) / (span.end - span.start)


def read_predictions(
    path: Path, scheme: str | None = None, outside_label: str | None = OUTSIDE
) -> list[TaggedSentence]:
    """Read a predictions file.

    Args:
        path: a JSONL file as described above.
        scheme: tagging scheme of the tags; found from the gold tags when it is not given.
        outside_label: for ``flat`` tags, the one that is no entity.

    Raises:
        PredictionsError: the file is missing, empty, or a line is not such an object.
    """
    rows = _read_rows(path)
    if scheme is None:
        scheme = _detect_scheme(path, rows)
    sentences = []
    for number, row in enumerate(rows, start=1):
        try:
            gold = tags_to_spans(row["gold_tags"], scheme, outside_label)
            predicted = tags_to_spans(row["predicted_tags"], scheme, outside_label)
        except SchemeError as error:
            raise PredictionsError(f"{path}, line {number}: {error}") from error
        sentences.append(TaggedSentence(row["tokens"], gold, predicted, row.get("scores")))
    return sentences


def entity_types_of(sentences: Sequence[TaggedSentence]) -> list[str]:
    """The types that occur in gold or prediction, by name."""
    return sorted({span.entity_type for sentence in sentences for span in (*sentence.gold, *sentence.predicted)})


def counts_by_sentence(sentences: Sequence[TaggedSentence], entity_types: Sequence[str]) -> Tensor:
    """Count correct, predicted and gold entities of each sentence and type.

    Returns:
        int64 of shape ``[sentences, types, 3]``: true positives, number predicted, number gold.

    >>> sentence = TaggedSentence(["in", "Rome"], [Span(1, 2, "LOC")], [Span(0, 2, "LOC")], None)
    >>> counts_by_sentence([sentence], ["LOC", "PER"]).tolist()
    [[[0, 1, 1], [0, 0, 0]]]
    """
    index = {name: position for position, name in enumerate(entity_types)}
    counts = torch.zeros(len(sentences), len(entity_types), 3, dtype=torch.int64).numpy()
    for row, sentence in enumerate(sentences):
        found = set(sentence.predicted).intersection(sentence.gold)
        for column, spans in enumerate((found, sentence.predicted, sentence.gold)):
            for span in spans:
                counts[row, index[span.entity_type], column] += 1
    return torch.from_numpy(counts)


def span_tensors(spans: Sequence[Sequence[Span]], entity_types: Sequence[str]) -> LabelSpans:
    """The spans of each sentence as tensors, for :mod:`~ner_module.extras.analysis.overlap`.

    >>> span_tensors([[], [Span(0, 2, "LOC")]], ["LOC"])
    LabelSpans(row=tensor([1]), start=tensor([0]), end=tensor([2]), entity_type=tensor([0]))
    """
    index = {name: position for position, name in enumerate(entity_types)}
    rows = [(row, span.start, span.end, index[span.entity_type]) for row, of_row in enumerate(spans) for span in of_row]
    return LabelSpans(*torch.tensor(rows, dtype=torch.int64).view(-1, 4).unbind(1))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        # Not splitlines(), which also breaks at characters that JSON strings may hold.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PredictionsError(
            f"cannot read predictions from {path} ({error}); `python -m ner_module test` writes them into the run "
            "directory"
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_parse_row(line, f"{path}, line {number}"))
        elif any(rest.strip() for rest in lines[number:]):
            raise PredictionsError(f"{path}, line {number}: an empty line; each line must hold one sentence")
    if not rows:
        raise PredictionsError(f"{path} holds no sentence")
    return rows


def _parse_row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise PredictionsError(f"{place}: not JSON ({error}); each line must hold one object") from error
    names = ("tokens", "gold_tags", "predicted_tags")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), list) for name in names):
        raise PredictionsError(f"{place}: not an object with the lists {', '.join(names)}")
    if not all(isinstance(item, str) for name in names for item in row[name]):
        raise PredictionsError(f"{place}: {', '.join(names)} must hold strings only")
    scores = row.get("scores")
    if scores is not None and not (
        isinstance(scores, list) and all(isinstance(score, (int, float)) for score in scores)
    ):
        raise PredictionsError(f"{place}: scores must be a list of numbers")
    lengths = {name: len(row[name]) for name in (*names, "scores") if row.get(name) is not None}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise PredictionsError(f"{place}: {counted}; there must be one of each per word")
    return row


def _detect_scheme(path: Path, rows: list[dict[str, Any]]) -> str:
    census = SchemeCensus()
    for row in rows:
        census.add(row["gold_tags"])
    try:
        return census.detect()
    except SchemeError as error:
        raise PredictionsError(f"{path}: {error}") from error
