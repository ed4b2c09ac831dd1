"""Predictions to files: what ``predict`` writes, and every validated or tested sentence with gold and prediction.

Batches come sorted by length; sentences leave in input order. Several processes send theirs to the first one.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from torch import Tensor

from ner_module.data.datamodule import NERDataModule
from ner_module.data.predictions import prediction
from ner_module.outputs.rendering import terminal_line

log = logging.getLogger(__name__)


class _Collected:
    """Per sentence, its word labels and scores, until all of a stretch of sentences have arrived."""

    def __init__(self) -> None:
        self.by_sentence: dict[int, tuple[list[int], list[float], list[int]]] = {}

    def add(self, outputs: dict[str, Tensor]) -> None:
        lengths = outputs["num_words"].tolist()
        labels, scores, gold = (outputs[name].tolist() for name in ("label_ids", "scores", "gold"))
        for position, index in enumerate(outputs["sentence_index"].tolist()):
            length = lengths[position]
            self.by_sentence[index] = (labels[position][:length], scores[position][:length], gold[position][:length])

    def gather(self, trainer: Trainer) -> None:
        """Bring the sentences of all processes to the first one."""
        if trainer.world_size == 1:
            return
        parts: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
        torch.distributed.gather_object(self.by_sentence, parts)
        for part in parts or []:
            self.by_sentence.update(part)


class EvaluationFiles(Callback):
    """Writes ``RUN/predictions/{validation,test}.jsonl``: words, gold tags, predicted tags and their probabilities.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._collected = _Collected()

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
                for index in sorted(self._collected.by_sentence):
                    labels, scores, gold = self._collected.by_sentence[index]
                    row = {
                        "tokens": data.tokens_of(split, index),
                        "gold_tags": [data.label_names[label] for label in gold],
                        "predicted_tags": [data.label_names[label] for label in labels],
                        "scores": [round(score, 4) for score in scores],
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._collected = _Collected()


class PredictionFile(Callback):
    """Writes what ``predict`` finds, one JSON object per input line, in input order.

    With one process lines are written as soon as all before them are known; with several, at the end.

    Args:
        output: the file; ``None`` writes to standard output.
        render: show the entities inside their text on standard output, in place of the JSON or beside the file.
    """

    def __init__(self, output: Path | None, render: bool = False) -> None:
        self.output, self.render = output, render
        self._colours: dict[str, int] = {}
        self._collected = _Collected()
        self._written = 0
        self._file: TextIO | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the file: before the model is loaded, and also where there is nothing to predict."""
        self._written = 0
        if trainer.is_global_zero:
            if self.output is not None:
                self.output.parent.mkdir(parents=True, exist_ok=True)
            self._file = sys.stdout if self.output is None else self.output.open("w", encoding="utf-8", newline="\n")

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep the batch; write what is complete."""
        self._collected.add(outputs)
        if trainer.world_size == 1:
            self._write_complete(trainer.datamodule)  # type: ignore[attr-defined]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rest."""
        self._collected.gather(trainer)
        if trainer.is_global_zero:
            data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
            self._write_complete(data)
            # Batches are sorted by length, so a limited prediction (limit_predict_batches) leaves gaps.
            for index in sorted(self._collected.by_sentence):
                self._write(data, index, index + 1)
            if self._written < len(data.stored["predict"]):
                log.warning("only %d of %d sentences were predicted", self._written, len(data.stored["predict"]))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.flush()
            if self.output is not None:
                self._file.close()
            self._file = None

    def _write_complete(self, data: NERDataModule) -> None:
        known = self._collected.by_sentence
        end = self._written
        while end in known:
            end += 1
        self._write(data, self._written, end)

    def _write(self, data: NERDataModule, start: int, end: int) -> None:
        assert self._file is not None
        for index, sentence in enumerate(data.stored["predict"].slice(start, end), start):
            labels, scores, _ = self._collected.by_sentence.pop(index)
            tags = [data.label_names[label] for label in labels]
            found = prediction(sentence, tags, scores, data.scheme, data.outside_label)
            if self.render:
                Console().print(terminal_line(found, self._colours), soft_wrap=True)
            if self.output is not None or not self.render:
                self._file.write(json.dumps(found, ensure_ascii=False) + "\n")
            self._written += 1
