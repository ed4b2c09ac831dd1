"""Every validated or tested sentence with gold and prediction, as a file of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.data.datamodule import NERDataModule
from ner_module.training.collected import CollectedPredictions


class EvaluationFiles(Callback):
    """Writes ``RUN/predictions/{validation,test}.jsonl``: words, gold tags, predicted tags and their probabilities.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._collected = CollectedPredictions()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep the predictions of ``validate`` (not of validation within ``fit``)."""
        if trainer.state.fn == "validate":
            self._collected.add(outputs)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any) -> None:
        """Keep the predictions."""
        self._collected.add(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file of ``validate``."""
        if trainer.state.fn == "validate":
            self._write(trainer, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        self._write(trainer, "test")

    def _write(self, trainer: Trainer, split: str) -> None:
        self._collected.gather(trainer)
        if trainer.is_global_zero:
            data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
            path = self.run_dir / "predictions" / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="\n") as file:
                for index, labels, scores, gold in self._collected.take():
                    row = {
                        "tokens": data.tokens_of(split, index),
                        "gold_tags": [data.label_names[label] for label in gold],
                        "predicted_tags": [data.label_names[label] for label in labels],
                        "scores": [round(score, 4) for score in scores],
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
