"""Sentences with gold and predicted entities, as `validate` and `test` leave them in a run directory, and their counts.

One JSON object a line, one line a sentence, in input order: ``{"tokens": […], "gold_tags": […], "predicted_tags": […],
"scores": [probability of the predicted tag of each word], "file": …, "line": where the sentence begins}``. All but the
lists of tokens and tags may be missing in files from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from ner_module.data.formats.files import read_lines
from ner_module.data.tag_census import detect_scheme
from ner_module.errors import DataError, SchemeError
from ner_module.files import read_json_object
from ner_module.metrics.functional import scores
from ner_module.tagging import OUTSIDE, Span, tags_to_spans
from ner_module.training.results import is_as_written


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with its gold and predicted spans."""

    tokens: list[str]
    gold: list[Span]
    predicted: list[Span]
    scores: list[float] | None
    """Probability of the predicted tag of each word."""
    file: str | None = None
    line: int | None = None
    """Where the sentence begins in the annotated data."""

    @property
    def place(self) -> str | None:
        """``file:line``, as far as it is known."""
        return self.file if self.file is None or self.line is None else f"{self.file}:{self.line}"

    def text(self, span: Span) -> str:
        """The words of a span, joined by single spaces, as `train_entities.json` lists them."""
        return " ".join(self.tokens[span.start : span.end])

    def confidence(self, span: Span) -> float | None:
        """The mean probability of the predicted tags of a span's words; ``None`` in a file without scores."""
        if self.scores is None:
            return None
        return sum(self.scores[span.start : span.end]) / (span.end - span.start)


class Counts(NamedTuple):
    """How many entities are correct (a partial match may count half), predicted and gold."""

    true_positives: float
    num_predicted: int
    num_gold: int

    @property
    def scores(self) -> tuple[float, float, float]:
        """Precision, recall and F1; 0 where a denominator is 0.

        >>> Counts(1.5, 3, 5).scores
        (0.5, 0.3, 0.375)
        """
        precision, recall, f1 = scores(*torch.tensor(self, dtype=torch.float64).unbind())
        return float(precision), float(recall), float(f1)


class _Row(BaseModel, strict=True):
    tokens: list[str]
    gold_tags: list[str]
    predicted_tags: list[str]
    scores: list[float] | None = None
    file: str | None = None
    line: int | None = None


def read_predictions(place: Path, split: str = "test") -> list[TaggedSentence]:
    """Read the predictions of a run directory, or a predictions file.

    ``results.json`` of its run names the scheme; of a file from elsewhere it is detected from the gold tags.

    Raises:
        DataError: the file is missing, empty, or a line is not such an object; or ``results.json`` is damaged.
    """
    path = place / "predictions" / f"{split}.jsonl" if place.is_dir() else place
    known = read_json_object(path.parent.parent / "results.json") if path.parent.name == "predictions" else {}
    is_as_written(path, path.parent.parent, known)
    scheme, outside = known.get("scheme"), known.get("outside_label", OUTSIDE)
    rows = _read_rows(path)
    sentences = []
    try:
        if scheme is None:
            scheme = detect_scheme(row.gold_tags for row in rows)
        for row in rows:
            gold, predicted = (tags_to_spans(tags, scheme, outside) for tags in (row.gold_tags, row.predicted_tags))
            sentences.append(TaggedSentence(row.tokens, gold, predicted, row.scores, row.file, row.line))
    except SchemeError as error:
        line = len(sentences) + 1 if scheme else None
        raise DataError(path, line, str(error), "score the run again with `test`") from error
    return sentences


def _read_rows(path: Path) -> list[_Row]:
    command = "validate" if path.stem == "validation" else "test"
    again = f"`python -m ner_module {command}` writes it into the run directory"
    try:
        lines = list(read_lines(path))
    except DataError as error:
        raise DataError(path, error.line, f"the predictions cannot be read ({error.problem})", again) from error
    while lines and lines[-1].isspace():
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            problem = ": ".join([*map(str, first["loc"]), first["msg"]])
            raise DataError(path, number, problem, again) from error
        lengths = {name: len(value) for name, value in row if isinstance(value, list)}
        if len(set(lengths.values())) > 1:
            counted = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise DataError(path, number, f"{counted}; there must be one of each per word", again)
        rows.append(row)
    if not rows:
        raise DataError(path, None, "it holds no sentence", again)
    return rows


def entity_types_of(sentences: Sequence[TaggedSentence]) -> list[str]:
    """The types that occur in gold or prediction, by name."""
    return sorted({span.entity_type for sentence in sentences for span in (*sentence.gold, *sentence.predicted)})


def counts_by_sentence(
    sentences: Sequence[TaggedSentence],
    parts: Sequence[str],
    part_of: Callable[[TaggedSentence, Span], str] = lambda _, span: span.entity_type,
) -> Tensor:
    """Count correct, predicted and gold entities of each sentence and part.

    Args:
        sentences: the sentences.
        parts: all parts.
        part_of: the part an entity belongs to, its type by default; must depend on its words and type only.

    Returns:
        int64 of shape ``[sentences, parts, 3]``: true positives, number predicted, number gold.

    >>> sentence = TaggedSentence(["in", "Rome"], [Span(1, 2, "LOC")], [Span(0, 2, "LOC")], None)
    >>> counts_by_sentence([sentence], ["LOC", "PER"]).tolist()
    [[[0, 1, 1], [0, 0, 0]]]
    """
    index = {name: position for position, name in enumerate(parts)}
    counts = np.zeros((len(sentences), len(parts), 3), dtype=np.int64)
    for row, sentence in enumerate(sentences):
        found = set(sentence.predicted).intersection(sentence.gold)
        for column, spans in enumerate((found, sentence.predicted, sentence.gold)):
            for span in spans:
                counts[row, index[part_of(sentence, span)], column] += 1
    return torch.from_numpy(counts)


def counts_of_runs(places: Sequence[Path], runs: Sequence[Sequence[TaggedSentence]]) -> tuple[list[str], list[Tensor]]:
    """The entity types of several runs on the same data, read from ``places``, and the counts of each run by sentence.

    Raises:
        DataError: a run has other sentences or gold entities than the first one.
    """
    advice = "only runs tested on the same data can be compared"
    for place, sentences in zip(places, runs, strict=True):
        for number, (a, b) in enumerate(zip(runs[0], sentences, strict=False), start=1):
            if (a.tokens, a.gold) != (b.tokens, b.gold):
                what = "words" if a.tokens != b.tokens else "gold entities"
                raise DataError(place, number, f"other {what} than in {places[0]}", advice)
        if len(runs[0]) != len(sentences):
            problem = f"it holds {len(sentences)} sentences and {places[0]} {len(runs[0])}"
            raise DataError(place, None, problem, advice)
    types = entity_types_of([sentence for sentences in runs for sentence in sentences])
    return types, [counts_by_sentence(sentences, types) for sentences in runs]
