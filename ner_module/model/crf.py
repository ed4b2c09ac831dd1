"""A linear-chain conditional random field: learns transitions between labels, in addition to the logits.

Lafferty, McCallum and Pereira, "Conditional random fields" (2001). The score of a label sequence is the sum of its
logits and transitions, with outside words before and after it; its probability is the softmax over all sequences.

Shapes: T subword tokens of all sequences of a batch, S sequences, L positions of the longest, N sentences, W words of
the longest sentence, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from ner_module.model.packed import pad_sequences
from ner_module.tagging import IGNORE_INDEX, LabelSet, legal_transitions

_ILLEGAL_SCORE = -100.0
"""The score of an illegal transition in the loss. Not minus infinity: after a word without tokens the next label may
seem illegal, and the loss would be infinite."""


@lru_cache(maxsize=8)
def transition_mask(labels: LabelSet, device: torch.device) -> Tensor:
    """``[C, C]``: 0 if a label (second index) may follow another (first index), else minus infinity."""
    count = len(labels.names)
    legal = legal_transitions(labels.names, labels.scheme) if labels.can_be_illegal else [[True] * count] * count
    return torch.zeros(count, count, device=device).masked_fill_(~torch.tensor(legal, device=device), -torch.inf)


class CRF(nn.Module):
    """Transition scores ``[C, C]`` from the first label to the second, initially 0.

    Args:
        labels: the C labels.
    """

    def __init__(self, labels: LabelSet) -> None:
        super().__init__()
        self._labels = labels
        self.transitions = nn.Parameter(torch.zeros(len(labels.names), len(labels.names)))

    def loss(
        self, logits_TC: Tensor, labels_T: Tensor, lengths: Sequence[int], open_TC: Tensor | None = None
    ) -> Tensor:
        """The negative log-likelihood of the labels, summed over sequences; tokens without a label are skipped.

        A sequence may be a window that begins within an entity, so any label may be first and last. With ``open_TC``,
        the likelihood is that of all sequences where each token has its label or an open one.
        """
        if not lengths:  # a process without data to evaluate
            return logits_TC.sum()
        labels_SL, _ = pad_sequences(labels_T, lengths, IGNORE_INDEX)
        logits_SLC, _ = pad_sequences(logits_TC.float(), lengths, 0)
        seen_SL = labels_SL != IGNORE_INDEX
        is_own_SLC = torch.zeros_like(logits_SLC, dtype=torch.bool).scatter(2, labels_SL.clamp(min=0)[..., None], True)
        if open_TC is not None:
            is_own_SLC |= pad_sequences(open_TC, lengths, 0)[0]
        return (
            self._log_partition(logits_SLC, seen_SL)
            - self._log_partition(logits_SLC.masked_fill(~is_own_SLC, -1e4), seen_SL)
        ).sum()

    def _log_partition(self, logits_SLC: Tensor, seen_SL: Tensor) -> Tensor:
        """The log-partition ``[S]`` over the label sequences of ``seen_SL`` tokens; a constant if there are none."""
        outside, learnt_CC = self._labels.outside_id, self.transitions.float()
        steps_CC = learnt_CC + transition_mask(self._labels, logits_SLC.device).clamp(min=_ILLEGAL_SCORE)
        start_C = learnt_CC[outside]
        total_SC, begun_S = start_C.expand_as(logits_SLC[:, 0]), torch.zeros_like(seen_SL[:, 0])
        for logits_SC, seen_S in zip(logits_SLC.unbind(1), seen_SL.unbind(1), strict=True):
            reached_SC = (total_SC.unsqueeze(2) + steps_CC).logsumexp(1)
            reached_SC = torch.where(begun_S[:, None], reached_SC, total_SC) + logits_SC
            total_SC = torch.where(seen_S[:, None], reached_SC, total_SC)
            begun_S = begun_S | seen_S
        return (total_SC + learnt_CC[:, outside]).logsumexp(1)

    def marginals(self, log_probs_NWC: Tensor) -> Tensor:
        """Marginal probabilities ``[N, W, C]`` of labels over all legal sequences (forward-backward).

        ``log_probs_NWC`` are logits; a word that is certainly outside has minus infinity for all other labels.
        """
        steps_CC = self.transitions.float() + transition_mask(self._labels, log_probs_NWC.device)
        ends = steps_CC[self._labels.outside_id], steps_CC[:, self._labels.outside_id]
        forward, backward = ([end.expand_as(log_probs_NWC[:, 0])] for end in ends)
        for log_probs_NC in log_probs_NWC.unbind(1)[:-1]:
            forward.append(((forward[-1] + log_probs_NC).unsqueeze(2) + steps_CC).logsumexp(1))
        for log_probs_NC in log_probs_NWC.unbind(1)[:0:-1]:
            backward.append(((backward[-1] + log_probs_NC).unsqueeze(1) + steps_CC).logsumexp(2))
        return (torch.stack(forward, 1) + log_probs_NWC + torch.stack(backward[::-1], 1)).softmax(-1)
