"""Data loaders: the planned batches of `batching.py`, assembled in the main process or in workers.

The samplers yield whole batches (``DataLoader(batch_size=None)``): Lightning neither replaces nor shards them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ner_module.data.batching import BatchAssembler, EvaluationSampler, Selection, TrainingSampler, evaluation_batches


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
    return _loader(assembler.micro_batch, sampler, options)


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
    return _loader(partial(assembler.sentences, chosen=chosen), sampler, options)


def _ranks(trainer: Any) -> tuple[int, int]:
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


class Batches(Dataset[dict[str, Any]]):
    """What a function makes of each item of the sampler."""

    def __init__(self, assemble: Callable[[Any], dict[str, Any]]) -> None:
        self._assemble = assemble

    def __getitem__(self, item: Any) -> dict[str, Any]:
        return self._assemble(item)


def _loader(assemble: Callable[[Any], dict[str, Any]], sampler: Sampler[Any], options: Any) -> DataLoader[Any]:
    return DataLoader(
        Batches(assemble),
        sampler=sampler,
        batch_size=None,
        num_workers=options.num_workers,
        persistent_workers=options.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Each iteration draws a seed for its workers; from a generator of its own, so that loaders and their number of
        # workers leave the global one, and with it training, unchanged.
        generator=torch.Generator().manual_seed(options.seed),
    )
