"""Which sentences share a step, which process computes them, and the data loaders that yield them.

Training is planned step by step for *all* processes at once: every process computes the same plan from seed and epoch
and takes its own part, so nothing is duplicated, the number of steps is equal everywhere, and each batch knows how many
labelled subword tokens its whole optimisation step has (over processes and accumulated micro-batches). Dividing by that
number makes the loss of accumulated or distributed training equal to that of one large batch.

Evaluation and prediction distribute whole batches of whole sentences, sorted by length, over the processes; results
carry the index of their sentence, by which whoever collects them restores the order.

The samplers yield whole batches (``DataLoader(batch_size=None)``): Lightning neither replaces nor shards them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Sampler

from ner_module.data.encoded import BatchAssembler, EncodedSplit, TrainingItem
from ner_module.errors import DataError

Batching = Literal["random", "grouped"]

# `grouped` sorts by length inside chunks of this many batches: large enough that a batch is even, small enough that
# batches differ from epoch to epoch. transformers' `group_by_length` uses the same factor.
_GROUP_BATCHES = 50

LOOK_AHEAD = 10_000
"""Predictions are sorted by length within this many sentences, so that they can be written as they come."""


def epoch_order(
    lengths: npt.NDArray[np.int64], batch_size: int, batching: Batching, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The order of the sequences in an epoch.

    ``random``: uniform. ``grouped``: uniform, then sorted by length within chunks of 50 batches, whole batches
    shuffled; only a last, smaller batch stays last.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if batching == "random":
        return order
    grouped = _sorted_in_chunks(lengths, order, _GROUP_BATCHES * batch_size)
    full = len(grouped) // batch_size
    shuffled = grouped[: full * batch_size].reshape(full, batch_size)[generator.permutation(full)].reshape(-1)
    return np.concatenate([shuffled, grouped[full * batch_size :]])


def token_batches(
    lengths: npt.NDArray[np.int64], number: int, world_size: int, batching: Batching, seed: int, epoch: int
) -> list[npt.NDArray[np.int64]]:
    """Cut an epoch into ``number`` batches, a multiple of ``world_size``, of almost the same number of subword tokens.

    A batch holds the sequences that begin in its even share of all subword tokens, so it exceeds that share by less
    than the longest sequence. ``world_size`` consecutive batches are computed at once, and stay together. Their number
    is that of every epoch: Lightning drops the surplus, or skips the validation, when it changes.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if batching == "grouped":
        order = _sorted_in_chunks(lengths, order, _GROUP_BATCHES * world_size * -(-len(order) // number))
    starts = np.cumsum(lengths[order]) - lengths[order]
    batches = np.split(order, np.searchsorted(starts * number // lengths.sum(), np.arange(1, number)))
    if batching == "grouped":
        places = generator.permutation(number // world_size)
        batches = [batches[place * world_size + rank] for place in places for rank in range(world_size)]
    return batches


def _sorted_in_chunks(
    lengths: npt.NDArray[np.int64], order: npt.NDArray[np.int64], chunk: int
) -> npt.NDArray[np.int64]:
    parts = np.split(order, range(chunk, len(order), chunk))
    return np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in parts])


def count_batches(lengths: npt.NDArray[np.int64], batch_size: int, max_tokens: int | None, world_size: int = 1) -> int:
    """Micro-batches of an epoch, the same for each process and in every epoch; see :class:`TrainingSampler`.

    Raises:
        DataError: the budget is less than two of the longest sequence.
    """
    if max_tokens is None or not len(lengths):
        return -(-len(lengths) // (batch_size * world_size))
    longest = int(lengths.max())
    if max_tokens < 2 * longest:
        problem = f"it is {max_tokens}, less than two of the longest sequence, which has {longest} subword tokens"
        raise DataError("--data.max_tokens", None, problem, f"give at least {2 * longest}")
    # A batch exceeds its even share by less than a sequence.
    return -(-int(lengths.sum()) // ((max_tokens - longest) * world_size))


class TrainingSampler(Sampler[TrainingItem]):
    """The micro-batches of this process, epoch by epoch; in the last of an epoch some processes may get no sequence.

    Args:
        split: the encoded training data.
        sequences: which ones to train on; ``None`` for all.
        batch_size: sequences of one process in one micro-batch.
        batching: which sequences share a step, see :func:`epoch_order`.
        seed: decides, with the epoch, the order.
        accumulate: micro-batches of an optimisation step.
        rank: this process.
        world_size: how many there are.
        current_epoch: asked when an epoch begins; Lightning calls ``set_epoch`` too late for a resumed one.
        resume_at: the epoch and the micro-batch in it at which the first iteration begins. Given here, since Lightning
            may make the iterator, and its workers fetch, before it restores the position.
        max_tokens: subword tokens of one process in one micro-batch at most, in place of ``batch_size``; at least twice
            the longest sequence.
    """

    def __init__(
        self,
        split: EncodedSplit,
        sequences: npt.NDArray[np.int64] | None,
        batch_size: int,
        batching: Batching,
        seed: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        current_epoch: Callable[[], int] = lambda: 0,
        resume_at: tuple[int, int] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._sequences = np.arange(split.num_sequences) if sequences is None else sequences
        self._lengths = split.sequence_lengths()[self._sequences]
        self._labelled = np.asarray(split.sequence_labelled)[self._sequences]
        self.batch_size, self.batching, self.seed = batch_size, batching, seed
        self.accumulate, self.rank, self.world_size = accumulate, rank, world_size
        self._current_epoch = current_epoch
        self._resume_at = resume_at
        self.max_tokens = max_tokens
        self._number = count_batches(self._lengths, batch_size, max_tokens, world_size)

    def __len__(self) -> int:
        return self._number

    def _epoch(self, epoch: int) -> list[list[npt.NDArray[np.int64]]]:
        """Micro-batches, and in each the sequences of every process."""
        world_size = self.world_size
        if self.max_tokens is None:
            width = self.batch_size * world_size
            order = epoch_order(self._lengths, width, self.batching, self.seed, epoch)
            return [np.array_split(order[at : at + width], world_size) for at in range(0, len(order), width)]
        if not len(self):
            return []
        batches = token_batches(self._lengths, len(self) * world_size, world_size, self.batching, self.seed, epoch)
        return [batches[start : start + world_size] for start in range(0, len(batches), world_size)]

    def __iter__(self) -> Iterator[TrainingItem]:
        epoch, start = self._resume_at or (self._current_epoch(), 0)
        self._resume_at = None
        batches = self._epoch(epoch)
        labelled = [sum(int(self._labelled[part].sum()) for part in together) for together in batches]
        for index in range(start, len(self)):
            step = index - index % self.accumulate
            in_step = sum(labelled[step : step + self.accumulate])
            yield TrainingItem(self._sequences[batches[index][self.rank]], in_step)


def evaluation_batches(
    lengths: npt.NDArray[np.int64], batch_size: int, look_ahead: int | None = None
) -> list[npt.NDArray[np.int64]]:
    """Batches of sentence indices, longest first so that memory runs out at once or never.

    With ``look_ahead``, they are sorted within that many sentences only, so that results can be written as they come.
    """
    batches = []
    chunk = look_ahead or max(len(lengths), 1)
    for start in range(0, len(lengths), chunk):
        order = start + np.argsort(-lengths[start : start + chunk], kind="stable")
        batches.extend(np.split(order, range(batch_size, len(order), batch_size)))
    return batches


def share_of(batches: Sequence[npt.NDArray[np.int64]], rank: int, world_size: int) -> list[npt.NDArray[np.int64]]:
    """Every ``world_size``-th batch, from this process's rank on.

    Where there are fewer batches than processes, some get one batch without a sentence: Lightning lets a process that
    has no batch at all skip the evaluation, and the others would wait for its counts forever.
    """
    return list(batches[rank::world_size]) or [np.empty(0, dtype=np.int64)] * bool(batches)


def training_loader(
    assembler: BatchAssembler, options: Any, trainer: Any, resume_at: tuple[int, int] | None
) -> DataLoader[Any]:
    """Batches as :class:`TrainingSampler` plans them for the processes and epochs of a trainer (``None``: one process).

    ``options`` are the arguments of ``NERDataModule``.
    """
    split, chosen = assembler.split, assembler.chosen
    sampler = TrainingSampler(
        split,
        None if chosen is None else split.sequences_of(chosen),
        options.batch_size,
        options.batching,
        options.seed,
        1 if trainer is None else trainer.accumulate_grad_batches,
        *_ranks(trainer),
        current_epoch=lambda: 0 if trainer is None else trainer.current_epoch,
        resume_at=resume_at,
        max_tokens=options.max_tokens,
    )
    return _loader(assembler, sampler, options)


def evaluation_loader(
    assembler: BatchAssembler, options: Any, trainer: Any, look_ahead: int | None = None, skipped: int = 0
) -> DataLoader[Any]:
    """Whole sentences, sorted by length as :func:`evaluation_batches` does.

    The first ``skipped`` sentences, whole stretches of ``look_ahead``, are left out.
    """
    lengths = assembler.split.sentence_lengths()
    lengths = lengths if assembler.chosen is None else lengths[assembler.chosen]
    batches = evaluation_batches(lengths, options.eval_batch_size, look_ahead)
    mine = share_of([batch for batch in batches if batch[0] >= skipped], *_ranks(trainer))
    return _loader(assembler, mine, options)


def _ranks(trainer: Any) -> tuple[int, int]:
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _loader(assembler: BatchAssembler, sampler: Iterable[Any], options: Any) -> DataLoader[Any]:
    return DataLoader(
        assembler,
        sampler=sampler,
        batch_size=None,
        num_workers=options.num_workers,
        persistent_workers=options.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Each iteration draws a seed for its workers; from a generator of its own, so that loaders and their number of
        # workers leave the global one, and with it training, unchanged.
        generator=torch.Generator().manual_seed(options.seed),
    )
