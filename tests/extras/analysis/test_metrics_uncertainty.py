"""Intervals and tests against plain loops, complete enumeration, and their promised error rates."""

import random
import time

import pytest
import torch

from ner_module.extras.analysis.uncertainty import (
    bootstrap_totals,
    f1_intervals,
    f1_of,
    paired_test,
    welch_test,
)


def random_counts(num_sentences: int, num_types: int, quality: float, seed: int) -> torch.Tensor:
    """Counts per sentence of a tagger that finds each gold entity with some probability, and invents some."""
    generator = torch.Generator().manual_seed(seed)
    gold = torch.randint(0, 4, (num_sentences, num_types), generator=generator)
    found = (torch.rand(num_sentences, num_types, 3, generator=generator) < quality).long()
    found = (found * (torch.arange(3) < gold.unsqueeze(-1))).sum(-1)
    invented = (torch.rand(num_sentences, num_types, generator=generator) < 1 - quality).long()
    return torch.stack((found, found + invented, gold), dim=-1)


def f1(true_positives: int, num_predicted: int, num_gold: int) -> float:
    return 2 * true_positives / (num_predicted + num_gold) if num_predicted + num_gold else 0.0


def test_a_resample_is_sentences_drawn_with_replacement():
    times = bootstrap_totals(torch.eye(40, dtype=torch.int64), 500, seed=3)
    assert times.shape == (500, 40)
    assert torch.equal(times.sum(1), torch.full((500,), 40.0, dtype=torch.float64))
    assert torch.equal(times, times.round())
    assert float(times.var(0).mean()) == pytest.approx(1 - 1 / 40, abs=0.05)
    counts = random_counts(40, 2, 0.7, seed=0)
    totals = bootstrap_totals(counts, 500, seed=3)
    assert torch.equal(totals, torch.einsum("rs,stc->rtc", times, counts.double()))
    assert not torch.equal(bootstrap_totals(counts, 500, seed=4), totals)


def test_interval_equals_a_plain_loop():
    counts = random_counts(300, 1, 0.8, seed=1)
    rng = random.Random(0)
    rows = counts[:, 0].tolist()
    values = sorted(f1(*map(sum, zip(*rng.choices(rows, k=len(rows)), strict=True))) for _ in range(2000))
    interval, _ = f1_intervals(counts, 2000)
    assert interval.value == f1(*counts.sum((0, 1)).tolist())
    assert interval.low == pytest.approx(values[50], abs=0.004)
    assert interval.high == pytest.approx(values[1950], abs=0.004)


def test_intervals_by_type():
    counts = random_counts(200, 3, 0.8, seed=2)
    _, by_type = f1_intervals(counts)
    for index, interval in enumerate(by_type):
        assert interval == pytest.approx(f1_intervals(counts[:, [index]])[0])
    assert f1_intervals(counts)[0].value == pytest.approx(f1(*counts.sum((0, 1)).tolist()))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    everything = random_counts(10_000, 1, 0.8, seed=5)
    truth = float(f1_of(everything.sum((0, 1))))
    covered = 0
    for trial in range(100):
        interval, _ = f1_intervals(everything[100 * trial : 100 * trial + 100], 300, seed=trial)
        covered += interval.low <= truth <= interval.high
    assert 84 <= covered <= 99  # 95 expected; the percentile method promises a little too much on 100 sentences


def test_one_thousand_resamples_of_conll_size_take_less_than_a_second():
    counts = random_counts(3453, 4, 0.9, seed=0)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        f1_intervals(counts, 1000)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_equal_taggers_are_found_different_as_rarely_as_promised():
    rejected = 0
    for trial in range(150):
        a, b = random_counts(80, 1, 0.7, 2 * trial), random_counts(80, 1, 0.7, 2 * trial + 1)
        result = paired_test([a], [b], 199, seed=trial)
        rejected += result.p_bootstrap < 0.1
    assert 5 <= rejected <= 27  # 15 expected


def test_a_better_tagger_is_found():
    a, b = random_counts(2000, 2, 0.9, 0), random_counts(2000, 2, 0.85, 0)
    result = paired_test([a], [b], 999)
    assert 0 < result.difference.low < result.difference.value < result.difference.high
    assert result.p_bootstrap == 0.001
    turned = paired_test([b], [a], 999)
    assert turned.difference.value == -result.difference.value
    assert turned.difference.low == pytest.approx(-result.difference.high)
    by_type = result.by_type
    assert all(interval.low < interval.value < interval.high for interval in by_type)
    assert by_type[0].value == pytest.approx(f1(*a[:, 0].sum(0).tolist()) - f1(*b[:, 0].sum(0).tolist()))


def test_the_same_run_several_times_is_no_more_evidence_than_once():
    a, b = random_counts(300, 1, 0.8, 0), random_counts(300, 1, 0.77, 1)
    once, thrice = paired_test([a], [b], 2000), paired_test([a] * 3, [b] * 3, 2000)
    assert thrice.p_bootstrap == once.p_bootstrap
    assert thrice.difference == pytest.approx(once.difference)


def test_nothing_to_find_and_one_sentence():
    nothing = torch.zeros(5, 2, 3, dtype=torch.int64)
    assert f1_intervals(nothing)[0] == (0.0, 0.0, 0.0)
    one = torch.tensor([[[1, 1, 1]]])
    assert f1_intervals(one)[0] == (1.0, 1.0, 1.0)
    assert paired_test([one], [one], 9).p_bootstrap == 1.0
    assert f1_intervals(torch.zeros(5, 0, 3, dtype=torch.int64)) == ((0.0, 0.0, 0.0), [])


def test_welch_without_an_answer():
    assert welch_test([0.5], [0.5, 0.6]) is None
    assert welch_test([0.5, 0.5], [0.4, 0.4]) is None
    assert welch_test([0.5, 0.6], [0.4, 0.4]) is not None
    assert welch_test([0.5, 0.6], [0.5, 0.6]) == pytest.approx(1.0)
