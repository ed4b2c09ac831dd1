"""How sure is a score? Bootstrap intervals over sentences, and paired tests between two taggers or two groups of runs.

Everything starts from counts per sentence (`sentences.py`): sentences are resampled, since entities of one sentence are
not independent. A resample is a vector of how often each sentence was drawn, so that all resamples are one matrix
product; F1 is computed from the summed counts, never averaged.

* Bootstrap interval: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile method.
* Paired bootstrap test: Berg-Kirkpatrick, Burkett and Klein, "An empirical investigation of statistical significance in
  NLP" (2012, https://aclanthology.org/D12-1091), here two-sided.
* Approximate randomisation: Noreen, "Computer-Intensive Methods for Testing Hypotheses" (1989); Yeh, "More accurate
  tests for the statistical significance of result differences" (2000, https://aclanthology.org/C00-2137).
* Over seeds: Welch's t-test on the runs' scores (Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28).

What they answer differs. The tests over sentences ask whether *these* trained models differ on other sentences of the
same kind; the test over seeds asks whether the two *recipes* differ when trained again, on this test set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ner_module.metrics.functional import scores

_BLOCK = 1 << 22
"""Numbers drawn at a time: memory stays bounded on large test sets."""

# Equal F1 values that come from different counts may differ in the last bit.
_TIE = 1e-12


class Interval(NamedTuple):
    """A score and the interval around it."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """F1 of A minus F1 of B on the same sentences, and how likely a difference as large would be by chance."""

    difference: Interval
    p_bootstrap: float
    p_randomisation: float | None
    """``None`` where the sides have different numbers of runs: there is nothing to exchange one for one."""
    by_type: list[Interval]
    """The difference of F1 of each type."""


def f1_of(counts: Tensor) -> Tensor:
    """F1 from counts whose last dimension is (true positives, number predicted, number gold)."""
    return scores(*counts.unbind(-1)).f1


def bootstrap_totals(counts: Tensor, num_resamples: int = 1000, seed: int = 0) -> Tensor:
    """Counts ``[sentences, …]`` of sentences drawn with replacement, summed: float64 ``[num_resamples, …]``.

    The same seed draws the same sentences for every tagger.
    """
    num_sentences = len(counts)
    flat = counts.reshape(num_sentences, -1).double()
    generator = torch.Generator().manual_seed(seed)
    totals = []
    for size in _blocks(num_resamples, num_sentences):
        drawn = torch.randint(num_sentences, (size, num_sentences), generator=generator)
        drawn += num_sentences * torch.arange(size).unsqueeze(1)
        times = torch.bincount(drawn.flatten(), minlength=size * num_sentences).view(size, num_sentences)
        totals.append(times.double() @ flat)
    return torch.cat(totals).view(num_resamples, *counts.shape[1:])


def f1_intervals(
    counts: Tensor, num_resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[Interval, list[Interval]]:
    """Micro F1 and F1 of each type with bootstrap intervals, from one draw of counts ``[sentences, types, 3]``.

    >>> counts = torch.tensor([[[2, 2, 2]], [[0, 1, 1]], [[1, 1, 2]]]).repeat(100, 1, 1)
    >>> (value, low, high), _ = f1_intervals(counts)
    >>> round(value, 3), 0.6 < low < value < high < 0.75
    (0.667, True)
    """
    totals, observed = bootstrap_totals(counts, num_resamples, seed), counts.sum(0).double()
    micro = _interval(float(f1_of(observed.sum(0))), f1_of(totals.sum(1)), confidence)
    samples = f1_of(totals)
    by_type = [_interval(value, samples[:, index], confidence) for index, value in enumerate(f1_of(observed).tolist())]
    return micro, by_type


def paired_test(
    counts_a: Sequence[Tensor],
    counts_b: Sequence[Tensor],
    num_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Compare micro F1 of two sides on the same sentences; each side is one run or several, whose F1 are averaged.

    The intervals by type are not corrected for how many types there are: of twenty, one may well leave out 0 by chance.

    Args:
        counts_a: for each run of A, ``[sentences, types, 3]``.
        counts_b: likewise for B, of the same sentences.
        num_resamples: resamples of the bootstrap, and random exchanges of the randomisation test.
        confidence: of the intervals of the differences.
        seed: of the random numbers.

    Returns:
        The differences with their intervals; the p-values are two-sided, at least ``1 / (num_resamples + 1)``.

    >>> a = torch.tensor([[[1, 1, 1]], [[1, 2, 1]], [[0, 0, 1]]]).repeat(60, 1, 1)
    >>> b = torch.tensor([[[1, 1, 1]], [[0, 2, 1]], [[0, 0, 1]]]).repeat(60, 1, 1)
    >>> result = paired_test([a], [b], num_resamples=999)
    >>> round(result.difference.value, 3), result.p_bootstrap, result.p_randomisation
    (0.333, 0.001, 0.001)
    """
    runs = torch.stack([*counts_a, *counts_b], dim=1).double()  # [sentences, runs, types, 3]
    num_a = len(counts_a)
    totals, sums = bootstrap_totals(runs, num_resamples, seed), runs.sum(0, keepdim=True)
    observed, differences = float(_difference(sums.sum(2), num_a)), _difference(totals.sum(2), num_a)
    # Under the null hypothesis differences scatter around 0 as the resampled ones do around the observed one.
    p_bootstrap = _p_value(differences - observed, observed)
    p_randomisation = None
    if len(counts_a) == len(counts_b):
        micro = runs.sum(2)
        exchanged = _exchanged_differences(micro[:, :num_a], micro[:, num_a:], num_resamples, seed)
        p_randomisation = _p_value(exchanged, observed)
    samples = _difference(totals, num_a)
    by_type = [
        _interval(value, samples[:, index], confidence)
        for index, value in enumerate(_difference(sums, num_a)[0].tolist())
    ]
    return PairedTest(_interval(observed, differences, confidence), p_bootstrap, p_randomisation, by_type)


