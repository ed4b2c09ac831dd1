"""What the page of several runs shows: scores, paired tests against the first run, curves, differing options."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from ner_module.extras.analysis.sentences import counts_by_sentence, entity_types_of
from ner_module.extras.analysis.uncertainty import paired_test
from ner_module.extras.report import figure
from ner_module.extras.report.run import RunContents
from ner_module.tables import Column, Table, interval, score

_RESAMPLES = 10_000


def view(runs: Sequence[RunContents]) -> dict[str, Any]:
    """The values of `templates/comparison.html`."""
    letters = [string.ascii_uppercase[number % 26] + (str(number // 26 + 1) if number >= 26 else "")
               for number in range(len(runs))]  # fmt: skip
    named = dict(zip(letters, runs, strict=True))
    tests, reason = _tests_table(named)
    curves = {}
    for title, key in (("Validation F1", "val/f1"), ("Validation loss", "val/loss"), ("Training loss", "train/loss")):
        drawn = {f"run {letter}": figure.points(run.epochs, key) for letter, run in named.items()}
        if any(drawn.values()):
            curves[title] = figure.as_data_uri(figure.lines(drawn, 1.0 if key == "val/f1" else None))
    return {
        "sections": [
            ("scores", "Scores"),
            ("significance", "Significance"),
            ("curves", "Learning curves"),
            ("configuration", "Configuration"),
        ],
        "runs": list(named.items()),
        "scores": _scores_table(named),
        "tests": tests,
        "no_tests": reason,
        "types": _types_table(named),
        "curves": list(curves.items()),
        "differences": _differences_table(named),
    }


def _scores_table(runs: Mapping[str, RunContents]) -> Table:
    rows = []
    for letter, run in runs.items():
        for split in ("validation", "test"):
            scores = run.scores(split)
            if scores:
                found = [scores.get(key) for key in ("f1", "precision", "recall", "accuracy")]
                ends = (scores["f1_low"], scores["f1_high"]) if "f1_low" in scores else None
                rows.append((f"{letter}  {run.name}", split, *found, ends))
    columns = [Column("Run"), Column("Data")]
    columns += [Column(name, score) for name in ("F1", "Precision", "Recall", "Accuracy")]
    note = "Intervals come with validate and test. Validation scores are those of validate, else of the best epoch."
    return Table("Scores of the runs", [*columns, Column("95 % interval of F1", interval)], rows, note=note)


def _tests_table(runs: Mapping[str, RunContents]) -> tuple[Table | None, str]:
    """Each run against the first one; where that cannot be done, why."""
    analyses = {letter: run.analysis for letter, run in runs.items()}
    lacking = [letter for letter, analysis in analyses.items() if analysis is None]
    if lacking:
        return None, f"Tests need predictions, which run {', '.join(lacking)} does not have: run test on it."
    found = [(letter, analysis) for letter, analysis in analyses.items() if analysis is not None]
    (first_letter, first), *others = found
    if len({analysis.split for _, analysis in found}) > 1:
        return None, "Tests need the same data on all sides; some runs have test predictions and some validation ones."
    rows = []
    for letter, other in others:
        for number, (a, b) in enumerate(zip(first.sentences, other.sentences, strict=False), start=1):
            if a.tokens != b.tokens or a.gold != b.gold:
                what = "words" if a.tokens != b.tokens else "gold entities"
                return (
                    None,
                    f"Tests need the same sentences: sentence {number} of run {letter} has other {what} than in A.",
                )
        if len(first.sentences) != len(other.sentences):
            return None, f"Tests need the same sentences: run {letter} has another number of them than run A."
        names = entity_types_of([*first.sentences, *other.sentences])
        counts = [counts_by_sentence(analysis.sentences, names) for analysis in (other, first)]
        result = paired_test([counts[0]], [counts[1]], _RESAMPLES)
        difference = f"{result.difference.value:+.4f}"
        p_values = [f"{p:.4f}" for p in (result.p_bootstrap, result.p_randomisation) if p is not None]
        rows.append((f"{letter} minus {first_letter}", difference, result.difference[1:], *p_values))
    columns = [Column(""), Column("F1 difference"), Column("95 % interval", interval)]
    columns += [Column("p, paired bootstrap"), Column("p, approximate randomisation")]
    note = (
        f"Two-sided, over sentences, {_RESAMPLES:,} resamples: do these trained models differ on sentences of this "
        "kind? Not corrected for the number of runs. For recipes with several seeds use `python -m ner_module compare`."
    )
    return Table(f"Paired tests on {first.split} data", columns, rows, note=note), ""


def _types_table(runs: Mapping[str, RunContents]) -> Table | None:
    analyses = [run.analysis for run in runs.values()]
    if not all(analyses):
        return None
    by_type = [analysis.by_type for analysis in analyses if analysis is not None]
    rows = []
    for name in sorted({name for types in by_type for name in types}):
        found = [types.get(name) for types in by_type]
        rows.append(
            (name, *(value for each in found for value in ((each[0].f1, each[1][1:]) if each else (None, None))))
        )
    columns = [Column("Type")]
    for letter in runs:
        columns += [Column(f"F1 of {letter}", score), Column("95 % interval", interval)]
    return Table("F1 by type", columns, rows) if rows else None


def _differences_table(runs: Mapping[str, RunContents]) -> Table | None:
    options = [flatten(run.config or {}) for run in runs.values()]
    rows = []
    for name in sorted({name for of_run in options for name in of_run} - {"trainer.default_root_dir"}):
        values = ["not set" if of_run.get(name) is None else str(of_run[name]) for of_run in options]
        if len(set(values)) > 1:
            rows.append((name, *values))
    columns = [Column("Option"), *(Column(f"Run {letter}") for letter in runs)]
    return Table("Options that differ", columns, rows) if rows else None


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
