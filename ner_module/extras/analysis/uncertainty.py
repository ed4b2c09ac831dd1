"""How sure is a score? Bootstrap intervals over sentences, and paired tests between two taggers or two groups of runs.

Everything starts from counts per sentence (`sentences.py`): sentences are resampled, since entities of one sentence are
not independent. F1 is computed from the summed counts, never averaged. The same seed draws the same sentences for every
tagger.

* Bootstrap interval: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile method.
* Paired bootstrap test: Berg-Kirkpatrick, Burkett and Klein, "An empirical investigation of statistical significance in
  NLP" (2012, https://aclanthology.org/D12-1091), here two-sided.
* Over seeds: Welch's t-test on the runs' scores (Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ner_module.metrics.functional import scores

# Equal F1 values that come from different counts may differ in the last bit.
_TIE = 1e-12


class Interval(NamedTuple):
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """F1 of A minus F1 of B on the same sentences, and how likely a difference as large would be by chance."""

    difference: Interval
    p_bootstrap: float
    by_type: list[Interval]
    """The difference of F1 of each type."""


def f1_of(counts: Tensor) -> Tensor:
    """F1 from counts whose last dimension is (true positives, number predicted, number gold)."""
    return scores(*counts.unbind(-1)).f1


def bootstrap_totals(counts: Tensor, num_resamples: int = 1000, seed: int = 0) -> Tensor:
    """Counts ``[sentences, …]`` of sentences drawn with replacement, summed: float64 ``[num_resamples, …]``."""
    num_sentences = len(counts)
    flat = counts.flatten(1).double()
    generator = torch.Generator().manual_seed(seed)
    totals = []
    for _ in range(num_resamples):
        drawn = torch.randint(num_sentences, (num_sentences,), generator=generator)
        totals.append(torch.bincount(drawn, minlength=num_sentences).double() @ flat)
    return torch.stack(totals).view(num_resamples, *counts.shape[1:])


def f1_intervals(counts: Tensor, num_resamples: int = 1000, seed: int = 0) -> tuple[Interval, list[Interval]]:
    """Micro F1 and F1 of each type with bootstrap intervals, from one draw of counts ``[sentences, types, 3]``.

    >>> counts = torch.tensor([[[2, 2, 2]], [[0, 1, 1]], [[1, 1, 2]]]).repeat(100, 1, 1)
    >>> (value, low, high), _ = f1_intervals(counts)
    >>> round(value, 3), 0.6 < low < value < high < 0.75
    (0.667, True)
    """
    counts = _with_micro(counts)
    *by_type, micro = _intervals(f1_of(counts.sum(0).double()), f1_of(bootstrap_totals(counts, num_resamples, seed)))
    return micro, by_type


def paired_test(
    counts_a: Sequence[Tensor], counts_b: Sequence[Tensor], num_resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Compare micro F1 of two sides on the same sentences; each side is one run or several, whose F1 are averaged.

    The intervals by type are not corrected for how many types there are: of twenty, one may well leave out 0 by chance.

    Args:
        counts_a: for each run of A, ``[sentences, types, 3]``.
        counts_b: likewise for B, of the same sentences.
        num_resamples: how many resamples.
        seed: of the random numbers.

    Returns:
        The differences with their intervals; the p-value is two-sided, at least ``1 / (num_resamples + 1)``.
    """
    num_a = len(counts_a)
    runs = torch.stack([_with_micro(counts) for counts in (*counts_a, *counts_b)], dim=1)  # [sentences, runs, types, 3]

    def difference(totals: Tensor) -> Tensor:
        f1 = f1_of(totals)
        return f1[..., :num_a, :].mean(-2) - f1[..., num_a:, :].mean(-2)

    observed, resampled = difference(runs.sum(0).double()), difference(bootstrap_totals(runs, num_resamples, seed))
    *by_type, micro = _intervals(observed, resampled)
    # Under the null hypothesis differences scatter around 0 as the resampled ones do around the observed one.
    far = (resampled[:, -1] - micro.value).abs() >= abs(micro.value) - _TIE
    p_bootstrap = (int(far.sum()) + 1) / (num_resamples + 1)  # the observed one counts, too (Noreen 1989)
    return PairedTest(micro, p_bootstrap, by_type)


def welch_test(values_a: Sequence[float], values_b: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's t-test for equal means of two groups of runs with unequal deviations.

    ``None`` where there is no answer: fewer than two runs on a side, or no deviation on either.

    >>> round(welch_test([0.90, 0.91, 0.92], [0.88, 0.89, 0.89]), 4)
    0.0357
    """
    if min(len(values_a), len(values_b)) < 2 or len(set(values_a)) == len(set(values_b)) == 1:
        return None
    from scipy.stats import ttest_ind

    return float(ttest_ind(values_a, values_b, equal_var=False).pvalue)


def _with_micro(counts: Tensor) -> Tensor:
    """The sum over all types as one more type, the last."""
    return torch.cat([counts, counts.sum(-2, keepdim=True)], dim=-2)


def _intervals(observed: Tensor, resampled: Tensor) -> list[Interval]:
    """From values ``[types]`` and ``[resamples, types]``."""
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype), dim=0)
    return [Interval(*ends) for ends in zip(observed.tolist(), low.tolist(), high.tolist(), strict=True)]
