"""``python -m ner_module compare A1 [A2 …] --against B1 [B2 …]``: is the difference between two taggers real?

Each argument is a run directory, of which ``predictions/test.jsonl`` is read, or a predictions file. All must hold the
same sentences with the same gold entities; their tagging schemes may differ. Several runs on a side are one recipe
trained with several seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from ner_module.extras.analysis.analyse import add_row, as_range, new_table
from ner_module.extras.analysis.sentences import (
    PredictionsError,
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_predictions,
)
from ner_module.extras.analysis.uncertainty import (
    bootstrap_f1,
    differences_by_type,
    f1_of,
    mean_and_deviation,
    paired_test,
    welch_test,
)
from ner_module.tagging import OUTSIDE

_DESCRIPTION = """\
Compare two taggers, or two recipes trained with several seeds, on the same test sentences: F1 with bootstrap intervals,
paired bootstrap and approximate randomisation tests over sentences, Welch's t-test over seeds."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a run, or several of one recipe."""

    letter: str
    names: list[str]
    counts: list[Tensor]
    """For each run its counts per sentence, ``[sentences, types, 3]``."""

    def run_f1(self) -> list[float]:
        """Micro F1 of each run."""
        return [float(f1_of(counts.sum((0, 1)).double())) for counts in self.counts]

    def type_f1(self, index: int) -> float:
        """F1 of one type, averaged over runs."""
        return mean_and_deviation([float(f1_of(counts[:, index].sum(0).double())) for counts in self.counts])[0]


def main(argv: Sequence[str]) -> int:
    """Compare runs and print tables.

    Args:
        argv: the arguments after ``compare``.

    Returns:
        The exit code: 0, or 1 for runs that cannot be compared. Wrong options exit with 2.
    """
    options = _parser().parse_args(list(argv))
    try:
        sides, entity_types = load_sides(options.runs, options.against, options.split)
    except PredictionsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(run_table(sides, options.seed))
    console.print(difference_table(sides, options.resamples, options.seed))
    console.print(type_table(sides, entity_types, options.resamples, options.seed))
    return 0


def load_sides(
    runs_a: Sequence[Path], runs_b: Sequence[Path], split: str = "test"
) -> tuple[tuple[Side, Side], list[str]]:
    """Read the predictions of all runs.

    Args:
        runs_a: run directories or predictions files.
        runs_b: likewise.
        split: which predictions of a run directory, ``"test"`` or ``"validation"``.

    Returns:
        The two sides, and the entity types that their counts are about.

    Raises:
        PredictionsError: a file cannot be read, or the runs have other sentences or gold entities.
    """
    paths = [run / "predictions" / f"{split}.jsonl" if run.is_dir() else run for run in (*runs_a, *runs_b)]
    found = [_read(path) for path in paths]
    for path, sentences in zip(paths[1:], found[1:], strict=True):
        _check_same(paths[0], found[0], path, sentences)
    entity_types = entity_types_of([sentence for sentences in found for sentence in sentences])
    counts = [counts_by_sentence(sentences, entity_types) for sentences in found]
    num_a = len(runs_a)
    side_a = Side("A", [str(run) for run in runs_a], counts[:num_a])
    return (side_a, Side("B", [str(run) for run in runs_b], counts[num_a:])), entity_types


def run_table(sides: tuple[Side, Side], seed: int) -> Table:
    """Micro F1 of every run, mean and deviation of each side that has several."""
    table = new_table("Micro F1 (conlleval)", "run", "F1", "95 % interval")
    for side in sides:
        for name, counts in zip(side.names, side.counts, strict=True):
            interval = bootstrap_f1(counts, seed=seed)
            add_row(table, f"{side.letter}  {name}", f"{interval.value:.4f}", as_range(interval))
        if len(side.counts) > 1:
            mean, deviation = mean_and_deviation(side.run_f1())
            add_row(table, f"{side.letter}  mean, deviation of {len(side.counts)}", f"{mean:.4f}", f"± {deviation:.4f}")
    counts = sides[0].counts[0]
    table.caption = f"{len(counts)} sentences, {int(counts[..., 2].sum())} gold entities; intervals over sentences"
    return table


