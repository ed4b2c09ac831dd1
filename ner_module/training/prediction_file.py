"""What ``predict`` writes: one JSON object per input line, in input order, however long the input.

Batches are sorted by length within stretches of ``LOOK_AHEAD`` sentences. When a stretch is done the processes bring
their part of it to the first one, which writes it: memory does not grow with the input, no process needs to see
another's disk, and an interrupted prediction goes on after the last whole stretch.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.data.batching import LOOK_AHEAD
from ner_module.data.datamodule import NERDataModule
from ner_module.data.entities import prediction
from ner_module.files import sha256_of
from ner_module.training.collected import CollectedPredictions
from ner_module.training.resumable_file import ResumableFile

log = logging.getLogger(__name__)


class PredictionFile(Callback):
    """Writes what ``predict`` finds.

    Args:
        output: the file; ``None`` writes to standard output.
        checkpoint: the model's file, by which an earlier attempt is known to be the same.
    """

    def __init__(self, output: Path | None, checkpoint: Path | None = None) -> None:
        self.output, self.checkpoint = output, checkpoint
        self._file: ResumableFile | None = None
        self._collected = CollectedPredictions()
        self._stretch = 0
        self._written = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the file, before the model is loaded, and go on where an earlier attempt ended."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        total = len(data.stored["predict"])
        self._written = 0
        if trainer.is_global_zero and self.output is not None:
            self._file = ResumableFile(self.output, self._fingerprint(trainer, data))
            self._written = self._file.open()
            if self._written:
                log.info("predict    goes on after sentence %s of %s", f"{self._written:,}", f"{total:,}")
            if self._written == total:  # nothing to do: no other hook will be called
                self._file.finish()
        self._written = trainer.strategy.broadcast(self._written)
        self._stretch = self._written // LOOK_AHEAD
        data.skip_first(self._written)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep the batch; write the stretches before it."""
        indices = outputs["sentence_index"]
        if len(indices):
            self._write_until(int(indices[0]) // LOOK_AHEAD, trainer)
        self._collected.add(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rest."""
        total = len(trainer.datamodule.stored["predict"])  # type: ignore[attr-defined]
        self._write_until(-(-total // LOOK_AHEAD), trainer)
        if self._file is not None:
            self._file.finish()
        if trainer.is_global_zero and self._written < total:
            log.warning("only %d of %d sentences were predicted", self._written, total)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say that nothing is lost."""
        if self._file is not None and self._written and isinstance(exception, KeyboardInterrupt):
            log.info(
                "Interrupted: %s sentences are in %s; the same command goes on from there",
                f"{self._written:,}",
                self._file.part,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        elif trainer.is_global_zero:
            sys.stdout.flush()

    def _write_until(self, stretch: int, trainer: Trainer) -> None:
        """Write all stretches before this one; every process does, each as often, so that they meet in ``gather``."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        while self._stretch < stretch:
            self._collected.gather(trainer)
            if trainer.is_global_zero:
                self._write(data)
            self._stretch += 1

    def _write(self, data: NERDataModule) -> None:
        start = self._stretch * LOOK_AHEAD
        sentences = data.stored["predict"].slice(start, start + LOOK_AHEAD)
        lines = []
        for index, labels, scores, _ in self._collected.take():
            tags = [data.label_names[label] for label in labels]
            found = prediction(sentences[index - start], tags, scores, data.labels)
            lines.append(json.dumps(found, ensure_ascii=False))
        if self._file is not None:
            self._file.write(lines, start + len(sentences))
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        self._written += len(lines)

    def _fingerprint(self, trainer: Trainer, data: NERDataModule) -> dict[str, Any]:
        """All that the predictions depend on, to the last digit."""
        return {
            "input": data.encoded["predict"].name,
            "checkpoint": sha256_of(self.checkpoint) if self.checkpoint else None,
            "eval_batch_size": data.hparams["eval_batch_size"],
            "precision": str(trainer.precision),
            "limit": trainer.limit_predict_batches,
        }
