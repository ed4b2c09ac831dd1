"""Do probabilities mean what they say? Reliability of entity confidences, and the expected calibration error.

An entity's confidence is the mean probability of the chosen labels of its words. Of the entities predicted with
confidence 0.8 about 80 % should be correct: same words, same type.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reliability(NamedTuple):
    """Predictions in bins of equal width by confidence; each field has the shape ``[bins]``, in order of confidence."""

    num_predicted: Tensor
    """How many predictions, int64."""
    confidence: Tensor
    """Their mean confidence, 0 for an empty bin."""
    precision: Tensor
    """The share of them that is correct, 0 for an empty bin."""

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of confidence and precision over bins, weighted by their predictions.

        Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015); Guo et
        al., "On calibration of modern neural networks" (2017, https://arxiv.org/abs/1706.04599). 0 without predictions.
        """
        distance = (self.confidence - self.precision).abs() * self.num_predicted
        return float(distance.sum() / self.num_predicted.sum().clamp(min=1))


def reliability(confidence: Tensor, correct: Tensor, num_bins: int = 10) -> Reliability:
    """Sort predictions into bins; bin ``i`` of ``n`` holds confidences above ``i / n`` up to ``(i + 1) / n``.

    Args:
        confidence: probabilities, ``[predictions]``.
        correct: booleans of the same shape.
        num_bins: how many bins.

    >>> table = reliability(torch.tensor([0.95, 0.95, 0.55]), torch.tensor([True, False, True]))
    >>> table.num_predicted.tolist()
    [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    >>> round(table.expected_calibration_error, 4)  # (2 * |0.95 - 0.5| + |0.55 - 1|) / 3
    0.45
    """
    confidence = confidence.double()
    edges = torch.arange(1, num_bins, dtype=torch.float64, device=confidence.device) / num_bins
    index = torch.bucketize(confidence, edges)
    num_predicted = torch.bincount(index, minlength=num_bins)

    def mean(values: Tensor) -> Tensor:
        total = torch.zeros(num_bins, dtype=torch.float64, device=values.device).index_add_(0, index, values)
        return total / num_predicted.clamp(min=1)

    return Reliability(num_predicted, mean(confidence), mean(correct.double()))
