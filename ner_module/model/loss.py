"""The loss: one function, over all subword tokens of a batch.

Shapes: T subword tokens of all sequences of a batch, C labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ner_module.tagging import IGNORE_INDEX


def sum_of_losses(logits_TC: Tensor, labels_T: Tensor, open_TC: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over labelled tokens, in float32 whatever the model computes in.

    With ``open_TC``, minus the logarithm of the probability that a token has its label or an open one.
    """
    if open_TC is None:
        return F.cross_entropy(logits_TC.float(), labels_T, ignore_index=IGNORE_INDEX, reduction="sum")
    allowed_TC = open_TC.scatter(1, labels_T.clamp(min=0).unsqueeze(1), True)
    loss_T = -logits_TC.float().log_softmax(-1).masked_fill(~allowed_TC, -torch.inf).logsumexp(-1)
    return loss_T.masked_fill(labels_T == IGNORE_INDEX, 0.0).sum()