def difference_table(sides: tuple[Side, Side], num_resamples: int, seed: int) -> Table:
    """The difference of the two sides and how likely one as large is by chance."""
    side_a, side_b = sides
    result = paired_test(side_a.counts, side_b.counts, num_resamples, seed=seed)
    table = new_table("F1 of A minus F1 of B", "", "", "95 % interval")
    add_row(table, "difference", f"{result.difference.value:+.4f}", as_range(result.difference))
    table.add_section()
    add_row(table, "p over sentences, paired bootstrap", _p_value(result.p_bootstrap))
    add_row(table, "p over sentences, approximate randomisation", _p_value(result.p_randomisation))
    add_row(table, "p over seeds, Welch's t-test", _p_value(welch_test(side_a.run_f1(), side_b.run_f1())))
    table.caption = (
        f"Two-sided; {num_resamples:,} resamples, seed {seed}. Over sentences: do these trained models differ? Over "
        "seeds: would the recipes differ if trained again? Randomisation needs as many runs on either side, the t-test "
        "at least two."
    )
    return table


def type_table(sides: tuple[Side, Side], entity_types: Sequence[str], num_resamples: int, seed: int) -> Table:
    """F1 of both sides and their difference for each type."""
    side_a, side_b = sides
    table = new_table("F1 by type", "type", "A", "B", "A minus B", "95 % interval", "gold")
    differences = differences_by_type(side_a.counts, side_b.counts, num_resamples, seed=seed)
    for index, (name, difference) in enumerate(zip(entity_types, differences, strict=True)):
        scores = (f"{side.type_f1(index):.4f}" for side in sides)
        support = int(side_a.counts[0][:, index, 2].sum())
        add_row(table, name, *scores, f"{difference.value:+.4f}", as_range(difference), str(support))
    table.caption = "not corrected for the number of types"
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ner_module compare", description=_DESCRIPTION, allow_abbrev=False)
    what = "run directory or predictions file"
    parser.add_argument("runs", nargs="+", type=Path, metavar="A", help=f"{what}; several are one recipe's seeds")
    parser.add_argument("--against", nargs="+", type=Path, metavar="B", required=True, help=f"{what} to compare with")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which predictions of a run")
    parser.add_argument(
        "--resamples", type=_positive, default=10_000, help="of each test; p is at least 1 / (this + 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; the same seed, the same p")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _read(path: Path) -> list[TaggedSentence]:
    """Read predictions; `results.json` of their run says how to read the tags, where there is one."""
    results = path.parent.parent / "results.json"
    if path.parent.name == "predictions" and results.is_file():
        try:
            known = json.loads(results.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PredictionsError(f"{results} is damaged ({error}); run `python -m ner_module test` again") from error
        return read_predictions(path, known.get("scheme"), known.get("outside_label", OUTSIDE))
    return read_predictions(path)


def _check_same(
    first_path: Path, first: Sequence[TaggedSentence], path: Path, sentences: Sequence[TaggedSentence]
) -> None:
    """Raise unless both files hold the same sentences with the same gold entities."""
    for number, (a, b) in enumerate(zip(first, sentences, strict=False), start=1):
        what = "words" if a.tokens != b.tokens else "gold entities" if a.gold != b.gold else ""
        if what:
            raise PredictionsError(
                f"{path}, line {number}: other {what} than in {first_path}; only runs tested on the same data can be "
                "compared"
            )
    if len(first) != len(sentences):
        raise PredictionsError(
            f"{path} holds {len(sentences)} sentences and {first_path} {len(first)}; only runs tested on the same data "
            "can be compared"
        )


def _p_value(p: float | None) -> str:
    return "n/a" if p is None else f"{p:.4f}"
