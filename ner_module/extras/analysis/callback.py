"""After ``validate`` and ``test``: intervals, kinds of errors, seen and unseen entities, calibration.

All of it is read off ``RUN/predictions/{validation,test}.jsonl`` (`metrics/report.py`), so that anyone can do it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from ner_module.errors import RunError
from ner_module.extras.analysis.analyse import analyse
from ner_module.extras.analysis.sentences import PredictionsError
from ner_module.training.results import update_results


class ErrorAnalysis(Callback):
    """Prints tables, writes ``predictions/{validation,test}_errors.jsonl``, adds its numbers to ``results.json``.

    Args:
        run_dir: the run directory; `EvaluationFiles`, which comes before, has written the predictions there.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self._analyse(trainer, pl_module, "validation", "validate", "val/")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``test``."""
        self._analyse(trainer, pl_module, "test", "test", "test/")

    def _analyse(self, trainer: Trainer, pl_module: LightningModule, split: str, command: str, prefix: str) -> None:
        if not trainer.is_global_zero:
            return
        folder = self.run_dir / "predictions"
        entities = self.run_dir / "train_entities.json"
        try:
            report = analyse(
                folder / f"{split}.jsonl",
                entities if entities.is_file() else None,
                pl_module.hparams["scheme"],
                pl_module.hparams["outside_label"],
            )
        except PredictionsError as error:  # train_entities.json was edited, or is from elsewhere
            raise RunError(str(error)) from error
        errors = folder / f"{split}_errors.jsonl"
        count = report.write_errors(errors)
        numbers = {f"{prefix}{name}": round(number, 6) for name, number in report.numbers().items()}
        scores = json.loads((self.run_dir / "results.json").read_text(encoding="utf-8"))[command]
        update_results(self.run_dir, {command: scores | numbers})
        console = get_console()
        for table in report.tables():
            console.print(table, "")
        console.print(f"{count:,} errors with their sentences: {errors}", highlight=False, soft_wrap=True)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [ErrorAnalysis(run.run_dir)] if run.command in ("validate", "test") else []
