"""Batch planning: which sentences share a step, which process computes them, and the data loaders.

Every process computes the same plan of an epoch from seed and epoch, for *all* processes, and takes its own part. So
nothing is duplicated, the number of steps is equal everywhere, and each batch has the number of labelled subword tokens
of its whole optimisation step. Dividing by that number makes the loss of accumulated or distributed training equal to
that of one large batch.

Evaluation and prediction distribute whole batches of whole sentences, sorted by length; results include the index of
their sentence, to restore the order.

The samplers yield whole batches (``DataLoader(batch_size=None)``): Lightning neither replaces nor shards them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Sampler

from ner_module.data.encoded import BatchAssembler, EncodedSplit, TrainingItem
from ner_module.errors import DataError

log = logging.getLogger(__name__)

Batching = Literal["random", "grouped"]

# `grouped` sorts by length within chunks of this many batches: large enough for even lengths in a batch, small enough
# for batches to differ between epochs. transformers' `group_by_length` uses the same factor.
_GROUP_BATCHES = 50

MicroBatch = list[npt.NDArray[np.int64]]
"""The sequences of each process."""

LOOK_AHEAD = 10_000
"""The chunk of sentences within which prediction sorts by length, and after which it writes."""


@dataclass(frozen=True)
class Plan:
    """The settings that determine the order and steps of an epoch; see :class:`TrainingSampler`."""

    batch_size: int
    batching: Batching
    seed: int
    max_tokens: int | None = None
    world_size: int = 1
    accumulate: int = 1

    def step(self) -> str:
        """A description of the size of a step, over all processes and accumulated micro-batches."""
        parts = self.world_size * self.accumulate
        if self.max_tokens is None:
            return f"{parts * self.batch_size:,} sentences per step"
        return f"up to {parts * self.max_tokens:,} subword tokens per step"

    def count(self, lengths: npt.NDArray[np.int64]) -> int:
        """The number of micro-batches per epoch, the same in each process and every epoch.

        If it changed between epochs, Lightning would drop the surplus, or skip the validation.

        Raises:
            DataError: the budget is less than twice the longest sequence.
        """
        if self.max_tokens is None or not len(lengths):
            return -(-len(lengths) // (self.batch_size * self.world_size))
        longest = int(lengths.max())
        if self.max_tokens < 2 * longest:
            problem = f"it is {self.max_tokens}, less than twice the longest sequence, of {longest} subword tokens"
            raise DataError("--data.max_tokens", None, problem, f"give at least {2 * longest}")
        # A batch exceeds its even share by less than a sequence.
        return -(-int(lengths.sum()) // ((self.max_tokens - longest) * self.world_size))

    def epoch(self, lengths: npt.NDArray[np.int64], epoch: int) -> list[MicroBatch]:
        """The micro-batches of an epoch, shuffled.

        ``grouped``: sequences are sorted by length within chunks of 50 micro-batches, and whole micro-batches are
        shuffled; with ``batch_size``, a smaller last one stays last.
        """
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(lengths))
        if self.batching == "random" or not len(order):
            return self.cut(lengths, order)
        width = self.batch_size * self.world_size
        if self.max_tokens is not None:
            width = self.world_size * -(-len(order) // (self.count(lengths) * self.world_size))
        chunks = np.split(order, range(_GROUP_BATCHES * width, len(order), _GROUP_BATCHES * width))
        chunks = [chunk[np.argsort(-lengths[chunk], kind="stable")] for chunk in chunks]
        batches = self.cut(lengths, np.concatenate(chunks))
        full = len(order) // width if self.max_tokens is None else len(batches)
        return [batches[place] for place in generator.permutation(full)] + batches[full:]

    def cut(self, lengths: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> list[MicroBatch]:
        """Cut an order into micro-batches with equal numbers of sequences, or almost equal numbers of subword tokens.

        In the latter case, a micro-batch has the sequences that begin in its even share of all subword tokens, so it
        exceeds that share by less than the longest sequence.
        """
        if not len(order):
            return []
        if self.max_tokens is None:
            width = self.batch_size * self.world_size
            return [np.array_split(order[at : at + width], self.world_size) for at in range(0, len(order), width)]
        number = self.count(lengths) * self.world_size
        starts = np.cumsum(lengths[order]) - lengths[order]
        parts = np.split(order, np.searchsorted(starts * number // lengths.sum(), np.arange(1, number)))
        return [parts[at : at + self.world_size] for at in range(0, number, self.world_size)]


@dataclass(frozen=True)
class Position:
    """The progress of training, as stored in a checkpoint.

    Attributes:
        epoch: the epoch, from 0.
        batches: its finished micro-batches.
        sequences: its finished sequences.
        plan: determines the micro-batches.
        order: the plan that determined the order when the epoch began; it differs if options changed within the epoch.
    """

    epoch: int
    batches: int
    sequences: int
    plan: Plan
    order: Plan

    @classmethod
    def from_state(cls, state: dict[str, Any] | None) -> Position | None:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**state | {name: Plan(**state[name]) for name in ("plan", "order")}) if state else None


def _count(batches: list[MicroBatch]) -> int:
    return sum(len(part) for together in batches for part in together)


class TrainingSampler(Sampler[TrainingItem]):
    """Yields the micro-batches of this process in each epoch; the last one may have no sequence in some processes.

    Args:
        split: the encoded training data.
        sequences: the sequences to train on; ``None`` for all.
        plan: determines the order and the micro-batches.
        rank: the rank of this process.
        current_epoch: called when an epoch begins; Lightning calls ``set_epoch`` too late for a resumed one.
        resume_at: the position where the first iteration begins. It is given here, since Lightning may create the
            iterator, and workers fetch, before it restores the position. If the plan has changed, the epoch keeps its
            order, and the rest is cut by the new plan.
    """

    def __init__(
        self,
        split: EncodedSplit,
        sequences: npt.NDArray[np.int64] | None,
        plan: Plan,
        rank: int = 0,
        current_epoch: Callable[[], int] = lambda: 0,
        resume_at: Position | None = None,
    ) -> None:
        self._sequences = np.arange(len(split.sequence_lengths)) if sequences is None else sequences
        self.lengths = split.sequence_lengths[self._sequences].astype(np.int64)
        self._labelled = np.asarray(split.sequence_labelled)[self._sequences]
        self.plan, self._rank, self._current_epoch = plan, rank, current_epoch
        self._begun, self._resumed = resume_at, resume_at is None
        self._number = plan.count(self.lengths)
        self._planned: tuple[int, list[MicroBatch]] = -1, []
        if resume_at and resume_at.sequences >= len(self.lengths):  # there are fewer data than before
            done = f"{resume_at.sequences:,} were trained on, and the data now have {len(self.lengths):,}"
            log.warning("the epoch that had begun has no sentence left: %s; it ends here, without a validation", done)

    def __len__(self) -> int:
        return self._number

    def position(self, epoch: int, batches: int) -> Position:
        """The position after a number of finished (not merely fetched) micro-batches of an epoch."""
        finished = _count(self._epoch(epoch)[:batches]) if batches else 0
        if (begun := self._resumed_in(epoch)) is None:
            return Position(epoch, batches, finished, self.plan, self.plan)
        return Position(epoch, batches, max(finished, begun.sequences), self.plan, begun.order)

    def reached(self, trainer: Any) -> Position | None:
        """The position of a trainer's ``fit``; ``None`` for other commands."""
        if trainer is None or trainer.state.fn != "fit":
            return None
        finished = getattr(trainer.fit_loop.epoch_loop.batch_progress.current, "processed", 0)
        is_done = finished >= trainer.num_training_batches
        return self.position(trainer.current_epoch + is_done, 0 if is_done else finished)

    def rest(self) -> tuple[list[MicroBatch], int]:
        """The unfinished micro-batches of the resumed epoch, and the index of the first of them."""
        begun = self._begun
        assert begun is not None
        batches, seen, is_same_plan = self._epoch(begun.epoch), begun.sequences, begun.plan == self.plan
        if is_same_plan and seen == _count(batches[: begun.batches]):
            return batches, begun.batches
        left: list[MicroBatch] = []
        for together in batches:
            left.append([])
            for part in together:
                left[-1].append(part[seen:])
                seen = max(seen - len(part), 0)
        unfinished = (index for index, together in enumerate(left) if _count([together]))
        return left, begun.batches if is_same_plan else next(unfinished, len(left) - 1)

    def _resumed_in(self, epoch: int) -> Position | None:
        begun = self._begun
        return begun if begun and begun.epoch == epoch and (begun.batches or begun.sequences) else None

    def _epoch(self, epoch: int) -> list[MicroBatch]:
        if self._planned[0] != epoch:
            begun = self._resumed_in(epoch)
            batches = (begun.order if begun else self.plan).epoch(self.lengths, epoch)
            if begun and begun.order != self.plan:
                order = np.concatenate([part for together in batches for part in together])
                batches = self.plan.cut(self.lengths, order)
            self._planned = epoch, batches
        return self._planned[1]

    def __iter__(self) -> Iterator[TrainingItem]:
        batches, start = (self._epoch(self._current_epoch()), 0) if self._resumed else self.rest()
        self._resumed = True
        labelled = [sum(int(self._labelled[part].sum()) for part in together) for together in batches]
        for index in range(start, len(self)):
            step = index - index % self.plan.accumulate
            in_step = sum(labelled[step : step + self.plan.accumulate])
            yield TrainingItem(self._sequences[batches[index][self._rank]], in_step)


