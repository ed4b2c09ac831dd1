"""Prediction files: gold and predicted tags of ``validate`` and ``test``, entities of ``predict``.

Batches are sorted by length and distributed over processes; both callbacks collect predictions (:class:`Collected`) and
write them in the first process, in the order of the input.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.data.batching import LOOK_AHEAD
from ner_module.data.datamodule import NERDataModule
from ner_module.data.entities import prediction
from ner_module.files import open_atomically, sha256_of
from ner_module.model.decoding import likeliest_labels
from ner_module.training.operating_points import choose_point, read_points
from ner_module.training.results import update_results
from ner_module.training.resumable_file import ResumableFile

log = logging.getLogger(__name__)


class Collected:
    """A buffer of label, score and gold label per word, 8 bytes per word, and of further named outputs."""

    def __init__(self, *more: str) -> None:
        self._names = ("label_ids", "scores", "gold", *more)
        self._batches: list[dict[str, Any]] = []

    def add(self, outputs: dict[str, Any]) -> None:
        """Add the outputs of a step: ``sentence_index`` and ``num_words`` ``[N]``, the others ``[N, W, …]``.

        They are copied from CUDA asynchronously, and may be read only after :func:`torch.cuda.synchronize`.
        """
        batch = {name: outputs[name] for name in ("sentence_index", "num_words")}
        for name in self._names:
            values = outputs[name].to(torch.float32 if outputs[name].is_floating_point() else torch.int16)
            batch[name] = values.to("cpu", non_blocking=values.device.type == "cuda")
        self._batches.append(batch)

    def take(self, trainer: Trainer) -> Iterator[Any]:
        """Empty the buffer; yields index and values per word of each sentence, by index, in the first process.

        A collective: every process must call it equally often.
        """
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        batches = [_real_words(batch) for batch in self._batches]
        self._batches = []
        if trainer.world_size > 1:
            parts: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
            torch.distributed.gather_object(batches, parts)
            batches = [batch for part in parts or [] for batch in part]
        if not batches:
            return iter(())
        index, num_words, *values = (np.concatenate([batch[name] for batch in batches]) for name in batches[0])
        words = [np.split(value, np.cumsum(num_words)[:-1]) for value in values]
        return (
            (int(index[place]), *(of_sentences[place].tolist() for of_sentences in words))
            for place in np.argsort(index, kind="stable")
        )


def _real_words(batch: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A batch on the host, flattened to real words."""
    real = np.arange(batch["label_ids"].shape[1]) < batch["num_words"][:, None]
    return {name: values.numpy()[real] if torch.is_tensor(values) else values for name, values in batch.items()}


class EvaluationFiles(Callback):
    """Writes ``RUN/predictions/{validation,test}.jsonl``: words, tags, scores, file and line of each sentence."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._collected = Collected()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Collect the predictions of ``validate`` or ``test``."""
        self._collected.add(outputs)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        split = "test" if trainer.testing else "validation"
        sentences = self._collected.take(trainer)
        if not trainer.is_global_zero:
            return
        path = self.run_dir / "predictions" / f"{split}.jsonl"
        with open_atomically(path) as file:
            for index, label_ids, scores, gold in sentences:
                tokens, source, line = data.sentence_of(split, index)
                fields = {
                    "tokens": tokens,
                    "gold_tags": [data.labels.names[label] for label in gold],
                    "predicted_tags": [data.labels.names[label] for label in label_ids],
                    "scores": [round(score, 4) for score in scores],
                    "file": source,
                    "line": line,
                }
                file.write(json.dumps(fields, ensure_ascii=False).encode(errors="replace") + b"\n")
        update_results(self.run_dir, {}, [f"predictions/{split}.jsonl"])

    on_test_end = on_validation_end


