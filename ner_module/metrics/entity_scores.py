"""`EntityScores`: exact entity precision, recall and F1 over batches and ranks, as a torchmetrics ``Metric``.

Its state is a few integer counts, summed over batches and ranks, so the result does not depend on batches or the number
of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ner_module.metrics.functional import SpanRules, scores, span_counts, span_rules
from ner_module.tagging import IGNORE_INDEX, OUTSIDE


class EntityScores(Metric):
    """Entity-level precision, recall and F1 from label ids, by the rule of :mod:`ner_module.tagging`.

    A predicted entity is correct if a gold entity has the same words and the same type.

    ``compute`` returns scalar tensors:

    * ``precision``, ``recall``, ``f1``: micro, over all entities;
    * ``precision_macro``, ``recall_macro``, ``f1_macro``: plain mean over the types that occur, in gold or prediction;
    * ``precision_weighted``, ``recall_weighted``, ``f1_weighted``: mean over types, weighted by support;
    * ``accuracy``: share of words with the right label;
    * ``precision/TYPE``, ``recall/TYPE``, ``f1/TYPE``, ``support/TYPE`` for every type of the inventory.

    A score whose denominator is zero is 0. The definitions are those of seqeval's ``classification_report``.

    Args:
        label_names: the label of each label id.
        scheme: tagging scheme of the labels, one of :data:`ner_module.tagging.SCHEMES`.
        outside_label: for the scheme ``flat``, the label of words that are no unit; null if every word is one.
        **kwargs: options of :class:`torchmetrics.Metric`, such as ``process_group``.

    Raises:
        SchemeError: labels that are not in the scheme.

    >>> metric = EntityScores(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    >>> gold = torch.tensor([[1, 2, 0, 3], [3, 0, -100, -100]])
    >>> predicted = torch.tensor([[1, 2, 0, 1], [3, 0, 0, 0]])
    >>> metric.update(predicted, gold)
    >>> result = metric.compute()
    >>> result["f1"], result["f1/PER"], result["f1/LOC"], result["support/LOC"]
    (tensor(0.6667), tensor(0.6667), tensor(0.6667), tensor(2))
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    true_positives: Tensor
    num_predicted: Tensor
    num_gold: Tensor
    correct_words: Tensor
    num_words: Tensor
    label_codes: Tensor

    def __init__(
        self,
        label_names: Sequence[str],
        scheme: str = "iob2",
        outside_label: str | None = OUTSIDE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        rules = span_rules(label_names, scheme, outside_label)
        self.entity_types = rules.entity_types
        self.register_buffer("label_codes", rules.codes, persistent=False)
        for name in ("true_positives", "num_predicted", "num_gold"):
            self.add_state(name, torch.zeros(len(rules.entity_types), dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("correct_words", "num_words"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: label ids ``[rows, words]``; ignored where ``target`` masks.
            target: gold label ids ``[rows, words]``. Words labelled ``IGNORE_INDEX`` are removed from their row: their
                neighbours become adjacent.

        Raises:
            ValueError: wrong shapes or types; on CPU also a label id outside the inventory.
        """
        true_positives, num_predicted, num_gold = span_counts(
            preds, target, SpanRules(self.entity_types, self.label_codes)
        )
        self.true_positives += true_positives
        self.num_predicted += num_predicted
        self.num_gold += num_gold
        is_word = target != IGNORE_INDEX
        self.correct_words += ((preds == target) & is_word).count_nonzero()
        self.num_words += is_word.count_nonzero()

    def set_dtype(self, dst_type: str | torch.dtype) -> EntityScores:
        """Keep counts as integers in any precision: half precision cannot count beyond 2,048."""
        return self

    def compute(self) -> dict[str, Tensor]:
        """The scores since the last reset."""
        by_type = scores(self.true_positives, self.num_predicted, self.num_gold)
        micro = scores(self.true_positives.sum(), self.num_predicted.sum(), self.num_gold.sum())
        occurs = (self.num_predicted + self.num_gold) > 0
        result: dict[str, Tensor] = {}
        for name, overall, per_type in zip(micro._fields, micro, by_type, strict=True):
            result[name] = overall
            result[f"{name}_macro"] = (per_type * occurs).sum() / occurs.sum().clamp(min=1)
            result[f"{name}_weighted"] = (per_type * self.num_gold).sum() / self.num_gold.sum().clamp(min=1)
        result["accuracy"] = self.correct_words / self.num_words.clamp(min=1)
        for index, entity_type in enumerate(self.entity_types):
            for name, per_type in by_type._asdict().items():
                result[f"{name}/{entity_type}"] = per_type[index]
            result[f"support/{entity_type}"] = self.num_gold[index]
        return result
