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
    """Cross-entropy summed over labelled tokens, in float32 for any precision; or the loss of a CRF.

    ``batch`` has the ``labels`` ``[T]``. With ``open_labels`` ``[T, C]``, the loss is the negative log-probability that
    a token has its label or an open one. With a ``teacher``'s logits ``[T, C]`` it is the cross-entropy with the
    teacher's distribution over these; open labels unknown to the teacher (minus infinity) count as the token's label.
    """
    labels_T, open_TC, teacher_TC = batch["labels"], batch.get("open_labels"), batch.get("teacher")
    if crf is not None:
        return crf.loss(logits_TC, labels_T, batch["lengths"], open_TC)
    if open_TC is None:
        return F.cross_entropy(logits_TC.float(), labels_T, ignore_index=IGNORE_INDEX, reduction="sum")
    log_TC = logits_TC.float().log_softmax(-1)
    taught_TC = torch.zeros_like(open_TC) if teacher_TC is None else open_TC & teacher_TC.isfinite()
    own_TC = torch.zeros_like(open_TC).scatter(1, labels_T.clamp(min=0).unsqueeze(1), True)
    loss_T = -log_TC.masked_fill(~(own_TC | open_TC & ~taught_TC), -torch.inf).logsumexp(-1)
    if teacher_TC is not None:
        # A label of a new type is alone in its row: any finite logit gives it the whole target.
        targets_TC = teacher_TC.nan_to_num(neginf=0.0).masked_fill(~(own_TC | taught_TC), -torch.inf).softmax(-1)
        loss_T = (targets_TC * torch.where(own_TC, loss_T.unsqueeze(1), -log_TC)).sum(-1)
    return loss_T.masked_fill(labels_T == IGNORE_INDEX, 0.0).sum()


def wide(value: Tensor) -> Tensor:
    """Convert to double precision if the device has it, as a sum over an epoch needs."""
    return value.detach().to(torch.float32 if value.device.type == "mps" else torch.float64)