class PredictionFile(Callback):
    """Writes the output of ``predict``: one JSON object per input line, in input order, in constant memory.

    Batches are sorted by length within chunks of ``LOOK_AHEAD`` sentences. After each chunk the processes send their
    part to the first one, which writes it: memory does not grow with the input, no shared disk is needed, and an
    interrupted prediction resumes after the last complete chunk.

    Args:
        output: the file; ``None`` for standard output.
        checkpoint: the model's file, to recognise an earlier attempt with the same model.
        output_tags: also write ``word_tags``.
        asked: the options of an operating point.
    """

    def __init__(
        self,
        output: Path | None,
        checkpoint: Path | None = None,
        output_tags: bool = False,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        self.output, self.checkpoint, self.output_tags, self.asked = output, checkpoint, output_tags, asked or {}
        self._file: ResumableFile | None = None
        self._chunk = self._written = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the file before the model is loaded, and resume after an earlier attempt."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        total = len(data.stored["predict"])
        decoding = pl_module.hparams["decoding"]
        self._point = choose_point(lambda: read_points(self.checkpoint), data.labels, decoding, self.asked)
        self._more = ("top", "top_ids") * self.output_tags + ("probabilities",) * (
            self._point is not None and self._point.has_candidates
        )
        self._collected = Collected(*self._more)
        if trainer.is_global_zero and self.output is not None:
            self._file = ResumableFile(self.output, self._fingerprint(trainer, data, pl_module))
            self._written = self._file.open()
            if self._written:
                log.info("predict    resumes after sentence %s of %s", f"{self._written:,}", f"{total:,}")
            if self._written == total:  # nothing left: no other hook will be called
                self._file.finish()
        self._written = data.predicted_before = trainer.strategy.broadcast(self._written)
        self._chunk = self._written // LOOK_AHEAD

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Write the chunks before this batch; collect the batch."""
        indices = outputs["sentence_index"]
        if len(indices):
            self._write_until(int(indices[0]) // LOOK_AHEAD, trainer)
        if self.output_tags:
            top, top_ids = likeliest_labels(outputs["probabilities"], outputs["scores"])
            outputs = {**outputs, "top": top, "top_ids": top_ids}
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
        """Say where the predictions so far are."""
        if self._file is not None and self._written and isinstance(exception, KeyboardInterrupt):
            done, part = f"{self._written:,}", self._file.part
            log.info("Interrupted: %s sentences are in %s; the same command resumes from there", done, part)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write_until(self, chunk: int, trainer: Trainer) -> None:
        """Write all chunks before this one; a collective, since all processes meet in ``take``."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        for current in range(self._chunk, chunk):
            start = current * LOOK_AHEAD
            found = self._collected.take(trainer)
            if not trainer.is_global_zero:
                continue
            sentences = list(data.stored["predict"].sentences(start, start + LOOK_AHEAD))
            lines = []
            for index, ids, scores, _, *more in found:
                words: dict[str, Any] = dict(zip(self._more, more, strict=True))
                result = prediction(sentences[index - start], ids, scores, data.labels, point=self._point, **words)
                lines.append(json.dumps(result, ensure_ascii=False))
            if self._file is not None:
                self._file.write(lines, start + len(sentences))
            else:
                for line in lines:  # JSON escapes all other characters that control a terminal
                    print(re.sub("[\x7f-\x9f]", lambda control: f"\\u{ord(control[0]):04x}", line))
                sys.stdout.flush()
            self._written += len(lines)
        self._chunk = max(self._chunk, chunk)

    def _fingerprint(self, trainer: Trainer, data: NERDataModule, pl_module: LightningModule) -> dict[str, Any]:
        """Everything that the predictions depend on."""
        return {
            "input": data.encoded["predict"].name,
            "checkpoint": sha256_of(self.checkpoint) if self.checkpoint else None,
            "decoding": pl_module.hparams["decoding"],
            "output_tags": self.output_tags,
            "point": str(self._point),
            "eval_batch_size": data.hparams["eval_batch_size"],
            "precision": str(trainer.precision),
            "limit": trainer.limit_predict_batches,
        }


def holds_predictions(path: Path) -> bool:
    """Whether a file is empty, or begins like an output of ``predict``."""
    try:
        with path.open("rb") as file:
            first = file.readline(2**24)
        return not first or "entities" in json.loads(first)
    except (OSError, ValueError, TypeError):
        return False
