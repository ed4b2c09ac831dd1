"""The tables of a report as plain data: what `templates/_parts.html` prints and `report.css` styles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ner_module.extras.analysis.analyse import ErrorReport
from ner_module.extras.analysis.breakdown import PartScores
from ner_module.extras.analysis.errors import NO_ENTITY, OUTCOMES, count_outcomes, type_confusion
from ner_module.extras.analysis.uncertainty import Interval
from ner_module.extras.report.charts import interval_bar
from ner_module.extras.report.contents import PREFIX_OF, RunContents

_MOST_TYPES = 16
"""Columns of a confusion matrix; the rarest types share one, as on the terminal."""

_OTHER_TYPES = "other types"


@dataclass(frozen=True)
class Cell:
    """A number or word, and how it is drawn."""

    text: str | Markup
    css: str = ""


@dataclass(frozen=True)
class TableView:
    """A table with a caption; the first column holds row headers, the others numbers."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    emphasised: set[int] = field(default_factory=set)
    """Rows that stand out: sums, the best epoch."""
    note: str = ""
    prose: bool = False
    """Whether the cells hold words rather than numbers."""


def epochs_table(run: RunContents) -> TableView | None:
    """A row for each validation within ``fit``."""
    if not run.epochs:
        return None
    columns = {
        "Epoch": "epoch",
        "Step": "step",
        "Train loss": "train/loss",
        "Val loss": "val/loss",
        "Precision": "val/precision",
        "Recall": "val/recall",
        "F1": "val/f1",
        "Accuracy": "val/accuracy",
    }
    best = run.epochs.index(run.best_epoch) if run.best_epoch else -1
    rows = []
    for index, row in enumerate(run.epochs):
        cells = [_epoch_cell(key, row.get(key)) for key in columns.values()]
        rows.append([*cells, Cell("best" if index == best else "")])
    return TableView("Training results on validation data", [*columns, ""], rows, {best})


