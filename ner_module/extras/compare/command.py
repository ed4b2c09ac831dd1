"""``python -m ner_module compare A1 [A2 …] --against B1 [B2 …]``: is the difference between two taggers real?

Each argument is a run directory, of which ``predictions/test.jsonl`` is read, or a predictions file. All must hold the
same sentences with the same gold entities; their tagging schemes may differ. Several runs on a side are one recipe
trained with several seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from torch import Tensor

from ner_module.errors import DataError
from ner_module.extras.analysis.sentences import (
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_run_predictions,
)
from ner_module.extras.analysis.uncertainty import (
    PairedTest,
    bootstrap_f1,
    f1_of,
    mean_and_deviation,
    paired_test,
    welch_test,
)
from ner_module.tables import Column, Table, count, interval, score

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
    """Compare runs and print tables; returns the exit code.

    Raises:
        DataError: runs that cannot be compared.
    """
    options = _parser().parse_args(list(argv))
    sides, entity_types = load_sides(options.runs, options.against, options.split)
    result = paired_test(sides[0].counts, sides[1].counts, options.resamples, seed=options.seed)
    console = Console()
    for table in (
        run_table(sides, options.seed),
        difference_table(sides, result, options.resamples, options.seed),
        type_table(sides, result, entity_types),
    ):
        console.print(table.for_terminal(), "")
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
        DataError: a file cannot be read, or the runs have other sentences or gold entities.
    """
    runs = [*runs_a, *runs_b]
    found = [read_run_predictions(run, split) for run in runs]
    for run, sentences in zip(runs[1:], found[1:], strict=True):
        _check_same(runs[0], found[0], run, sentences)
    entity_types = entity_types_of([sentence for sentences in found for sentence in sentences])
    counts = [counts_by_sentence(sentences, entity_types) for sentences in found]
    num_a = len(runs_a)
    side_a = Side("A", [str(run) for run in runs_a], counts[:num_a])
    return (side_a, Side("B", [str(run) for run in runs_b], counts[num_a:])), entity_types


def run_table(sides: tuple[Side, Side], seed: int) -> Table:
    """Micro F1 of every run, mean and deviation of each side that has several."""
    rows: list[tuple[object, ...]] = []
    for side in sides:
        for name, counts in zip(side.names, side.counts, strict=True):
            f1 = bootstrap_f1(counts, seed=seed)
            rows.append((f"{side.letter}  {name}", f1.value, f1[1:]))
        if len(side.counts) > 1:
            mean, deviation = mean_and_deviation(side.run_f1())
            rows.append((f"{side.letter}  mean, deviation of {len(side.counts)}", mean, f"± {deviation:.4f}"))
    counts = sides[0].counts[0]
    note = f"{len(counts)} sentences, {int(counts[..., 2].sum())} gold entities; intervals over sentences"
    columns = (Column("run"), Column("F1", score), Column("95 % interval", interval))
    return Table("Micro F1 (conlleval)", columns, rows, note=note)


def difference_table(sides: tuple[Side, Side], result: PairedTest, num_resamples: int, seed: int) -> Table:
    """The difference of the two sides and how likely one as large is by chance."""
    rows = (
        ("difference", f"{result.difference.value:+.4f}", result.difference[1:]),
        ("p over sentences, paired bootstrap", p_value(result.p_bootstrap), None),
        ("p over sentences, approximate randomisation", p_value(result.p_randomisation), None),
        ("p over seeds, Welch's t-test", p_value(welch_test(*(side.run_f1() for side in sides))), None),
    )
    note = (
        f"Two-sided; {num_resamples:,} resamples, seed {seed}. Over sentences: do these trained models differ? Over "
        "seeds: would the recipes differ if trained again? Randomisation needs as many runs on either side, the t-test "
        "at least two."
    )
    columns = (Column(""), Column(""), Column("95 % interval", interval))
    return Table("F1 of A minus F1 of B", columns, rows, note=note)


def type_table(sides: tuple[Side, Side], result: PairedTest, entity_types: Sequence[str]) -> Table:
    """F1 of both sides and their difference for each type."""
    rows = [
        (
            name,
            *(side.type_f1(index) for side in sides),
            f"{difference.value:+.4f}",
            difference[1:],
            int(sides[0].counts[0][:, index, 2].sum()),
        )
        for index, (name, difference) in enumerate(zip(entity_types, result.by_type, strict=True))
    ]
    columns = [Column("type"), Column("A", score), Column("B", score), Column("A minus B")]
    columns += [Column("95 % interval", interval), Column("gold", count)]
    return Table("F1 by type", columns, rows, note="not corrected for the number of types")


def p_value(p: float | None) -> str:
    """A p-value in print."""
    return "n/a" if p is None else f"{p:.4f}"


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


def _check_same(
    first_run: Path, first: Sequence[TaggedSentence], run: Path, sentences: Sequence[TaggedSentence]
) -> None:
    """Raise unless both hold the same sentences with the same gold entities."""
    advice = "only runs tested on the same data can be compared"
    for number, (a, b) in enumerate(zip(first, sentences, strict=False), start=1):
        what = "words" if a.tokens != b.tokens else "gold entities" if a.gold != b.gold else ""
        if what:
            raise DataError(run, number, f"other {what} than in {first_run}", advice)
    if len(first) != len(sentences):
        raise DataError(run, None, f"it holds {len(sentences)} sentences and {first_run} {len(first)}", advice)