def evaluation_batches(
    lengths: npt.NDArray[np.int64], batch_size: int, look_ahead: int | None = None
) -> list[npt.NDArray[np.int64]]:
    """Batches of sentence indices, longest first, so that memory runs out at once or never.

    With ``look_ahead``, they are sorted within chunks of that many sentences, so that results can be written early.
    """
    batches = []
    chunk = look_ahead or max(len(lengths), 1)
    for start in range(0, len(lengths), chunk):
        order = start + np.argsort(-lengths[start : start + chunk], kind="stable")
        batches.extend(np.split(order, range(batch_size, len(order), batch_size)))
    return batches


def share_of(batches: Sequence[npt.NDArray[np.int64]], rank: int, world_size: int) -> list[npt.NDArray[np.int64]]:
    """Every ``world_size``-th batch, from this process's rank on; an empty batch if there are none.

    In Lightning a process without batches skips the evaluation, and the others would wait forever for its counts.
    """
    return list(batches[rank::world_size]) or [np.empty(0, dtype=np.int64)] * bool(batches)


def training_plan(options: Any, trainer: Any) -> Plan:
    """The plan for the options of ``NERDataModule`` and a trainer (``None``: one process)."""
    accumulate = 1 if trainer is None else trainer.accumulate_grad_batches
    given = options.batch_size, options.batching, options.seed, options.max_tokens
    return Plan(*given, _ranks(trainer)[1], accumulate)


