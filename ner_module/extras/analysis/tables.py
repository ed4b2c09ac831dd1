"""The tables of an analysis, for every renderer; printed after ``validate`` and ``test``.

All of it is read from ``RUN/predictions/{validation,test}.jsonl``, so that anyone can do it again.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from ner_module.extras.after_run import METRICS_OF
from ner_module.extras.analysis.analysis import Analysis, analyse
from ner_module.extras.analysis.errors import NO_ENTITY, OUTCOMES
from ner_module.extras.analysis.overlap import MATCHING
from ner_module.files import read_json_object, write_atomically
from ner_module.tables import Column, Table, count, interval, say, score
from ner_module.training.results import update_results

_OTHER_TYPES = "other types"
_SCORES = (Column("precision", score), Column("recall", score), Column("F1", score))
_NUMBERS = (Column("gold", count), Column("predicted", count))


def analysis_tables(analysis: Analysis) -> list[Table]:
    """All tables, in the order in which they are shown; those that need what is not known are left out."""
    tables = [types_table(analysis), outcomes_table(analysis), confusion_table(analysis), overlap_table(analysis)]
    return [*tables, training_table(analysis)] if analysis.by_training else tables


def types_table(analysis: Analysis) -> Table:
    """Scores of each type with intervals, and of all entities."""
    rows = [
        (name, *counts.scores, f1[1:], counts.num_gold, counts.num_predicted)
        for name, (counts, f1) in {**analysis.by_type, "all (micro)": (analysis.micro, analysis.f1)}.items()
    ]
    columns = (Column("type"), *_SCORES, Column("95 % interval", interval), *_NUMBERS)
    return Table("Entities by type (conlleval)", columns, rows, frozenset({len(rows) - 1}))


def outcomes_table(analysis: Analysis) -> Table:
    """Outcomes of the gold and predicted entities of each type."""
    counts = analysis.outcomes
    rows = [(name, *(counts[name, outcome] for outcome in OUTCOMES)) for name in analysis.by_type]
    rows.append(("all", *(sum(counts[name, outcome] for name in analysis.by_type) for outcome in OUTCOMES)))
    note = "Spurious entities count under their predicted type, all others under their gold type."
    columns = (Column("type"), *(Column(outcome, count) for outcome in OUTCOMES))
    return Table("Entity outcomes", columns, rows, frozenset({len(rows) - 1}), note)


def confusion_table(analysis: Analysis, most_types: int = 10) -> Table:
    """Gold types in rows, predicted types in columns; the rarest types beyond ``most_types`` share one."""
    frequent = sorted(analysis.by_type, key=lambda name: -analysis.by_type[name][0].num_gold)[:most_types]
    shown = [name for name in analysis.by_type if name in frequent]
    if len(shown) < len(analysis.by_type):
        shown.append(_OTHER_TYPES)
    shown.append(NO_ENTITY)
    confusion: Counter[tuple[str, ...]] = Counter()
    for pair, number in analysis.confusion.items():
        confusion[tuple(name if name in shown else _OTHER_TYPES for name in pair)] += number
    rows = [(gold, *(confusion[gold, predicted] for predicted in shown)) for gold in shown]
    columns = (Column("gold ↓ predicted →"), *(Column(name, lambda n: count(n) if n else "·") for name in shown))
    return Table("Confusion of types, ignoring boundaries", columns, rows)


def overlap_table(analysis: Analysis) -> Table:
    """Scores by what a match must share."""
    rows = [(f"{name}: {shared}", *analysis.overlap[name].scores) for name, shared in MATCHING.items()]
    return Table("Partial matches (SemEval-2013)", (Column("a match shares"), *_SCORES), rows)


def training_table(analysis: Analysis) -> Table:
    """Scores of entities that were seen in training and of those that were not; parts without entities are left out."""
    rows = [
        (name, *part.scores, part.num_gold, part.num_predicted)
        for name, part in analysis.by_training.items()
        if part.num_gold + part.num_predicted
    ]
    return Table("Entities seen in training or not", (Column(""), *_SCORES, *_NUMBERS), rows)


class ErrorAnalysis(Callback):
    """Prints tables, writes ``predictions/{validation,test}_errors.jsonl``, adds its numbers to ``results.json``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.analysis: Analysis | None = None
        """Of the command that has just ended, for what shows it elsewhere."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate`` and ``test``, of which the predictions have just been written."""
        if not trainer.is_global_zero:
            return
        split = "test" if trainer.state.fn == "test" else "validation"
        command, prefix = METRICS_OF[split]
        self.analysis = analyse(self.run_dir, split)
        errors = self.run_dir / "predictions" / f"{split}_errors.jsonl"
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in self.analysis.errors]
        write_atomically(errors, "".join(lines))
        numbers = {f"{prefix}{name}": round(number, 6) for name, number in self.analysis.numbers().items()}
        scores = read_json_object(self.run_dir / "results.json")[command]
        update_results(self.run_dir, {command: scores | numbers})
        console = get_console()
        for table in analysis_tables(self.analysis):
            console.print(table.for_terminal(), "")
        say(f"{len(lines):,} errors with their sentences: {errors}")

    on_validation_end = on_test_end


def analysis_of(trainer: Trainer) -> Analysis | None:
    """What :class:`ErrorAnalysis` found in this command."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.analysis for each in callbacks if isinstance(each, ErrorAnalysis)), None)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [ErrorAnalysis(run.run_dir)] if run.command in ("validate", "test") else []
