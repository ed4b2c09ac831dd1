"""Which sentences share a step, which process computes them, and how they become tensors.

Training is planned step by step for *all* processes at once: every process computes the same plan from seed and epoch
and takes its own part, so nothing is duplicated, the number of steps is equal everywhere, and each batch knows how many
labelled subword tokens its whole optimisation step has (over processes and accumulated micro-batches). Dividing by that
number makes the loss of accumulated or distributed training equal to that of one large batch.

Evaluation and prediction distribute whole batches of whole sentences, sorted by length, over the processes; results
carry the index of their sentence, by which whoever collects them restores the order.

Not here: the loaders around this (`loaders.py`), and how the model computes a batch (`model/packed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from ner_module.data.alignment import NO_SUBWORD
from ner_module.data.encoded import EncodedSplit
from ner_module.errors import DataError
from ner_module.tagging import IGNORE_INDEX

Batching = Literal["random", "grouped"]

Selection = npt.NDArray[np.int64] | None
"""Indices of some sentences of an encoded split; ``None`` for all."""

# `grouped` sorts by length inside chunks of this many batches: large enough that a batch is even, small enough that
# batches differ from epoch to epoch. transformers' `group_by_length` uses the same factor.
_GROUP_BATCHES = 50

LOOK_AHEAD = 10_000
"""Predictions are sorted by length within this many sentences, so that they can be written as they come."""


@dataclass(frozen=True)
class TrainingItem:
    """What one process computes in one micro-batch."""

    sequences: npt.NDArray[np.int64]
    labelled_in_step: int
    """Labelled subword tokens of the whole optimisation step, over all processes and accumulated micro-batches."""


def epoch_order(
    lengths: npt.NDArray[np.int64], batch_size: int, batching: Batching, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The order of all sequences in one epoch, a permutation that depends on seed and epoch alone.

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
    """Cut an epoch into exactly ``number`` batches with almost the same number of subword tokens.

    A batch holds the sequences that begin in its even share of all subword tokens, so it exceeds that share by less
    than the longest sequence. The number of batches does not depend on the order: Lightning drops the surplus, or skips
    the validation, when it changes from epoch to epoch.

    Args:
        lengths: subword tokens of each sequence.
        number: a multiple of ``world_size``.
        world_size: that many consecutive batches are computed at once, and stay together.
        batching: see :func:`epoch_order`.
        seed: decides, with the epoch, the order.
        epoch: which one.
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
    """Micro-batches of an epoch, the same for each process and in every epoch.

    Args:
        lengths: subword tokens of each sequence.
        batch_size: sequences of one process in one micro-batch.
        max_tokens: subword tokens of one process in one micro-batch, in place of the number of sequences.
        world_size: how many processes there are.

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
    """The micro-batches of this process, epoch by epoch.

    A micro-batch takes ``batch_size`` sequences for each process, or as many as hold ``max_tokens`` subword tokens at
    most. The last one distributes the rest; when that is fewer than there are processes, some get no sequence.

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

    Args:
        lengths: subword tokens of each sentence.
        batch_size: sentences of a batch.
        look_ahead: sort within that many consecutive sentences only, so that results can be written as they come.

    Returns:
        Every index exactly once.
    """
    batches = []
    chunk = look_ahead or max(len(lengths), 1)
    for start in range(0, len(lengths), chunk):
        order = start + np.argsort(-lengths[start : start + chunk], kind="stable")
        batches.extend(np.split(order, range(batch_size, len(order), batch_size)))
    return batches


class EvaluationSampler(Sampler[npt.NDArray[np.int64]]):
    """Every ``world_size``-th of the given batches, from this process's rank on.

    Where there are fewer batches than processes, some get one batch without a sentence: Lightning lets a process that
    has no batch at all skip the evaluation, and the others would wait for its counts forever.
    """

    def __init__(self, batches: Sequence[npt.NDArray[np.int64]], rank: int = 0, world_size: int = 1) -> None:
        self._mine = list(batches[rank::world_size])
        if not self._mine and batches:
            self._mine = [np.empty(0, dtype=np.int64)]

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        return iter(self._mine)


class BatchAssembler:
    """Turns sequences of an :class:`EncodedSplit` into tensors: one after the other, without padding.

    Args:
        split: the arrays.
        label_ids: ``[len(split.tag_names)]``, the model's label id of each tag of the split.
    """

    def __init__(self, split: EncodedSplit, label_ids: Sequence[int]) -> None:
        self.split = split
        # The last entry is what UNLABELLED (-1) indexes.
        self._label_ids = np.asarray([*label_ids, IGNORE_INDEX], dtype=np.int64)

    def sequences(self, sequences: npt.NDArray[np.int64]) -> dict[str, Any]:
        """``input_ids`` and ``labels`` ``[subwords]``, and ``lengths``, the subword tokens of each sequence, as a list.

        The lengths stay on the host, where attention is planned: asking a GPU for them would make it wait.
        """
        split = self.split
        starts, ends = split.sequence_offsets[sequences], split.sequence_offsets[sequences + 1]
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return {
            "input_ids": torch.from_numpy(_gather(split.input_ids, parts).astype(np.int64)),
            "labels": torch.from_numpy(self._label_ids[_gather(split.labels, parts)]),
            "lengths": (ends - starts).tolist(),
        }

    def micro_batch(self, item: TrainingItem) -> dict[str, Any]:
        """The sequences of an item, and ``labelled_in_step``."""
        # With fewer sequences than processes, this one computes one that counts nothing: collectives need everybody.
        idle = len(item.sequences) == 0
        batch = self.sequences(np.zeros(1, dtype=np.int64) if idle else item.sequences)
        if idle:
            batch["labels"].fill_(IGNORE_INDEX)
        return {**batch, "labelled_in_step": item.labelled_in_step}

    def sentences(self, indices: npt.NDArray[np.int64], chosen: Selection = None) -> dict[str, Any]:
        """All sequences of some sentences, and where their words are.

        Args:
            indices: which sentences.
            chosen: the sentences of the split that these indices count.

        Returns:
            What :meth:`sequences` gives, and ``word_positions`` ``[sentences, words]``: the place of a word's first
            subword token among all of them, ``NO_SUBWORD`` where it has none or the sentence is shorter; ``gold``
            ``[sentences, words]``: label ids, ``IGNORE_INDEX`` past the sentence's end or without annotation;
            ``sentence_index`` and ``num_words`` ``[sentences]``.
        """
        split = self.split
        sentences = indices if chosen is None else chosen[indices]
        sequences = split.sequences_of(sentences)
        batch = self.sequences(sequences)
        words = [split.words_of(index) for index in sentences.tolist()]
        num_words = np.array([part.stop - part.start for part in words], dtype=np.int64)
        starts = np.cumsum([0, *batch["lengths"]])[:-1]
        start_of = np.repeat(starts, split.sequence_words[sequences + 1] - split.sequence_words[sequences])
        places = _gather(split.word_positions, words).astype(np.int64)
        present = np.arange(max(int(num_words.max(initial=0)), 1)) < num_words[:, None]
        positions, gold = np.full(present.shape, NO_SUBWORD), np.full(present.shape, IGNORE_INDEX)
        positions[present] = np.where(places == NO_SUBWORD, NO_SUBWORD, places + start_of)
        gold[present] = self._label_ids[_gather(split.word_labels, words)]
        return batch | {
            "word_positions": torch.from_numpy(positions),
            "gold": torch.from_numpy(gold),
            "sentence_index": torch.from_numpy(np.ascontiguousarray(indices)),
            "num_words": torch.from_numpy(num_words),
        }


def _gather(array: npt.NDArray[Any], parts: Sequence[slice]) -> npt.NDArray[Any]:
    return np.concatenate([array[:0], *(array[part] for part in parts)])
