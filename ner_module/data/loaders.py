"""Data loaders: the planned batches of `batching.py`, assembled in the main process or in workers.

The samplers yield whole batches (``DataLoader(batch_size=None)``): Lightning neither replaces nor shards them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ner_module.data.batching import (
    BatchAssembler,
    EvaluationSampler,
    TrainingItem,
    TrainingSampler,
    evaluation_batches,
)
from ner_module.tagging import IGNORE_INDEX

Selection = npt.NDArray[np.int64] | None
"""Indices of some sentences of an encoded split; ``None`` for all."""


class TrainingBatches(Dataset[dict[str, Any]]):
    """Sequences to tensors, for a loader whose sampler yields :class:`TrainingItem`."""

    def __init__(self, assembler: BatchAssembler) -> None:
        self._assembler = assembler

    def __getitem__(self, item: TrainingItem) -> dict[str, Any]:
        # With fewer sequences than processes, this one computes one that counts nothing: collectives need everybody.
        idle = len(item.sequences) == 0
        batch = self._assembler.sequences(np.zeros(1, dtype=np.int64) if idle else item.sequences)
        if idle:
            batch["labels"].fill_(IGNORE_INDEX)
        return {**batch, "labelled_in_step": item.labelled_in_step}


class SentenceBatches(Dataset[dict[str, Any]]):
    """Sentences to tensors, for a loader whose sampler yields sentence indices.

    Args:
        assembler: of the split.
        sentences: which sentences of the split these indices count, ``None`` for all.
    """

    def __init__(self, assembler: BatchAssembler, sentences: npt.NDArray[np.int64] | None = None) -> None:
        self._assembler = assembler
        self._sentences = sentences

    def __getitem__(self, indices: npt.NDArray[np.int64]) -> dict[str, Any]:
        sentences = indices if self._sentences is None else self._sentences[indices]
        return self._assembler.sentences(sentences) | {
            "sentence_index": torch.from_numpy(np.ascontiguousarray(indices))
        }


def training_loader(
    assembler: BatchAssembler, chosen: Selection, options: Any, trainer: Any, resume_at: tuple[int, int] | None
) -> DataLoader[Any]:
    """Batches of sequences in a new order each epoch.

    Args:
        assembler: of the encoded split.
        chosen: the sentences to train on.
        options: the arguments of ``NERDataModule``.
        trainer: whose processes, accumulation and epochs are planned for; ``None`` for one process.
        resume_at: the epoch and the micro-batch in it to begin with.
    """
    sampler = TrainingSampler(
        assembler.split,
        None if chosen is None else assembler.split.sequences_of(chosen),
        options.batch_size,
        options.batching,
        options.seed,
        1 if trainer is None else trainer.accumulate_grad_batches,
        *_ranks(trainer),
        current_epoch=lambda: 0 if trainer is None else trainer.current_epoch,
        resume_at=resume_at,
        max_tokens=options.max_tokens,
    )
    return _loader(TrainingBatches(assembler), sampler, options)


def evaluation_loader(
    assembler: BatchAssembler,
    chosen: Selection,
    options: Any,
    trainer: Any,
    look_ahead: int | None = None,
    skipped: int = 0,
) -> DataLoader[Any]:
    """Whole sentences, sorted by length.

    Args:
        assembler: of the encoded split.
        chosen: the sentences to evaluate.
        options: the arguments of ``NERDataModule``.
        trainer: whose processes share the batches; ``None`` for one process.
        look_ahead: see :func:`evaluation_batches`.
        skipped: the number of first sentences to leave out, whole stretches of ``look_ahead``.
    """
    lengths = assembler.split.sentence_lengths()
    batches = evaluation_batches(lengths if chosen is None else lengths[chosen], options.eval_batch_size, look_ahead)
    sampler = EvaluationSampler([batch for batch in batches if batch[0] >= skipped], *_ranks(trainer))
    return _loader(SentenceBatches(assembler, chosen), sampler, options)


def _ranks(trainer: Any) -> tuple[int, int]:
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _loader(dataset: Dataset[Any], sampler: Sampler[Any], options: Any) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=options.num_workers,
        persistent_workers=options.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Each iteration draws a seed for its workers; from a generator of its own, so that loaders and their number of
        # workers leave the global one, and with it training, unchanged.
        generator=torch.Generator().manual_seed(options.seed),
    )
