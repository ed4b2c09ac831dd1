"""``python -m ner_module compare A1 [A2 …] --against B1 [B2 …]``: is the difference between two taggers real?

Each argument is a run directory, of which ``predictions/test.jsonl`` is read, or a predictions file. All must hold the
same sentences with the same gold entities; their tagging schemes may differ. Several runs on a side are one recipe
trained with several seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from ner_module.extras.analysis.sentences import counts_of_runs, read_run_predictions
from ner_module.extras.analysis.uncertainty import PairedTest, f1_intervals, f1_of, paired_test, welch_test
from ner_module.tables import Column, Table, count, interval, score


class Side(NamedTuple):
    """One side of the comparison: a run, or several of one recipe."""

    letter: str
    places: Sequence[Path]
    counts: list[Tensor]
    """For each run its counts per sentence, ``[sentences, types, 3]``."""

    def run_f1(self) -> list[float]:
        """Micro F1 of each run."""
        return [float(f1_of(counts.sum((0, 1)).double())) for counts in self.counts]


def compare(options: argparse.Namespace) -> int:
    """Compare runs and print tables; returns the exit code.

    Raises:
        DataError: runs that cannot be compared.
    """
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
    """Read run directories or predictions files: the two sides, and the entity types that their counts are about.

    Raises:
        DataError: a file cannot be read, or the runs have other sentences or gold entities.
    """
    places = [*runs_a, *runs_b]
    types, counts = counts_of_runs(places, [read_run_predictions(place, split) for place in places])
    num_a = len(runs_a)
    return (Side("A", runs_a, counts[:num_a]), Side("B", runs_b, counts[num_a:])), types


def run_table(sides: tuple[Side, Side], seed: int) -> Table:
    """Micro F1 of every run, mean and deviation of each side that has several."""
    rows: list[tuple[object, ...]] = []
    for side in sides:
        for place, counts in zip(side.places, side.counts, strict=True):
            f1, _ = f1_intervals(counts, seed=seed)
            rows.append((f"{side.letter}  {place}", f1.value, f1[1:]))
        if len(side.counts) > 1:
            f1s = side.run_f1()
            rows.append((f"{side.letter}  mean, deviation of {len(f1s)}", fmean(f1s), f"± {stdev(f1s):.4f}"))
    counts = sides[0].counts[0]
    note = f"{len(counts)} sentences, {int(counts[..., 2].sum())} gold entities; intervals over sentences"
    columns = (Column("run"), Column("F1", score), Column("95 % interval", interval))
    return Table("Micro F1 (conlleval)", columns, rows, note=note)


def difference_table(sides: tuple[Side, Side], result: PairedTest, num_resamples: int, seed: int) -> Table:
    """The difference of the two sides and how likely one as large is by chance."""
    p_values = {
        "p over sentences, paired bootstrap": result.p_bootstrap,
        "p over sentences, approximate randomisation": result.p_randomisation,
        "p over seeds, Welch's t-test": welch_test(*(side.run_f1() for side in sides)),
    }
    rows: list[tuple[object, ...]]
    rows = [("difference", f"{result.difference.value:+.4f}", result.difference[1:])]
    rows += [(name, "n/a" if p is None else score(p), None) for name, p in p_values.items()]
    note = (
        f"Two-sided; {num_resamples:,} resamples, seed {seed}. Over sentences: do these trained models differ? Over "
        "seeds: would the recipes differ if trained again? Randomisation needs as many runs on either side, the t-test "
        "at least two."
    )
    columns = (Column(""), Column(""), Column("95 % interval", interval))
    return Table("F1 of A minus F1 of B", columns, rows, note=note)


def type_table(sides: tuple[Side, Side], result: PairedTest, entity_types: Sequence[str]) -> Table:
    """F1 of both sides, averaged over runs, and their difference for each type."""
    a, b = (f1_of(torch.stack(side.counts).sum(1).double()).mean(0).tolist() for side in sides)
    num_gold = sides[0].counts[0][..., 2].sum(0).tolist()
    rows = [
        (name, f1_a, f1_b, f"{difference.value:+.4f}", difference[1:], gold)
        for name, f1_a, f1_b, difference, gold in zip(entity_types, a, b, result.by_type, num_gold, strict=True)
    ]
    columns = [Column("type"), Column("A", score), Column("B", score), Column("A minus B")]
    columns += [Column("95 % interval", interval), Column("gold", count)]
    return Table("F1 by type", columns, rows, note="not corrected for the number of types")
