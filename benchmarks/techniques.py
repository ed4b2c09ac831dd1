"""Techniques that are not built, each in a few lines on top of this project: what would they bring?

    python benchmarks/accuracy.py --without_trainer --corpora wikigold --seeds 42 43 44 \
        --recipe smoothing "--technique label_smoothing --model.head_learning_rate 1e-3"
    python benchmarks/techniques.py focal fit --config configs/quickstart.yaml    # the program with one of them

The program runs as it is, but for the functions of the model that a technique replaces. It serves measurements of
models with a linear ``classifier`` over the encoder (BERT, DistilBERT, RoBERTa) on one process, where windows are not
needed: enough to decide whether a technique deserves a place in the package. ``lora`` needs `peft`.

Shapes: T subword tokens of all sequences of a batch, C labels, H units.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ner_module.__main__ import main
from ner_module.model import module as model_module
from ner_module.model.module import NERModule
from ner_module.tagging import IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], Tensor]


def use_loss(loss: Loss) -> None:
    """Train with a sum over labelled tokens of another loss; validation reports it, too."""
    vars(model_module)["sum_of_losses"] = lambda logits, batch, crf: loss(logits.float(), batch["labels"])


def label_smoothing() -> None:
    """Targets of 0.9 and the rest spread over all labels (Szegedy et al. 2016, arXiv:1512.00567)."""
    options: dict[str, Any] = {"ignore_index": IGNORE_INDEX, "reduction": "sum", "label_smoothing": 0.1}
    use_loss(lambda logits, labels: F.cross_entropy(logits, labels, **options))


def focal() -> None:
    """Each token's loss times (1 - p)², which silences what is sure (Lin et al. 2017, arXiv:1708.02002)."""

    def loss(logits_TC: Tensor, labels_T: Tensor) -> Tensor:
        entropy_T = F.cross_entropy(logits_TC, labels_T, ignore_index=IGNORE_INDEX, reduction="none")
        return (entropy_T * (1 - (-entropy_T).exp()).square()).sum()

    use_loss(loss)


def _weighted(weights_of: Callable[[Tensor], Tensor]) -> None:
    """Weights of labels from their counts in the training data, such that a token's mean weight is 1."""
    weights: list[Tensor] = []

    def begin(module: Any) -> None:
        data = module.trainer.datamodule
        split = data.encoded["train"]
        names = [str(split.tag_names[index]) for index in split.word_labels]
        counts = torch.tensor([names.count(name) for name in module.labels.names], dtype=torch.float32)
        raw = weights_of(counts.clamp(min=1))
        weights[:] = [raw * counts.sum() / (raw * counts).sum()]
        usual_start(module)

    usual_start = NERModule.on_fit_start
    setattr(NERModule, "on_fit_start", begin)  # noqa: B010
    options: dict[str, Any] = {"ignore_index": IGNORE_INDEX, "reduction": "sum"}
    use_loss(lambda logits, labels: F.cross_entropy(logits, labels, weights[0] if weights else None, **options))


def class_weights() -> None:
    """Weights of one over the square root of a label's count."""
    _weighted(lambda counts: counts.rsqrt())


def effective_number() -> None:
    """Weights of (1 - b) / (1 - b^count) with b = 0.999 (Cui et al. 2019, arXiv:1901.05555)."""
    _weighted(lambda counts: (1 - 0.999) / (1 - 0.999**counts))


def suspects_count_less() -> None:
    """Sentences with the lowest scores of ``audit --folds`` weigh 0.3; the environment names its ``--output``.

    ``SUSPECTS=suspects.jsonl`` is the file, ``SHARE=0.05`` the share of sentences.
    """
    weights: dict[bytes, float] = {}

    def begin(module: Any) -> None:
        split = module.trainer.datamodule.encoded["train"]
        suspects = [json.loads(line) for line in Path(os.environ["SUSPECTS"]).read_text(encoding="utf-8").splitlines()]
        worst: dict[int, None] = dict.fromkeys(
            suspect["sentence"] for suspect in sorted(suspects, key=lambda suspect: suspect["score"])
        )
        chosen = list(worst)[: round(float(os.environ["SHARE"]) * len(split))]
        for sequence in split.sequences_of(np.array(chosen)).tolist():
            ids = split.input_ids[slice(*split.sequence_offsets[sequence : sequence + 2].tolist())]
            weights[ids.astype(np.int64).tobytes()] = 0.3
        usual_start(module)

    def loss(logits_TC: Tensor, batch: dict[str, Any], crf: Any) -> Tensor:
        loss_T = F.cross_entropy(logits_TC.float(), batch["labels"], ignore_index=IGNORE_INDEX, reduction="none")
        sequences = batch["input_ids"].split(batch["lengths"])
        weight_of = [weights.get(ids.numpy().tobytes(), 1.0) for ids in sequences]
        return (loss_T * torch.tensor(weight_of).repeat_interleave(torch.tensor(batch["lengths"]))).sum()

    usual_start = NERModule.on_fit_start
    setattr(NERModule, "on_fit_start", begin)  # noqa: B010
    vars(model_module)["sum_of_losses"] = loss