def welch_test(values_a: Sequence[float], values_b: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's t-test for equal means of two groups of runs with unequal deviations.

    Returns:
        ``None`` where there is no answer: fewer than two runs on a side, or no deviation on either.

    >>> round(welch_test([0.90, 0.91, 0.92], [0.88, 0.89, 0.89]), 4)
    0.0357
    """
    if min(len(values_a), len(values_b)) < 2 or len(set(values_a)) == len(set(values_b)) == 1:
        return None
    from scipy.stats import ttest_ind

    return float(ttest_ind(values_a, values_b, equal_var=False).pvalue)


def _difference(totals: Tensor, num_a: int) -> Tensor:
    """Mean F1 of the first runs minus that of the others, from ``[resamples, runs, …, 3]``."""
    f1 = f1_of(totals)
    return f1[:, :num_a].mean(1) - f1[:, num_a:].mean(1)


def _blocks(num_resamples: int, num_sentences: int) -> Iterator[int]:
    """Sizes of blocks of resamples that add up to all of them."""
    size = max(1, _BLOCK // max(1, num_sentences))
    for start in range(0, num_resamples, size):
        yield min(size, num_resamples - start)


def _interval(value: float, samples: Tensor, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = torch.quantile(samples, torch.tensor([tail, 1 - tail], dtype=samples.dtype)).tolist()
    return Interval(value, low, high)


def _exchanged_differences(side_a: Tensor, side_b: Tensor, num_resamples: int, seed: int) -> Tensor:
    """Differences of F1 after the sides, ``[sentences, runs, 3]`` each, exchanged their outputs on random sentences.

    All runs of a side are exchanged together: they err on the same sentences, so that one by one three runs would count
    as three times the evidence.
    """
    generator = torch.Generator().manual_seed(seed)
    total_a, total_b = side_a.sum(0), side_b.sum(0)
    change = side_b - side_a
    blocks = []
    for size in _blocks(num_resamples, len(change)):
        exchanged = torch.randint(2, (size, len(change)), generator=generator, dtype=torch.uint8)
        moved = (exchanged.double() @ change.flatten(1)).view(size, *change.shape[1:])
        blocks.append((f1_of(total_a + moved) - f1_of(total_b - moved)).mean(1))
    return torch.cat(blocks)


def _p_value(under_null: Tensor, observed: float) -> float:
    """How many values are at least as far from 0 as the observed one; it counts as one of them (Noreen 1989)."""
    extreme = int((under_null.abs() >= abs(observed) - _TIE).sum())
    return (extreme + 1) / (len(under_null) + 1)
