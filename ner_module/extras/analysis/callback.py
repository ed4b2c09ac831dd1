"""After ``validate`` and ``test``: intervals, kinds of errors, seen and unseen entities, calibration.

All of it is read from ``RUN/predictions/{validation,test}.jsonl``, so that anyone can do it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from ner_module.extras.after_run import METRICS_OF
from ner_module.extras.analysis.analysis import Analysis, analyse
from ner_module.extras.analysis.tables import analysis_tables
from ner_module.files import read_json_object, write_atomically
from ner_module.tables import say
from ner_module.training.results import update_results


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
