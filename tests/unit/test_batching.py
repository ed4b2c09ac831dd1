"""Batches: nothing lost, nothing twice, the same whoever computes it; and the loss of one large batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from ner_module.data.alignment import Subwords
from ner_module.data.batching import (
    Batching,
    Plan,
    Position,
    TrainingSampler,
    evaluation_batches,
    share_of,
)
from ner_module.data.encoded import (
    NO_SUBWORD,
    BatchAssembler,
    EncodedSplit,
    EncodingOptions,
    TrainingItem,
    encode_split,
)
from ner_module.errors import DataError
from ner_module.model.module import NERModule
from ner_module.model.packed import pad_sequences
from ner_module.tagging import IGNORE_INDEX, LabelSet
from ner_module.tokenizer import load_tokenizer

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
LABELS = LabelSet(tuple(TAGS), "iob2", "O")
OPTIONS = EncodingOptions(16, 4, False, "iob2", "iob2", "O")


@pytest.fixture(scope="module")
def subwords(tiny_model: Callable[..., Path]) -> Subwords:
    return Subwords(load_tokenizer(str(tiny_model())))


@pytest.fixture(scope="module")
def make_split(subwords: Subwords, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], EncodedSplit]:
    """``make_split(37)``: that many random sentences; empty, windowed and unlabelled ones among them."""
    folder = tmp_path_factory.mktemp("splits")
    made: dict[int, EncodedSplit] = {}

    def make(size: int) -> EncodedSplit:
        if size not in made:
            chance = np.random.default_rng(size)
            words = ["was", "born", "Zyqxw", "the", "\u200b", "."]
            tokens = [chance.choice(words, length).tolist() for length in chance.integers(0, 24, size)]
            tags = [chance.choice(TAGS, len(sentence)).tolist() for sentence in tokens]
            made[size] = encode_split(
                folder / str(size),
                [(words, tags[index], None) for index, words in enumerate(tokens)],
                subwords,
                OPTIONS,
            )
        return made[size]

    return make


def plan_of(**options: Any) -> Plan:
    return Plan(**{"batch_size": 4, "batching": "random", "seed": 7, **options})


def epoch(
    split: EncodedSplit, number: int = 0, sequences: Any = None, rank: int = 0, **plan: Any
) -> list[TrainingItem]:
    return list(TrainingSampler(split, sequences, plan_of(**plan), rank, current_epoch=lambda: number))


def epoch_order(
    lengths: npt.NDArray[np.int64], batch_size: int, batching: Batching, seed: int, number: int
) -> npt.NDArray[np.int64]:
    batches = Plan(batch_size, batching, seed).epoch(lengths, number)
    return np.concatenate([part for together in batches for part in together]) if batches else np.arange(0)


def position(split: EncodedSplit, plan: Plan, epoch: int, batches: int) -> Position:
    return TrainingSampler(split, None, plan).position(epoch, batches)


def sequences_of(items: list[TrainingItem]) -> list[int]:
    return list(chain.from_iterable(item.sequences.tolist() for item in items))


# ---------------------------------------------------------------- the order of an epoch


@given(
    lengths=st.lists(st.integers(2, 64), max_size=300),
    batch_size=st.integers(1, 9),
    batching=st.sampled_from(("random", "grouped")),
    seed=st.integers(0, 2**32),
    number=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_sequence_once_per_epoch(
    lengths: list[int], batch_size: int, batching: Batching, seed: int, number: int
) -> None:
    array = np.array(lengths, dtype=np.int64)
    order = epoch_order(array, batch_size, batching, seed, number)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert np.array_equal(order, epoch_order(array, batch_size, batching, seed, number))


@pytest.mark.parametrize("batching", ["random", "grouped"])
def test_the_order_differs_from_epoch_to_epoch_and_from_seed_to_seed(batching: Batching) -> None:
    lengths = np.random.default_rng(0).integers(2, 64, 1000)
    orders = {
        tuple(epoch_order(lengths, 8, batching, seed, number).tolist()) for seed in range(3) for number in range(3)
    }
    assert len(orders) == 9
    # Not only the order of batches: which sequences share one differs too.
    batches = [
        {frozenset(batch.tolist()) for batch in epoch_order(lengths, 8, batching, 0, number).reshape(-1, 8)}
        for number in range(2)
    ]
    assert len(batches[0] & batches[1]) < 5


def test_random_batches_do_not_follow_the_length_and_grouped_ones_do() -> None:
    lengths = np.random.default_rng(0).integers(2, 64, 8 * 400)
    spread = {
        batching: np.ptp(lengths[epoch_order(lengths, 8, batching, 0, 0)].reshape(-1, 8), axis=1).mean()
        for batching in ("random", "grouped")
    }
    assert spread["random"] > 40
    assert spread["grouped"] < 4
    # Lengths neither fall nor rise over the epoch, nor within the chunks that were sorted.
    longest = lengths[epoch_order(lengths, 8, "grouped", 0, 0)].reshape(-1, 8).max(axis=1)
    for part in (longest, *np.split(longest, 8)):
        assert abs(np.corrcoef(part, np.arange(len(part)))[0, 1]) < 0.5


def test_only_the_last_batch_is_smaller() -> None:
    lengths = np.arange(2, 2 + 8 * 120 + 3)
    order = epoch_order(lengths, 8, "grouped", 0, 0)
    for start in range(0, 8 * 120, 8):
        assert np.ptp(lengths[order[start : start + 8]]) < 200, "a batch is cut across two groups"


# ---------------------------------------------------------------- training batches over processes


@pytest.mark.parametrize("batching", ["random", "grouped"])
@pytest.mark.parametrize("size", [0, 1, 5, 16, 37])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_an_epoch_without_gaps_or_duplicates(
    world_size: int, size: int, batching: Batching, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(size)
    ranks = [epoch(split, rank=rank, world_size=world_size, batching=batching) for rank in range(world_size)]
    assert len({len(items) for items in ranks}) == 1, "each process has the same number of batches"
    assert sorted(chain.from_iterable(map(sequences_of, ranks))) == list(range(len(split.sequence_lengths)))
    assert all(len(item.sequences) <= 4 for items in ranks for item in items)
    sampler = TrainingSampler(split, None, plan_of(batching=batching, world_size=world_size))
    assert len(sampler) == len(ranks[0]) == -(-len(split.sequence_lengths) // (4 * world_size))


@pytest.mark.parametrize("batching", ["random", "grouped"])
def test_a_step_is_the_same_however_many_processes_compute_it(
    batching: Batching, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(101)
    one = epoch(split, batch_size=12, batching=batching)
    for world_size, batch_size in ((2, 6), (3, 4), (12, 1)):
        ranks = [
            epoch(split, batch_size=batch_size, batching=batching, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        for alone, together in zip(one, zip(*ranks, strict=True), strict=True):
            assert sorted(alone.sequences) == sorted(np.concatenate([item.sequences for item in together]))
            assert {item.labelled_in_step for item in together} == {alone.labelled_in_step}


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 100])
def test_labelled_in_step_counts_the_whole_optimisation_step(
    accumulate: int, world_size: int, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(37)
    labelled = np.asarray(split.sequence_labelled)
    ranks = [epoch(split, accumulate=accumulate, rank=rank, world_size=world_size) for rank in range(world_size)]
    number = len(ranks[0])
    if accumulate == 3:
        assert number % accumulate, "the last step is a part of one"
    for start in range(0, number, accumulate):
        step = [item for items in ranks for item in items[start : start + accumulate]]
        expected = int(labelled[sequences_of(step)].sum())
        assert {item.labelled_in_step for item in step} == {expected}
    assert sum(item.labelled_in_step for item in ranks[0][::accumulate]) == labelled.sum()


def test_training_on_a_part_of_the_sequences(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(37)
    chosen = np.arange(0, len(split.sequence_lengths), 3)
    items = epoch(split, sequences=chosen, accumulate=2)
    assert sorted(sequences_of(items)) == chosen.tolist()
    assert sum(item.labelled_in_step for item in items[::2]) == split.sequence_labelled[chosen].sum()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("start", [0, 1, 4, 7])
def test_a_resumed_epoch_goes_on_where_it_was(
    start: int, accumulate: int, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(37)
    unbroken = [epoch(split, number, accumulate=accumulate) for number in range(4)]
    now = 3  # what Lightning says of the epoch when the iterator is made, before it has restored its own position
    plan = plan_of(accumulate=accumulate)
    at = position(split, plan, 2, start)
    sampler = TrainingSampler(split, None, plan, current_epoch=lambda: now, resume_at=at)
    assert len(sampler) == len(unbroken[2]), "the length stays the whole epoch's"
    assert_same(list(sampler), unbroken[2][start:])
    assert_same(list(sampler), unbroken[3])


def assert_same(first: list[TrainingItem], second: list[TrainingItem]) -> None:
    assert [(item.sequences.tolist(), item.labelled_in_step) for item in first] == [
        (item.sequences.tolist(), item.labelled_in_step) for item in second
    ]


# ---------------------------------------------------------------- batches by subwords


def test_shorter_data_with_nothing_left_of_the_epoch_is_mentioned(
    make_split: Callable[[int], EncodedSplit], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ner_module"), "propagate", True)
    plan = Plan(4, "random", seed=1)
    split = make_split(37)
    size = len(split.sequence_lengths)
    for done in (size - 1, size, 1000):
        sampler = TrainingSampler(split, None, plan, resume_at=Position(0, -(-done // 4), done, plan, plan))
        left = sum(len(item.sequences) for item in sampler)
        assert left == max(size - done, 0)
        assert (f"the epoch that had begun has no sentence left: {done:,} were" in caplog.text) == (left == 0)


@pytest.mark.parametrize("batching", ["random", "grouped"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("max_tokens", [32, 50, 100, 10**6])
@pytest.mark.parametrize("size", [0, 1, 5, 101])
def test_a_budget_of_subwords_is_kept_and_the_number_of_batches_stays(
    size: int, max_tokens: int, world_size: int, batching: Batching, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(size)
    lengths = split.sequence_lengths
    options: dict[str, Any] = {"max_tokens": max_tokens, "batching": batching, "world_size": world_size}
    numbers = set()
    orders = set()
    for number in range(4):
        ranks = [epoch(split, number, rank=rank, **options) for rank in range(world_size)]
        numbers |= {len(items) for items in ranks}
        assert sorted(chain.from_iterable(map(sequences_of, ranks))) == list(range(len(split.sequence_lengths)))
        assert all(lengths[item.sequences].sum() <= max_tokens for items in ranks for item in items)
        orders.add(tuple(sequences_of(ranks[0])))
    assert numbers == {len(TrainingSampler(split, None, plan_of(**options)))}
    if size == 101:
        assert len(orders) == 4, "a new order each epoch"


def test_batches_by_subwords_are_evenly_large(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(101)
    lengths = split.sequence_lengths
    sizes = [int(lengths[item.sequences].sum()) for item in epoch(split, max_tokens=100)]
    assert max(sizes) - min(sizes) < 2 * lengths.max()
    assert np.mean(sizes) > 100 - 2 * lengths.max()


def test_grouped_batches_by_subwords_follow_the_length(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(101)
    lengths = split.sequence_lengths
    spread = {
        batching: np.mean([np.ptp(lengths[item.sequences]) for item in epoch(split, max_tokens=64, batching=batching)])
        for batching in ("random", "grouped")
    }
    assert spread["grouped"] < 0.3 * spread["random"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_budget_resumes_and_counts_labels_like_a_batch_size(
    accumulate: int, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(37)
    options: dict[str, Any] = {"max_tokens": 60, "accumulate": accumulate}
    whole = epoch(split, 2, **options)
    plan = plan_of(**options)
    resumed = TrainingSampler(split, None, plan, resume_at=position(split, plan, 2, 4))
    assert_same(list(resumed), whole[4:])
    for start in range(0, len(whole), accumulate):
        step = whole[start : start + accumulate]
        expected = int(np.asarray(split.sequence_labelled)[sequences_of(step)].sum())
        assert {item.labelled_in_step for item in step} == {expected}


def test_a_budget_below_two_of_the_longest_sequence_is_an_error(make_split: Callable[[int], EncodedSplit]) -> None:
    longest = int(make_split(37).sequence_lengths.max())
    with pytest.raises(DataError, match=f"give at least {2 * longest}"):
        epoch(make_split(37), max_tokens=2 * longest - 1)


# ---------------------------------------------------------------- resumed with other options

STEPS = [(4, None, 1, 1), (8, None, 1, 1), (3, None, 2, 1), (4, None, 1, 3), (4, 60, 1, 1), (4, 100, 2, 2)]


def samplers_of(split: EncodedSplit, plan: Plan, at: Position | None) -> list[TrainingSampler]:
    return [TrainingSampler(split, None, plan, rank, lambda: 2, at) for rank in range(plan.world_size)]


@given(
    batching=st.sampled_from(("random", "grouped")),
    stops=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4)), min_size=1, max_size=4),
    last=st.sampled_from(STEPS),
)
@example(
    batching="random",
    stops=[((8, None, 1, 1), 1), ((4, None, 1, 1), 1), ((8, None, 1, 1), 0)],
    last=(8, None, 1, 1),
)
@settings(max_examples=80, deadline=None)
def test_an_epoch_is_resumed_with_other_steps_without_gaps_or_duplicates(
    batching: Batching,
    stops: list[tuple[Any, int]],
    last: Any,
    make_split: Callable[[int], EncodedSplit],
) -> None:
    """Stopped several times in an epoch, each time resumed with another size of steps."""
    split = make_split(37)
    labelled, lengths = np.asarray(split.sequence_labelled), split.sequence_lengths
    seen: list[int] = []
    at: Position | None = None
    for (batch_size, *rest), count in [*stops, (last, 1000)]:
        plan = Plan(batch_size, batching, 7, *rest)
        samplers = samplers_of(split, plan, at)
        ranks = [list(sampler) for sampler in samplers]
        for items in ranks:
            sizes = [lengths[item.sequences].sum() if plan.max_tokens else len(item.sequences) for item in items]
            assert max(sizes, default=0) <= (plan.max_tokens or plan.batch_size)
        start = len(samplers[0]) - len(ranks[0])
        ends = [*range(-start % plan.accumulate, len(ranks[0]), plan.accumulate), len(ranks[0])]
        for first, end in pairwise([0, *ends]):
            step = [item for items in ranks for item in items[first:end]]
            assert {item.labelled_in_step for item in step} <= {int(labelled[sequences_of(step)].sum())}
        end = ends[min(count, len(ends) - 1)]
        seen += sequences_of([item for items in ranks for item in items[:end]])
        at = samplers[0].position(2, start + end)
        assert Position.from_state(asdict(at)) == at
        assert at.sequences == len(seen)
        assert_same(list(samplers_of(split, plan, at)[0]), ranks[0][end:])
    assert sorted(seen) == list(range(len(split.sequence_lengths)))
    following = [list(sampler) for sampler in samplers]
    assert sorted(chain.from_iterable(map(sequences_of, following))) == list(range(len(split.sequence_lengths)))


# ---------------------------------------------------------------- evaluation batches


@given(
    lengths=st.lists(st.integers(2, 64), max_size=70),
    batch_size=st.integers(1, 9),
    look_ahead=st.sampled_from((None, 1, 7, 1000)),
    world_size=st.integers(1, 4),
)
@settings(max_examples=80, deadline=None)
def test_every_sentence_is_evaluated_once(
    lengths: list[int], batch_size: int, look_ahead: int | None, world_size: int
) -> None:
    array = np.array(lengths, dtype=np.int64)
    batches = evaluation_batches(array, batch_size, look_ahead)
    assert all(0 < len(batch) <= batch_size for batch in batches)
    shares = [share_of(batches, rank, world_size) for rank in range(world_size)]
    dealt = [index for share in shares for batch in share for index in batch.tolist()]
    assert sorted(dealt) == list(range(len(lengths)))
    assert all(shares) or not batches, "a process without a batch would skip the evaluation"
    chunk = look_ahead or max(len(lengths), 1)
    for batch in batches:
        assert len({index // chunk for index in batch.tolist()}) == 1, "results can be written chunk by chunk"
        assert (np.diff(array[batch]) <= 0).all()


def test_evaluation_begins_with_the_longest_sentence() -> None:
    lengths = np.array([3, 9, 5, 9, 2])
    assert [batch.tolist() for batch in evaluation_batches(lengths, 2)] == [[1, 3], [2, 0], [4]]
    assert [batch.tolist() for batch in evaluation_batches(lengths, 5)] == [[1, 3, 2, 0, 4]]
    assert evaluation_batches(np.array([], dtype=np.int64), 4) == []


# ---------------------------------------------------------------- tensors


def sequences(assembler: BatchAssembler, which: list[int]) -> dict[str, Any]:
    return assembler.micro_batch(TrainingItem(np.array(which), 0))


def test_sequences_lie_one_after_the_other(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(37)
    which = [5, 0, 11, 3]
    batch = sequences(BatchAssembler(split, LABELS), which)
    assert batch["lengths"] == split.sequence_lengths[which].tolist()
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
    sequences_of_ids, sequences_of_labels = (batch[name].split(batch["lengths"]) for name in ("input_ids", "labels"))
    for ids, labels, sequence in zip(sequences_of_ids, sequences_of_labels, which, strict=True):
        assert ids.tolist() == list(split.input_ids[slice(*split.sequence_offsets[[sequence, sequence + 1]])])
        words = slice(*split.sequence_words[[sequence, sequence + 1]])
        expected = [IGNORE_INDEX] * len(ids)
        for position, label in zip(split.word_positions[words], split.word_labels[words], strict=True):
            if position != NO_SUBWORD:
                expected[position] = TAGS.index(split.tag_names[label])
        assert labels.tolist() == expected


def test_no_sentence_at_all(make_split: Callable[[int], EncodedSplit]) -> None:
    batch = BatchAssembler(make_split(5), LABELS).sentences(np.array([], dtype=np.int64))
    assert (batch["input_ids"].shape, batch["labels"].shape, batch["lengths"]) == ((0,), (0,), [])
    assert batch["gold"].shape == batch["word_positions"].shape == (0, 1)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_sentences_carry_where_their_words_are(batch_size: int, make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(37)
    assembler = BatchAssembler(split, LABELS)
    seen = []
    for indices in evaluation_batches(split.sentence_lengths(), batch_size):
        batch = assembler.sentences(indices)
        assert batch["sentence_index"].tolist() == indices.tolist()
        flat_ids, flat_labels = batch["input_ids"], batch["labels"]
        for place, sentence in enumerate(indices.tolist()):
            words = split.words_of(sentence)
            length = words.stop - words.start
            assert batch["num_words"][place] == length
            positions, gold = batch["word_positions"][place].tolist(), batch["gold"][place].tolist()
            assert set(positions[length:]) <= {NO_SUBWORD}
            assert set(gold[length:]) <= {IGNORE_INDEX}
            assert [TAGS[label] for label in gold[:length]] == [
                split.tag_names[label] for label in split.word_labels[words]
            ]
            # At its place stands the first subword of the word, with the word's own label, whatever the window.
            first_sequence = int(split.sentence_sequences[sentence])
            for sequence in range(first_sequence, int(split.sentence_sequences[sentence + 1])):
                for word in range(split.sequence_words[sequence], split.sequence_words[sequence + 1]):
                    stored = split.word_positions[word]
                    position = positions[word - words.start]
                    assert (position == NO_SUBWORD) == (stored == NO_SUBWORD)
                    if position != NO_SUBWORD:
                        assert flat_ids[position] == split.input_ids[split.sequence_offsets[sequence] + stored]
                        assert flat_labels[position] == gold[word - words.start]
            seen.append(sentence)
        assert (batch["labels"] != IGNORE_INDEX).sum() == (batch["word_positions"] != NO_SUBWORD).sum()
    assert sorted(seen) == list(range(37))


def test_a_chosen_part_of_the_sentences_is_counted_from_zero(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(37)
    chosen = np.array([3, 8, 20])
    assembler = BatchAssembler(split, LABELS)
    batch = BatchAssembler(split, LABELS, chosen).sentences(np.array([2, 0]))
    assert batch["sentence_index"].tolist() == [2, 0]
    expected = assembler.sentences(np.array([20, 3]))
    assert batch["lengths"] == expected["lengths"]
    others = [name for name in expected if name != "sentence_index"]
    assert all(np.array_equal(batch[name], expected[name]) for name in others)
    assert assembler.sentences(np.array([2]))["sentence_index"].tolist() == [2]


def test_a_process_without_sequences_counts_nothing(make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(5)
    assembler = BatchAssembler(split, LABELS)
    items = [epoch(split, batch_size=len(split.sequence_lengths) - 1, rank=rank, world_size=2) for rank in range(2)]
    assert sum(map(len, map(sequences_of, items))) == len(split.sequence_lengths)
    one_sequence = epoch(split, sequences=np.array([1]), rank=1, world_size=2)
    assert [len(item.sequences) for item in one_sequence] == [0]
    batch = assembler.micro_batch(one_sequence[0])
    assert batch["lengths"] == [len(batch["input_ids"])] == [split.sequence_lengths[0]]
    assert (batch["labels"] == IGNORE_INDEX).all()
    assert batch["labelled_in_step"] == split.sequence_labelled[1]


# ---------------------------------------------------------------- the loss


class SilentModule(NERModule):
    """Logs nothing: logging needs a running loop, the arithmetic of a step does not."""

    def log(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture(scope="module")
def module(tiny_model: Callable[..., Path]) -> NERModule:
    torch.manual_seed(0)
    built = SilentModule(str(tiny_model()), dropout=0.0)
    built.set_labels(LABELS)
    built.build()
    return built.train()


def gradients(module: NERModule) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("size", [13, 1])
def test_accumulated_and_distributed_gradients_are_those_of_one_large_batch(
    size: int, world_size: int, accumulate: int, module: NERModule, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(13)
    chosen = np.flatnonzero(split.sequence_labelled)[:size]
    assembler = BatchAssembler(split, LABELS)
    ranks = [
        epoch(split, sequences=chosen, batch_size=2, rank=rank, world_size=world_size, accumulate=accumulate)
        for rank in range(world_size)
    ]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size, accumulate_grad_batches=accumulate, optimizers=[optimizer]
    )
    for start in range(0, len(ranks[0]), accumulate):
        step = [item for items in ranks for item in items[start : start + accumulate]]
        # The mean over all labelled subwords of the step, by transformers' own loss.
        module.zero_grad()
        large = sequences(assembler, sequences_of(step))
        input_ids, real = pad_sequences(large["input_ids"], large["lengths"], 0)
        labels, _ = pad_sequences(large["labels"], large["lengths"], IGNORE_INDEX)
        module.model(input_ids=input_ids, attention_mask=real.long(), labels=labels).loss.backward()
        expected = gradients(module)
        module.zero_grad()
        for item in step:
            # Lightning divides by the accumulated micro-batches, DDP averages over the processes.
            (module.training_step(assembler.micro_batch(item), 0) / accumulate / world_size).backward()
        found = gradients(module)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-4)


def test_a_batch_without_a_label_has_loss_zero_not_nan(
    module: NERModule, make_split: Callable[[int], EncodedSplit]
) -> None:
    split = make_split(13)
    empty = np.flatnonzero(np.asarray(split.sequence_labelled) == 0)[:1]
    assert len(empty) == 1
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=1, accumulate_grad_batches=1, optimizers=[optimizer]
    )
    module.zero_grad()
    batch = BatchAssembler(split, LABELS).micro_batch(TrainingItem(empty, 0))
    loss = module.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients(module).values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_passes_batches_through_whole(workers: int, make_split: Callable[[int], EncodedSplit]) -> None:
    split = make_split(37)
    assembler = BatchAssembler(split, LABELS)
    sampler = TrainingSampler(split, None, plan_of())
    loader = DataLoader(assembler, sampler=sampler, batch_size=None, num_workers=workers)
    expected = epoch(split)
    assert len(loader) == len(expected)
    for batch, item in zip(loader, expected, strict=True):
        assert torch.equal(batch["input_ids"], assembler.micro_batch(item)["input_ids"])
        assert batch["labelled_in_step"] == item.labelled_in_step
