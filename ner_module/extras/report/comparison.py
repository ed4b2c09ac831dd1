"""What the page of several runs shows: scores, paired tests against the first run, curves, differing options."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from ner_module.extras.analysis.sentences import PredictionsError
from ner_module.extras.analysis.uncertainty import Interval, paired_test
from ner_module.extras.compare.command import load_sides
from ner_module.extras.report.charts import Series, interval_bar, line_chart
from ner_module.extras.report.contents import PREFIX_OF, RunContents
from ner_module.extras.report.tables import Cell, TableView, decimals, flatten

_RESAMPLES = 10_000


def view(runs: Sequence[RunContents]) -> dict[str, Any]:
    """The values of `templates/comparison.html`."""
    letters = [_letter(number) for number in range(len(runs))]
    tests, reason = _tests_table(letters, runs)
    curves = {
        "Validation F1": _overlay(letters, runs, "val/f1", (0.0, 1.0)),
        "Validation loss": _overlay(letters, runs, "val/loss"),
        "Training loss": _overlay(letters, runs, "train/loss"),
    }
    return {
        "sections": [
            ("scores", "Scores"),
            ("significance", "Significance"),
            ("curves", "Learning curves"),
            ("configuration", "Configuration"),
        ],
        "runs": list(zip(letters, runs, strict=True)),
        "scores": _scores_table(letters, runs),
        "tests": tests,
        "no_tests": reason,
        "types": _types_table(letters, runs),
        "curves": [(title, chart) for title, chart in curves.items() if chart is not None],
        "differences": _differences_table(letters, runs),
    }


def _letter(number: int) -> str:
    """A to Z, then A2, B2 and so on."""
    round_, place = divmod(number, 26)
    return string.ascii_uppercase[place] + (str(round_ + 1) if round_ else "")


def _scores_table(letters: Sequence[str], runs: Sequence[RunContents]) -> TableView:
    rows = []
    for letter, run in zip(letters, runs, strict=True):
        for split in ("validation", "test"):
            scores = run.scores(split)
            if scores is None:
                continue
            values = {key: scores.get(PREFIX_OF[split] + key) for key in ("f1", "precision", "recall", "accuracy")}
            low, high = (scores.get(f"{PREFIX_OF[split]}f1_{end}") for end in ("low", "high"))
            known = low is not None and high is not None
            bar = "–" if values["f1"] is None else interval_bar(values["f1"], low, high)
            rows.append(
                [
                    Cell(f"{letter}  {run.name}"),
                    Cell(split),
                    *(Cell(decimals(value)) for value in values.values()),
                    Cell(bar, "barcell"),
                    Cell(f"{low:.4f} to {high:.4f}" if known else "–"),
                ]
            )
    columns = ["Run", "Data", "F1", "Precision", "Recall", "Accuracy", "0 to 1", "95 % interval of F1"]
    note = "Intervals come with validate and test. Validation scores are those of validate, else of the best epoch."
    return TableView("Scores of the runs", columns, rows, note=note)


def _tests_table(letters: Sequence[str], runs: Sequence[RunContents]) -> tuple[TableView | None, str]:
    """Each run against the first one; where that cannot be done, why."""
    splits = [run.split for run in runs]
    if None in splits:
        lacking = ", ".join(letter for letter, split in zip(letters, splits, strict=True) if split is None)
        return None, f"Tests need predictions, which run {lacking} does not have: run test on it."
    if len(set(splits)) > 1:
        return None, "Tests need the same data on all sides; some runs have test predictions and some validation ones."
    rows = []
    for letter, run in zip(letters[1:], runs[1:], strict=True):
        try:
            (side, first), _ = load_sides([run.run_dir], [runs[0].run_dir], splits[0] or "test")
        except PredictionsError as error:
            return None, f"Tests need the same sentences on all sides: {error}."
        result = paired_test(side.counts, first.counts, _RESAMPLES, seed=0)
        rows.append(
            [
                Cell(f"{letter} minus {letters[0]}"),
                Cell(f"{result.difference.value:+.4f}"),
                Cell(_signed(result.difference)),
                Cell(_p_value(result.p_bootstrap)),
                Cell(_p_value(result.p_randomisation)),
            ]
        )
    columns = ["", "F1 difference", "95 % interval", "p, paired bootstrap", "p, approximate randomisation"]
    note = (
        f"Two-sided, over sentences, {_RESAMPLES:,} resamples: do these trained models differ on sentences of this "
        "kind? Not corrected for the number of runs. For recipes with several seeds use `python -m ner_module compare`."
    )
    return TableView(f"Paired tests on {splits[0]} data", columns, rows, note=note), ""


def _types_table(letters: Sequence[str], runs: Sequence[RunContents]) -> TableView | None:
    analyses = [run.analysis for run in runs]
    types = sorted({name for analysis in analyses if analysis for name in analysis.by_type})
    if not types or None in analyses:
        return None
    rows = []
    for name in types:
        cells = [Cell(name)]
        for analysis in analyses:
            found = analysis.by_type.get(name) if analysis else None
            cells.append(Cell(decimals(found[0].f1) if found else "–"))
            cells.append(Cell(f"{found[1].low:.4f} to {found[1].high:.4f}" if found else "–"))
        rows.append(cells)
    columns = ["Type"]
    for letter in letters:
        columns += [f"F1 of {letter}", "95 % interval"]
    return TableView("F1 by type", columns, rows)


def _overlay(
    letters: Sequence[str], runs: Sequence[RunContents], key: str, limits: tuple[float, float] | None = None
) -> Any:
    series = [
        Series(f"run {letter}", [(row["step"], row[key]) for row in run.epochs if key in row and "step" in row])
        for letter, run in zip(letters, runs, strict=True)
    ]
    return line_chart(f"{key} of the runs by step", series, "step", limits)


def _differences_table(letters: Sequence[str], runs: Sequence[RunContents]) -> TableView | None:
    options = [flatten(run.config or {}) for run in runs]
    names = sorted({name for of_run in options for name in of_run} - {"trainer.default_root_dir"})
    rows = []
    for name in names:
        values = ["not set" if of_run.get(name) is None else str(of_run[name]) for of_run in options]
        if len(set(values)) > 1:
            rows.append([Cell(name), *map(Cell, values)])
    columns = ["Option", *(f"Run {letter}" for letter in letters)]
    return TableView("Options that differ", columns, rows, prose=True) if rows else None


def _signed(interval: Interval) -> str:
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _p_value(p: float | None) -> str:
    return "n/a" if p is None else f"{p:.4f}"
