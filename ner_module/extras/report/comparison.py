"""What the page of several runs shows: scores, paired tests against the first run, curves, differing options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ner_module.errors import DataError
from ner_module.extras.after_run import RunContents
from ner_module.extras.analysis.analysis import Analysis
from ner_module.extras.analysis.compare import difference_table, type_table
from ner_module.extras.analysis.sentences import counts_of_runs
from ner_module.extras.analysis.uncertainty import paired_test
from ner_module.extras.report import figure
from ner_module.tables import Column, Table, count, interval, score

_RESAMPLES = 10_000
_MOST_CHANGES = 200
"""Sentences shown; both runs' predictions are in ``predictions/``."""
_SCORES = {
    "f1": "F1 (micro)",
    "interval": "95 % interval of F1",
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

_CHANGES = ("newly correct", "no longer spurious", "no longer correct", "newly spurious")


def view(runs: Sequence[RunContents], analyses: Sequence[Analysis | None]) -> dict[str, Any]:
    """The values of `templates/comparison.html`."""
    letters = [chr(ord("A") + number) for number in range(len(runs))]
    named = dict(zip(letters, runs, strict=True))
    curves = []
    for title, key in (("Validation F1", "val/f1"), ("Validation loss", "val/loss"), ("Training loss", "train/loss")):
        drawn = {f"run {letter}": figure.points(run.epochs, key) for letter, run in named.items()}
        curves.append((title, figure.lines(drawn, 1.0 if key == "val/f1" else None)))
    tests, changes, reason = list[Table](), list[Table](), ""
    found = {letter: analysis for letter, analysis in zip(letters, analyses, strict=True) if analysis is not None}
    if lacking := [letter for letter in letters if letter not in found]:
        reason = f"Tests need predictions, which run {', '.join(lacking)} does not have: run test on it."
    elif len({analysis.split for analysis in found.values()}) > 1:
        reason = "Tests need the same data on all sides; some runs have test predictions and some validation ones."
    else:
        try:
            tests = _tests(named, list(found.values()))
            changes = [table for letter in letters[1:] for table in _changes(letter, found["A"], found[letter])]
        except DataError as error:
            reason = str(error)
    return {
        "runs": list(named.items()),
        "scores": scores_table(named),
        "tests": tests,
        "no_tests": reason,
        "changes": changes,
        "curves": [(title, chart) for title, chart in curves if chart],
        "differences": _differences_table(named),
    }


def scores_table(runs: Mapping[str, RunContents]) -> Table:
    """All overall scores, a column for each split of each run that was scored; their letters may be empty."""
    scored: dict[str, dict[str, Any]] = {
        f"{letter} {split} data".strip().capitalize(): scores
        for letter, run in runs.items()
        for split in ("validation", "test")
        if (scores := run.scores(split))
    }
    for of_split in scored.values():
        if "f1_low" in of_split:
            of_split["interval"] = interval((of_split["f1_low"], of_split["f1_high"]))
    rows = [(name, *(scores.get(key) for scores in scored.values())) for key, name in _SCORES.items()]
    rows = [row for row in rows if set(row[1:]) - {None}]
    columns = [Column(""), *(Column(title, score) for title in scored)]
    return Table("Scores (entities by the conlleval rules)", columns, rows, frozenset({0}))


def _tests(runs: Mapping[str, RunContents], analyses: Sequence[Analysis]) -> list[Table]:
    """Each run against the first one; raises a :class:`DataError` where they hold other sentences."""
    places = [run.run_dir for run in runs.values()]
    types, counts = counts_of_runs(places, [analysis.sentences for analysis in analyses])
    first, *others = zip(runs, zip(places, counts, strict=True), strict=True)
    tables = []
    for other in others:
        sides = {letter: [run] for letter, run in (other, first)}
        result = paired_test([other[1][1]], [first[1][1]], _RESAMPLES)
        tables += [difference_table(sides, result, _RESAMPLES, 0), type_table(sides, result, types)]
    return tables


def _changes(letter: str, first: Analysis, other: Analysis) -> list[Table]:
    """What another run than the first gets right and wrong in its place: by type, and the sentences."""
    counts: Counter[tuple[str, str]] = Counter()
    changed = []
    for number, (a, b) in enumerate(zip(first.sentences, other.sentences, strict=True), start=1):
        gold, only_a, only_b = set(a.gold), set(a.predicted) - set(b.predicted), set(b.predicted) - set(a.predicted)
        if not only_a | only_b:
            continue
        kinds = (gold & only_b, only_a - gold, gold & only_a, only_b - gold)
        counts.update((span.entity_type, kind) for kind, spans in zip(_CHANGES, kinds, strict=True) for span in spans)
        meant = {span for span in gold if any(span.start < d.end and d.start < span.end for d in only_a | only_b)}
        said = ["; ".join(f"{a.text(s)} {s.entity_type}" for s in sorted(spans)) for spans in (meant, only_a, only_b)]
        changed.append((a.place or str(number), " ".join(a.tokens), *said))
    if not changed:
        return []
    types = sorted({name for name, _ in counts})
    rows = [(name, *(counts[name, kind] for kind in _CHANGES)) for name in types]
    rows.append(("all", *(sum(counts[name, kind] for name in types) for kind in _CHANGES)))
    title = f"Errors that run {letter} fixes and introduces, compared with A"
    columns = [Column("Type"), *(Column(kind, count) for kind in _CHANGES)]
    by_type = Table(title, columns, rows, frozenset({len(rows) - 1}))
    note = f"The first {_MOST_CHANGES} of {len(changed):,} sentences." if len(changed) > _MOST_CHANGES else ""
    columns = [Column(title) for title in ("Place", "Sentence", "Gold", "Only A predicts", f"Only {letter} predicts")]
    return [by_type, Table(f"Sentences on which A and {letter} differ", columns, changed[:_MOST_CHANGES], note=note)]


def _differences_table(runs: Mapping[str, RunContents]) -> Table:
    options = [flatten(run.config) for run in runs.values()]
    rows = []
    for name in sorted({name for of_run in options for name in of_run} - {"trainer.default_root_dir"}):
        values = ["not set" if of_run.get(name) is None else str(of_run[name]) for of_run in options]
        if len(set(values)) > 1:
            rows.append((name, *values))
    return Table("Options that differ", [Column("Option"), *(Column(f"Run {letter}") for letter in runs)], rows)


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
