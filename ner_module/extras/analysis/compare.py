"""``python -m ner_module compare A1 [A2 …] --against B1 [B2 …]``: is the difference between two taggers real?

Each argument is a run directory, of which ``predictions/test.jsonl`` is read, or a predictions file. All must hold the
same sentences with the same gold entities; their tagging schemes may differ. Several runs on a side are one recipe
trained with several seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.console import Console
from torch import Tensor

from ner_module.extras.analysis.sentences import counts_of_runs, read_predictions
from ner_module.extras.analysis.uncertainty import PairedTest, f1_intervals, f1_of, paired_test, welch_test
from ner_module.tables import Column, Table, count, interval, score

Sides = Mapping[str, Sequence[tuple[Path, Tensor]]]
"""Two names, as ``A`` and ``B`` -> for each run its place and its counts per sentence, ``[sentences, types, 3]``."""


def compare(options: argparse.Namespace) -> int:
    """Compare runs and print tables; returns the exit code.

    Raises:
        DataError: a file cannot be read, or the runs have other sentences or gold entities.
    """
    places = [*options.runs, *options.against]
    types, counts = counts_of_runs(places, [read_predictions(place, options.split) for place in places])
    runs, num_a = list(zip(places, counts, strict=True)), len(options.runs)
    sides = {"A": runs[:num_a], "B": runs[num_a:]}
    result = paired_test(counts[:num_a], counts[num_a:], options.resamples, options.seed)
    console = Console()
    for table in (
        run_table(sides, options.seed),
        difference_table(sides, result, options.resamples, options.seed),
        type_table(sides, result, types),
    ):
        console.print(table.for_terminal(), "")
    return 0


def run_table(sides: Sides, seed: int) -> Table:
    """Micro F1 of every run, mean and deviation of each side that has several."""
    rows: list[tuple[object, ...]] = []
    for letter, runs in sides.items():
        found = [f1_intervals(counts, seed=seed)[0] for _, counts in runs]
        rows += [(f"{letter}  {place}", f1.value, f1[1:]) for (place, _), f1 in zip(runs, found, strict=True)]
        if len(runs) > 1:
            f1s = [f1.value for f1 in found]
            rows.append((f"{letter}  mean, deviation of {len(f1s)}", fmean(f1s), f"± {stdev(f1s):.4f}"))
    _, counts = sides["A"][0]
    note = f"{len(counts)} sentences, {int(counts[..., 2].sum())} gold entities; intervals over sentences"
    columns = (Column("run"), Column("F1", score), Column("95 % interval", interval))
    return Table("Micro F1 (conlleval)", columns, rows, note=note)


def difference_table(sides: Sides, result: PairedTest, num_resamples: int, seed: int) -> Table:
    """The difference of the two sides and how likely one as large is by chance."""
    (first, second), values = sides, sides.values()
    a, b = ([float(f1_of(counts.sum((0, 1)).double())) for _, counts in runs] for runs in values)
    p_values = {
        "p over sentences, paired bootstrap": result.p_bootstrap,
        "p over seeds, Welch's t-test": welch_test(a, b),
    }
    rows: list[tuple[object, ...]]
    rows = [(f"{first} minus {second}", f"{result.difference.value:+.4f}", result.difference[1:])]
    rows += [(name, "n/a" if p is None else score(p), None) for name, p in p_values.items()]
    note = (
        f"Two-sided; {num_resamples:,} resamples, seed {seed}. Over sentences: do these trained models differ? Over "
        "seeds, two runs a side at least: would the recipes differ if trained again?"
    )
    columns = (Column(""), Column(""), Column("95 % interval", interval))
    return Table(f"F1 of {first} minus F1 of {second}", columns, rows, note=note)


def type_table(sides: Sides, result: PairedTest, entity_types: Sequence[str]) -> Table:
    """F1 of both sides, averaged over runs, and their difference for each type."""
    totals = [torch.stack([counts.sum(0) for _, counts in runs]).double() for runs in sides.values()]
    a, b = (f1_of(of_side).mean(0).tolist() for of_side in totals)
    num_gold = totals[0][0, :, 2].tolist()
    rows = [
        (name, f1_a, f1_b, f"{difference.value:+.4f}", difference[1:], gold)
        for name, f1_a, f1_b, difference, gold in zip(entity_types, a, b, result.by_type, num_gold, strict=True)
    ]
    columns = [Column("type"), *(Column(name, score) for name in sides), Column(" minus ".join(sides))]
    columns += [Column("95 % interval", interval), Column("gold", count)]
    return Table("F1 by type", columns, rows, note="not corrected for the number of types")