def _add_to_model(add: Callable[[NERModule], None]) -> None:
    """Have each model, new or from a checkpoint, changed once it is built."""

    def build(module: NERModule) -> None:
        usual_build(module)
        add(module)

    usual_build = NERModule.build
    setattr(NERModule, "build", build)  # noqa: B010 - a method of another signature to mypy
    vars(model_module)["check_fits"] = lambda *given: None  # a checkpoint has weights that its config does not speak of


def _pooled(width: int, pool: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """A head that sees all subword tokens of a word: ``pool`` of units ``[T, H]``, each token's word and its firsts."""
    starts: list[Tensor] = []

    def add(module: NERModule) -> None:
        old = module.model.classifier
        new = nn.Linear(old.in_features * width, old.out_features)
        nn.init.normal_(new.weight, std=module.model.config.initializer_range)
        nn.init.zeros_(new.bias)
        module.model.classifier = new

        def pooled(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            units = inputs[0].flatten(0, -2)
            begins_T = F.pad(starts[0], (0, len(units) - len(starts[0])), value=True)
            return (pool(units, begins_T.cumsum(0) - 1, begins_T).view(*inputs[0].shape[:-1], -1),)

        new.register_forward_pre_hook(pooled)

    def remember(method: Any) -> Any:
        def call(module: NERModule, batch: dict[str, Any], batch_idx: int) -> Any:
            trainer: Any = module.trainer
            special = torch.tensor(trainer.datamodule.tokenizer.all_special_ids)
            starts[:] = [(batch["labels"] != IGNORE_INDEX) | torch.isin(batch["input_ids"], special)]
            return method(module, batch, batch_idx)

        return call

    _add_to_model(add)
    for name in ("training_step", "validation_step", "test_step"):
        setattr(NERModule, name, remember(getattr(NERModule, name)))


def word_mean() -> None:
    """The head sees the mean of a word's tokens."""

    def pool(units_TH: Tensor, word_T: Tensor, begins_T: Tensor) -> Tensor:
        sums = torch.zeros_like(units_TH).index_add(0, word_T, units_TH)
        counts = torch.zeros(len(units_TH)).index_add(0, word_T, torch.ones(len(units_TH)))
        return (sums / counts.clamp(min=1)[:, None])[word_T]

    _pooled(1, pool)


def first_and_last() -> None:
    """The head sees a word's first and last token, one after the other."""

    def pool(units_TH: Tensor, word_T: Tensor, begins_T: Tensor) -> Tensor:
        firsts = begins_T.nonzero()[:, 0]
        lasts = torch.cat([firsts[1:] - 1, firsts.new_tensor([len(units_TH) - 1])])
        return torch.cat([units_TH[firsts[word_T]], units_TH[lasts[word_T]]], -1)

    _pooled(2, pool)


def lora() -> None:
    """Adapters of rank 16 in all linear layers of a frozen encoder (Hu et al. 2021, arXiv:2106.09685)."""
    from peft import LoraConfig, inject_adapter_in_model

    def add(module: NERModule) -> None:
        config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["query", "key", "value", "dense"])
        inject_adapter_in_model(config, module.model)
        module.model.classifier.requires_grad_(True)

    _add_to_model(add)


TECHNIQUES = {
    technique.__name__: technique
    for technique in (
        label_smoothing, focal, class_weights, effective_number, suspects_count_less, word_mean, first_and_last,
        lora,
    )
}  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TECHNIQUES:
        sys.exit(f"usage: techniques.py {{{','.join(TECHNIQUES)}}} COMMAND …, as of python -m ner_module")
    TECHNIQUES[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