def training_loader(
    assembler: BatchAssembler, options: Any, trainer: Any, resume_at: Position | None
) -> DataLoader[Any]:
    """Micro-batches for the processes and epochs of a trainer; ``options`` are those of ``NERDataModule``."""
    sampler = TrainingSampler(
        assembler.split,
        assembler.split.sequences_of(assembler.chosen),
        training_plan(options, trainer),
        _ranks(trainer)[0],
        current_epoch=lambda: 0 if trainer is None else trainer.current_epoch,
        resume_at=resume_at,
    )
    return _loader(assembler, sampler, options, trainer)


def evaluation_loader(
    assembler: BatchAssembler, options: Any, trainer: Any, look_ahead: int | None = None, skipped: int = 0
) -> DataLoader[Any]:
    """Batches of :func:`evaluation_batches` without the first ``skipped`` sentences, which are whole chunks."""
    lengths = assembler.split.sentence_lengths()[assembler.chosen]
    batches = evaluation_batches(lengths, options.eval_batch_size, look_ahead)
    mine = share_of([batch for batch in batches if batch[0] >= skipped], *_ranks(trainer))
    return _loader(assembler, mine, options, trainer)


def _ranks(trainer: Any) -> tuple[int, int]:
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def _unchanged(batch: Any) -> Any:
    """Keep arrays, which stay on the host; the default converts them to tensors."""
    return batch


def _loader(assembler: BatchAssembler, sampler: Iterable[Any], options: Any, trainer: Any) -> DataLoader[Any]:
    return DataLoader(
        assembler,
        sampler=sampler,
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=options.num_workers,
        persistent_workers=options.num_workers > 0,
        # Only if the GPU computes: pinning would allocate memory on an unused one.
        pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        # Each iteration draws a seed for its workers; with a separate generator, loaders and their number of workers do
        # not affect the global one, and thus training.
        generator=torch.Generator().manual_seed(options.seed),
    )
