"""The loss: one function, over all subword tokens of a batch.

Shapes: T subword tokens of all sequences of a batch, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ner_module.model.crf import CRF
from ner_module.tagging import IGNORE_INDEX


def sum_of_losses(logits_TC: Tensor, batch: Mapping[str, Any], crf: CRF | None = None) -> Tensor:
    """Cross-entropy summed over labelled tokens, in float32 whatever the model computes in; or the loss of a CRF.

    ``batch`` has the ``labels`` ``[T]``. Where it has ``open_labels`` ``[T, C]``, the loss is minus the logarithm of
    the probability that a token has its label or an open one.
    """
    labels_T, open_TC = batch["labels"], batch.get("open_labels")
    if crf is not None:
        return crf.loss(logits_TC, labels_T, batch["lengths"], open_TC)
    if open_TC is None:
        return F.cross_entropy(logits_TC.float(), labels_T, ignore_index=IGNORE_INDEX, reduction="sum")
    allowed_TC = open_TC.scatter(1, labels_T.clamp(min=0).unsqueeze(1), True)
    loss_T = -logits_TC.float().log_softmax(-1).masked_fill(~allowed_TC, -torch.inf).logsumexp(-1)
    return loss_T.masked_fill(labels_T == IGNORE_INDEX, 0.0).sum()