def scores_table(run: RunContents) -> TableView | None:
    """All overall scores, one column for each split that was scored."""
    names = {
        "f1": "F1 (micro)",
        "precision": "Precision",
        "recall": "Recall",
        "f1_macro": "F1, macro average over types",
        "f1_weighted": "F1, weighted by support",
        "accuracy": "Word accuracy",
        "loss": "Loss",
        "f1_partial": "F1, overlap counts half (SemEval partial)",
        "f1_type": "F1, right type and some word (SemEval type)",
        "f1_boundary": "F1, boundaries only (SemEval exact)",
        "f1_seen": "F1 on entities seen in training",
        "f1_unseen": "F1 on entities not seen in training",
        "calibration_error": "Expected calibration error",
    }
    splits = [split for split in ("validation", "test") if run.scores(split)]
    if not splits:
        return None
    rows = []
    for key, name in names.items():
        found = [(run.scores(split) or {}).get(PREFIX_OF[split] + key) for split in splits]
        if any(value is not None for value in found):
            rows.append([Cell(name), *(Cell(decimals(value)) for value in found)])
    for position, split in enumerate(splits):
        low, high = ((run.scores(split) or {}).get(f"{PREFIX_OF[split]}f1_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            if rows[1][0].text != "95 % interval of F1":
                rows.insert(1, [Cell("95 % interval of F1"), *(Cell("–") for _ in splits)])
            rows[1][position + 1] = Cell(f"{low:.4f} to {high:.4f}")
    heads = [f"{split.capitalize()} data" for split in splits]
    return TableView("Scores (entities by the conlleval rules)", ["", *heads], rows, {0})


def types_table(run: RunContents) -> TableView | None:
    """Scores of each entity type, with intervals where predictions are there."""
    if run.analysis is not None:
        return _analysed_types(run.analysis, run.split or "")
    scores = run.scores("validation")
    if scores is None:
        return None
    names = sorted(key.removeprefix("val/f1/") for key in scores if key.startswith("val/f1/"))
    rows = []
    for name in names:
        precision, recall, f1 = (scores.get(f"val/{key}/{name}", float("nan")) for key in ("precision", "recall", "f1"))
        support = scores.get(f"val/support/{name}", 0)
        rows.append(
            [Cell(name), *(Cell(decimals(x)) for x in (precision, recall, f1)), _bar(f1), Cell(f"{support:,.0f}")]
        )
    columns = ["Type", "Precision", "Recall", "F1", "0 to 1", "Gold"]
    caption = "Entity types on validation data, best epoch"
    note = "Intervals need predictions: run validate or test." if rows else ""
    return TableView(caption, columns, rows, note=note) if rows else None


def _analysed_types(analysis: ErrorReport, split: str) -> TableView:
    everything = {**analysis.by_type, "all (micro)": (analysis.micro, analysis.f1)}
    rows = []
    for name, (scores, interval) in everything.items():
        rows.append(
            [
                Cell(name),
                *_scores(scores),
                _bar(interval.value, interval),
                Cell(f"{interval.low:.4f} to {interval.high:.4f}"),
                Cell(f"{scores.num_gold:,}"),
                Cell(f"{scores.num_predicted:,}"),
            ]
        )
    columns = ["Type", "Precision", "Recall", "F1", "0 to 1", "95 % interval of F1", "Gold", "Predicted"]
    note = "Bars: the dot is F1, the line its 95 % bootstrap interval over sentences, the middle tick 0.5."
    return TableView(f"Entity types on {split} data", columns, rows, {len(rows) - 1}, note)


def outcomes_table(analysis: ErrorReport) -> TableView:
    """What became of the gold and predicted entities of each type."""
    counts = count_outcomes(analysis.all_pairings)
    rows = [
        [Cell(name), *(Cell(f"{counts[name, outcome]:,}" if counts[name, outcome] else "·") for outcome in OUTCOMES)]
        for name in analysis.by_type
    ]
    totals = [sum(counts[name, outcome] for name in analysis.by_type) for outcome in OUTCOMES]
    rows.append([Cell("all"), *(Cell(f"{total:,}") for total in totals)])
    note = "Spurious entities count under their predicted type, all others under their gold type."
    heads = [outcome.capitalize() for outcome in OUTCOMES]
    return TableView("What became of the entities", ["Type", *heads], rows, {len(rows) - 1}, note)


def confusion_table(analysis: ErrorReport) -> TableView:
    """Gold types in rows, predicted types in columns; shaded by the share of the row."""
    frequent = sorted(analysis.by_type, key=lambda name: -analysis.by_type[name][0].num_gold)[:_MOST_TYPES]
    shown = [name for name in analysis.by_type if name in frequent]
    if len(shown) < len(analysis.by_type):
        shown.append(_OTHER_TYPES)
    shown.append(NO_ENTITY)
    confusion: Counter[tuple[str, str]] = Counter()
    for (gold, predicted), count in type_confusion(analysis.all_pairings).items():
        pair = [name if name in shown else _OTHER_TYPES for name in (gold, predicted)]
        confusion[pair[0], pair[1]] += count
    rows = []
    for gold in shown:
        total = sum(confusion[gold, predicted] for predicted in shown) or 1
        cells = [_shaded(confusion[gold, predicted], total, gold == predicted) for predicted in shown]
        rows.append([Cell(gold), *cells])
    note = (
        "Rows are gold types, columns predicted ones, whatever the boundaries. Shade is the share of the row; the "
        "diagonal, framed, is right."
    )
    return TableView("Confusion of types", ["gold ↓ predicted →", *shown], rows, note=note)


def _shaded(count: int, total: int, diagonal: bool) -> Cell:
    share = count / total
    level = 0 if not count else 1 + sum(share >= edge for edge in (0.1, 0.3, 0.6))
    return Cell(f"{count:,}" if count else "·", f"heat{level}" + (" diagonal" if diagonal else ""))


def part_table(caption: str, parts: Mapping[str, PartScores] | None, note: str = "") -> TableView | None:
    """Scores of parts of the entities; parts without entities are left out."""
    rows = [
        [Cell(name), *_scores(scores), _bar(scores.f1), Cell(f"{scores.num_gold:,}"), Cell(f"{scores.num_predicted:,}")]
        for name, scores in (parts or {}).items()
        if scores.num_gold + scores.num_predicted
    ]
    columns = ["", "Precision", "Recall", "F1", "0 to 1", "Gold", "Predicted"]
    return TableView(caption, columns, rows, note=note) if rows else None


def calibration_bins(analysis: ErrorReport) -> list[tuple[float, float, int]]:
    """Mean confidence, precision and number of each bin that holds predictions."""
    if analysis.reliability is None:
        return []
    bins = zip(
        analysis.reliability.confidence.tolist(),
        analysis.reliability.precision.tolist(),
        analysis.reliability.num_predicted.tolist(),
        strict=True,
    )
    return [(confidence, precision, number) for confidence, precision, number in bins if number]


def calibration_table(analysis: ErrorReport) -> TableView | None:
    """The bins of :func:`calibration_bins`."""
    rows = [
        [Cell(decimals(confidence)), Cell(decimals(precision)), Cell(f"{number:,}")]
        for confidence, precision, number in calibration_bins(analysis)
    ]
    if not rows or analysis.reliability is None:
        return None
    note = f"Expected calibration error {analysis.reliability.expected_calibration_error:.4f}."
    return TableView("Confidence of predicted entities", ["Mean confidence", "Precision", "Predicted"], rows, note=note)


def pairs_table(caption: str, pairs: Mapping[str, Any]) -> TableView | None:
    """Names and values, as words."""
    rows = [[Cell(name), Cell(_value(value))] for name, value in flatten(pairs).items()]
    return TableView(caption, ["", "Value"], rows, prose=True) if rows else None


_THROUGHPUT: dict[str, tuple[str, str]] = {
    "sentences_per_second": ("Sentences a second", "{:,.0f}"),
    "subwords_per_second": ("Subwords a second", "{:,.0f}"),
    "padding": ("Padding, of all subwords computed", "{:.0%}"),
    "attention_padding": ("Padding, within attention", "{:.0%}"),
    "step_ms": ("A batch", "{:,.1f} ms"),
    "data_ms": ("– its data", "{:,.1f} ms"),
    "forward_ms": ("– forward", "{:,.1f} ms"),
    "backward_ms": ("– backward", "{:,.1f} ms"),
    "optimizer_ms": ("– optimiser", "{:,.1f} ms"),
    "gflops_per_second": ("Computed", "{:,.0f} GFLOP/s"),
    "matmul_gflops_per_second": ("This machine's matrix products", "{:,.0f} GFLOP/s"),
    "utilization": ("Share of that", "{:.0%}"),
    "peak_memory_mb": ("Peak memory", "{:,.0f} MB"),
}
"""Keys of ``results.json["throughput"]`` -> what they mean, and how they are written."""


def throughput_table(numbers: Mapping[str, Any]) -> TableView | None:
    """Speed and memory of the training, in words with units; what has no words stands by its key."""
    known = {name: number for name, number in numbers.items() if name in _THROUGHPUT}
    rows = [
        [Cell(_THROUGHPUT[name][0]), Cell(_THROUGHPUT[name][1].format(known[name]))]
        for name in _THROUGHPUT
        if name in known
    ]
    rows += [[Cell(name), Cell(_value(value))] for name, value in numbers.items() if name not in known]
    return TableView("Throughput and memory", ["", "Value"], rows, prose=True) if rows else None


def audit_table(audit: Mapping[str, Any]) -> TableView | None:
    """The findings of the data audit."""
    rows = []
    for finding in audit.get("findings", []):
        example = finding.get("example") or {}
        place = f"{example.get('file')}:{example.get('line')}" if example else "–"
        rows.append(
            [
                Cell(str(finding.get("severity", ""))),
                Cell(f"{finding.get('count', 0):,}"),
                Cell(str(finding.get("message", ""))),
                Cell(place),
                Cell(str(finding.get("advice", "") or "–")),
            ]
        )
    columns = ["Severity", "Count", "Finding", "First case", "Advice"]
    return TableView("Findings of the data audit", columns, rows, prose=True) if rows else None


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of all values.

    >>> flatten({"a": {"b": 1, "c": [2]}, "d": None})
    {'a.b': 1, 'a.c': [2], 'd': None}
    """
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def decimals(value: float | None) -> str:
    """Four decimals; a dash for what is not known."""
    return "–" if value is None or value != value else f"{value:.4f}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value)


def _epoch_cell(key: str, value: float | None) -> Cell:
    if value is None:
        return Cell("–")
    if key == "step":
        return Cell(f"{value:,.0f}")
    return Cell(f"{value:.2f}" if key == "epoch" else decimals(value))


def _scores(scores: PartScores) -> list[Cell]:
    return [Cell(decimals(value)) for value in (scores.precision, scores.recall, scores.f1)]


def _bar(value: float, interval: Interval | None = None) -> Cell:
    ends = (interval.low, interval.high) if interval else ()
    return Cell(interval_bar(value, *ends) if value == value else "–", "barcell")
