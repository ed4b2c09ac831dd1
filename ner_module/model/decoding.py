"""Decodes logits of subword tokens into one label per word: each word's most probable one, or the best legal sequence.

``greedy`` takes each word's most probable label, which can give sequences that are invalid in the scheme, such as
``I-PER`` after ``O`` in IOB2. ``viterbi`` takes the most probable valid sequence (Viterbi 1967,
https://doi.org/10.1109/TIT.1967.1054010) and needs no training.

Shapes: T subword tokens of all sequences of a batch, C labels, N sentences, W words of the longest sentence.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ner_module.model.crf import CRF, transition_mask
from ner_module.tagging import LabelSet

Decoding = Literal["viterbi", "greedy"]


class WordPredictions(NamedTuple):
    """The label of each word and its probability, ``[N, W]``, and the probabilities of all labels, ``[N, W, C]``.

    Values past a sentence's end are undefined; so are ``probabilities`` where the score is 0.
    """

    label_ids: Tensor
    scores: Tensor
    probabilities: Tensor


def decode_words(
    logits_TC: Tensor,
    word_positions_NW: Tensor,
    labels: LabelSet,
    decoding: Decoding,
    crf: CRF | None = None,
    unannotated_NC: Tensor | None = None,
) -> WordPredictions:
    """Decode the label of each word from the logits of its first subword token.

    Args:
        logits_TC: logits of all sequences.
        word_positions_NW: index into T of each word's first subword token; negative if it has none: the word gets the
            outside label, with the score 0.
        labels: the C labels.
        decoding: ``viterbi`` excludes illegal tags; ``flat`` labels have none.
        crf: learnt transitions for ``viterbi``, which then also uses them for probabilities.
        unannotated_NC: bool, labels of types that are not annotated in a sentence; they count as outside.
    """
    logits_NWC = logits_TC[word_positions_NW.clamp(min=0)].float()
    if unannotated_NC is not None:
        is_outside_C = torch.arange(len(labels.names), device=logits_TC.device) == labels.outside_id
        counts_N1C = (unannotated_NC | is_outside_C).unsqueeze(1)
        outside_NW1 = logits_NWC.masked_fill(~counts_N1C, -torch.inf).logsumexp(-1, keepdim=True)
        logits_NWC = torch.where(is_outside_C, outside_NW1, logits_NWC.masked_fill(counts_N1C, -torch.inf))
    unseen_NW = word_positions_NW < 0
    probs_NWC = logits_NWC.softmax(-1)
    label_ids = probs_NWC.argmax(-1)
    if decoding == "viterbi" and (crf is not None or labels.can_be_illegal):
        # Words without tokens and positions past a sentence's end are certainly outside, so any legal end is possible.
        certain_C = logits_NWC.new_full((len(labels.names),), -torch.inf)
        certain_C[labels.outside_id] = 0.0
        log_probs_NWC = logits_NWC.log_softmax(-1).nan_to_num(0.0)  # labels stay legal even with NaN
        log_probs_NWC = torch.where(unseen_NW.unsqueeze(-1), certain_C, log_probs_NWC)
        steps_CC = transition_mask(labels, logits_TC.device)
        if crf is not None:
            probs_NWC, steps_CC = crf.marginals(log_probs_NWC), steps_CC + crf.transitions.float().nan_to_num(0.0)
        label_ids = _best_sequence(log_probs_NWC, steps_CC, labels.outside_id)
    # Without a CRF a label's own probability is better calibrated than its marginal (docs/results.md).
    scores = probs_NWC.gather(-1, label_ids.unsqueeze(-1)).squeeze(-1)
    # NaN becomes 0. (`torch.where` with a number would copy it to the device, and wait.)
    scores = scores.nan_to_num(0.0).masked_fill(unseen_NW, 0.0)
    return WordPredictions(label_ids.masked_fill(unseen_NW, labels.outside_id), scores, probs_NWC)


def likeliest_labels(probabilities_NWC: Tensor, scores_NW: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """The highest probabilities of each word, ``[N, W, count]``, and their label ids; 0 where the score is 0."""
    known_NWC = probabilities_NWC.nan_to_num(0.0) * (scores_NW > 0).unsqueeze(-1)
    highest, label_ids = known_NWC.topk(min(count, known_NWC.shape[-1]))
    return highest, label_ids


def _best_sequence(log_probs_NWC: Tensor, steps_CC: Tensor, outside_id: int) -> Tensor:
    """The label sequences ``[N, W]`` with the highest sum of ``log_probs_NWC`` and transitions, outside at both ends.

    ``steps_CC`` scores each label (second index) after each (first).
    """
    into_CC = steps_CC.T.contiguous()  # last dimension: the preceding label
    best_NC = steps_CC[outside_id].expand_as(log_probs_NWC[:, 0])  # scores of the best sequences by last label
    reached = []
    for log_probs_NC in log_probs_NWC.unbind(1):
        reached.append(best_NC + log_probs_NC)
        best_NC = (reached[-1].unsqueeze(1) + into_CC).amax(-1)
    label_N = torch.full_like(best_NC[:, 0], outside_id, dtype=torch.int64)
    labels = []
    for best_NC in reversed(reached):
        label_N = (best_NC + into_CC[label_N]).argmax(-1)
        labels.append(label_N)
    return torch.stack(labels[::-1], 1)
