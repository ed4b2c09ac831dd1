"""Training, evaluation and checkpoints of NERModule, through a real Trainer on the CPU."""

from __future__ import annotations

import copy
import json
import logging
import math
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from tiny_models import FAMILIES, make_tiny_model
from torch import Tensor, nn
from transformers import AutoModel

from ner_module.data.datamodule import NERDataModule
from ner_module.errors import DataError, RunError
from ner_module.model.module import NERModule
from ner_module.model.packed import pad_sequences
from ner_module.tagging import IGNORE_INDEX, LabelSet

MakeData = Callable[..., NERDataModule]


def new_trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    defaults = {"accelerator": "cpu", "num_sanity_val_steps": 0, "default_root_dir": folder, **quiet}
    return Trainer(**{**defaults, **options})


@pytest.fixture
def make_data(tiny_model: Callable[..., Path], corpus: Path) -> MakeData:
    """``make_data("roberta", batch_size=4)``: the small corpus for a tiny model."""

    def make(family: str = "bert-uncased", **options: Any) -> NERDataModule:
        files = {f"{split}_file": str(corpus / f"{split}.conll") for split in ("train", "validation", "test")}
        return NERDataModule(str(tiny_model(family)), **{**files, **options})

    return make


@pytest.fixture
def make_module(tiny_model: Callable[..., Path]) -> Callable[..., NERModule]:
    """``make_module("roberta", dropout=0.0)``: a module that is not built yet."""

    def make(family: str = "bert-uncased", **options: Any) -> NERModule:
        return NERModule(str(tiny_model(family)), **{"learning_rate": 1e-3, **options})

    return make


def built(module: NERModule, data: NERDataModule) -> NERModule:
    """Built for the labels of the data, without a trainer."""
    data.prepare_data()
    data.setup("fit")
    module.set_labels(data.labels)
    module.build()
    return module


# ---------------------------------------------------------------- one step of each family


class Gradients(Callback):
    """Keeps the loss and the gradients of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.gradients: dict[str, Tensor] = {}

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        named = pl_module.model.named_parameters()
        self.gradients = {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_one_training_step_reaches_embeddings_and_head(
    family: str, make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module, seen = make_module(family), Gradients()
    new_trainer(tmp_path, max_steps=1, limit_val_batches=0, callbacks=[seen]).fit(module, make_data(family))
    assert len(seen.losses) == 1
    assert math.isfinite(seen.losses[0])
    assert all(gradient.isfinite().all() for gradient in seen.gradients.values())
    without = {name for name, _ in module.model.named_parameters()} - seen.gradients.keys()
    assert not without, "every parameter is trained"
    embeddings = next(name for name, _ in module.model.named_parameters() if "word_emb" in name or "tok_emb" in name)
    for name in ("classifier.weight", "classifier.bias", embeddings):
        assert seen.gradients[name].abs().max() > 1e-6, name
    assert {parameter.dtype for parameter in module.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_same_logits_alone_and_among_others(
    family: str, make_data: MakeData, make_module: Callable[..., NERModule]
) -> None:
    data = make_data(family, batch_size=16)
    module = built(make_module(family), data).eval()
    batch = next(iter(data.train_dataloader()))
    lengths = batch["lengths"]
    assert max(lengths) > 2 * min(lengths)
    with torch.inference_mode():
        together = module(batch["input_ids"], lengths).split(lengths)
        for row, ids in enumerate(batch["input_ids"].split(lengths)):
            torch.testing.assert_close(together[row], module(ids, [len(ids)]), atol=1e-5, rtol=1e-4)


def test_rows_of_a_document_are_computed_in_parts_with_the_same_result(
    make_data: MakeData, make_module: Callable[..., NERModule]
) -> None:
    data = make_data(max_seq_length=16)
    module = built(make_module(), data).eval()
    batch = next(iter(data.val_dataloader()))
    rows, sentences = len(batch["lengths"]), batch["sentence_index"].shape[0]
    assert rows > 1.5 * sentences
    with torch.inference_mode():
        logits, words = module.predict_words(batch)
        whole = module(batch["input_ids"], batch["lengths"])
    torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-4)
    assert words.label_ids.shape == batch["gold"].shape


def transformers_loss(model: Any, batch: dict[str, Any]) -> float:
    """The mean loss by transformers' own, on a padded batch."""
    input_ids, real = pad_sequences(batch["input_ids"], batch["lengths"], 0)
    labels, _ = pad_sequences(batch["labels"], batch["lengths"], IGNORE_INDEX)
    return float(model(input_ids=input_ids, attention_mask=real.long(), labels=labels).loss)


# ---------------------------------------------------------------- dropout


class Modes(Callback):
    """Whether dropout is on, and what the same input gives twice, in training and in evaluation."""

    def __init__(self) -> None:
        self.on: dict[str, set[bool]] = {"train": set(), "validate": set()}
        self.repeatable: dict[str, set[bool]] = {"train": set(), "validate": set()}

    def _note(self, stage: str, module: Any, batch: Any) -> None:
        self.on[stage] |= {part.training for part in module.modules() if isinstance(part, nn.Dropout) and part.p > 0}
        with torch.no_grad():
            first, second = (module(batch["input_ids"], batch["lengths"]) for _ in range(2))
        self.repeatable[stage].add(torch.equal(first, second))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._note("train", pl_module, batch)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        self._note("validate", pl_module, batch)


@pytest.mark.parametrize("family", ["bert-uncased", "deberta-v3", "distilbert"])
def test_dropout_is_on_in_training_and_off_in_evaluation(
    family: str, make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module, data, modes = make_module(family), make_data(family), Modes()
    trainer = new_trainer(tmp_path, max_epochs=2, limit_train_batches=2, limit_val_batches=1, callbacks=[modes])
    trainer.fit(module, data)
    trainer.validate(module, data, verbose=False)
    assert modes.on == {"train": {True}, "validate": {False}}
    assert modes.repeatable == {"train": {False}, "validate": {True}}


# ---------------------------------------------------------------- losses


class Losses(Callback):
    """The training loss after each epoch, twice."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.taken.append((pl_module.take_train_loss(), pl_module.take_train_loss()))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(16, 1), (7, 1), (7, 3), (1000, 1)])
def test_the_training_loss_is_the_mean_over_all_labelled_subwords(
    batch_size: int, accumulate: int, make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    # The rate is so small that the weights stay as they are.
    module, data, losses = make_module(learning_rate=1e-30, dropout=0.0), make_data(batch_size=batch_size), Losses()
    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    new_trainer(tmp_path, **options, callbacks=[losses]).fit(module, data)
    total, labelled = 0.0, 0
    for batch in data.train_dataloader():
        number = int((batch["labels"] != IGNORE_INDEX).sum())
        with torch.no_grad():
            total += number * transformers_loss(module.model, batch)
        labelled += number
    for first, second in losses.taken:
        assert first == pytest.approx(total / labelled, rel=1e-5)
        assert math.isnan(second), "what was taken is gone"


class Sgd(NERModule):
    """Plain gradient descent, which shows gradients as they are; Adam would blow up rounding errors."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_accumulated_training_is_training_in_larger_batches(
    make_data: MakeData, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    found = []
    for batch_size, accumulate in ((16, 1), (8, 2), (4, 4)):
        torch.manual_seed(0)
        module, losses = Sgd(str(tiny_model()), dropout=0.0), Losses()
        options = {"max_epochs": 2, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
        trainer = new_trainer(tmp_path, **options, callbacks=[losses])
        trainer.fit(module, make_data(batch_size=batch_size))
        # 120 sentences make a few more rows: the last step of an epoch is a smaller one.
        found.append((trainer.global_step, losses.taken[-1][0], module.state_dict()))
    for steps, loss, weights in found[1:]:
        assert steps == found[0][0]
        assert loss == pytest.approx(found[0][1], rel=1e-5)
        for name, weight in weights.items():
            torch.testing.assert_close(weight, found[0][2][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_rate_falls_to_zero_at_the_last_step(
    accumulate: int, make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module, data = make_module(warmup_ratio=0.2), make_data()
    rates: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    trainer = new_trainer(tmp_path, **options, callbacks=[Rates()])
    trainer.fit(module, data)
    total = 2 * math.ceil(trainer.num_training_batches / accumulate)
    assert trainer.global_step == len(rates) == total
    warmup = math.ceil(total * 0.2)
    expected = [step / warmup if step < warmup else (total - step) / (total - warmup) for step in range(total)]
    assert rates == pytest.approx([1e-3 * share for share in expected])
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0


# ---------------------------------------------------------------- evaluation


class Words(Callback):
    """Gold and predicted tags of every sentence, in order."""

    def __init__(self, names: Callable[[], list[str]]) -> None:
        self.names = names
        self.sentences: dict[int, tuple[list[str], list[str], list[float]]] = {}

    def on_test_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        columns = (outputs[name].tolist() for name in ("sentence_index", "num_words", "gold", "label_ids", "scores"))
        for index, length, gold, predicted, scores in zip(*columns, strict=True):
            names = self.names()
            self.sentences[index] = (
                [names[label] if label >= 0 else "?" for label in gold[:length]],
                [names[label] for label in predicted[:length]],
                scores[:length],
            )

    on_predict_batch_end = on_test_batch_end


TAG_OF = {"was": "O", "born": "O", "the": "O", ".": "O", "Riga": "B-LOC", "Ada": "B-PER", "Erik": "I-PER"}


def write_learnable(path: Path, sentences: int, noise: float) -> None:
    """Sentences whose tags depend on the word alone, some of them long, but for a share of wrong ones."""
    chance = random.Random(sentences)
    lines = []
    for _ in range(sentences):
        words = chance.choices(list(TAG_OF), k=chance.choice((1, 3, 8, 40)))
        lines += [
            f"{word} {chance.choice(list(TAG_OF.values())) if chance.random() < noise else TAG_OF[word]}"
            for word in words
        ]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def trained_once(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[NERModule, NERDataModule]:
    folder = tmp_path_factory.mktemp("trained")
    for split, sentences, noise in (("train", 90, 0.0), ("validation", 10, 0.0), ("test", 50, 0.2)):
        write_learnable(folder / f"{split}.conll", sentences, noise)
    files = {f"{split}_file": str(folder / f"{split}.conll") for split in ("train", "validation", "test")}
    data = NERDataModule(str(tiny_model()), **files, max_seq_length=24, cache_dir=str(folder))
    torch.manual_seed(0)
    module = NERModule(str(tiny_model()), learning_rate=3e-3, dropout=0.0)
    new_trainer(folder, max_epochs=4, limit_val_batches=0).fit(module, data)
    return module, data


@pytest.fixture
def trained(trained_once: tuple[NERModule, NERDataModule]) -> tuple[NERModule, NERDataModule]:
    """A model that finds most entities, in windows of 24 subwords; a copy for each test."""
    module, data = trained_once
    again = NERModule(module.hparams["model_name_or_path"])
    again.set_labels(data.labels)
    again.build()
    again.load_state_dict(module.state_dict())
    return again, data


def test_scores_are_those_of_seqeval_whatever_the_batches(
    trained: tuple[NERModule, NERDataModule], tmp_path: Path
) -> None:
    module, data = trained
    results, tagged = [], []
    for eval_batch_size in (1, 7, 32):
        other = NERDataModule(test_file=data.hparams["test_file"], eval_batch_size=eval_batch_size)
        other.load_state_dict(data.state_dict())
        words = Words(lambda: data.labels.names)
        [scores] = new_trainer(tmp_path, callbacks=[words]).test(module, other, verbose=False)
        gold, predicted, _ = zip(*(words.sentences[index] for index in range(50)), strict=True)
        gold, predicted = list(gold), list(predicted)
        assert 0.3 < scores["test/f1"] < 0.95
        assert scores["test/f1"] == pytest.approx(f1_score(gold, predicted))
        assert scores["test/precision"] == pytest.approx(precision_score(gold, predicted))
        assert scores["test/recall"] == pytest.approx(recall_score(gold, predicted))
        assert scores["test/accuracy"] == pytest.approx(accuracy_score(gold, predicted))
        results.append(scores)
        tagged.append(predicted)
    assert tagged[0] == tagged[1] == tagged[2]
    for other_scores in results[1:]:
        assert other_scores == pytest.approx(results[0], rel=1e-5)


def test_the_evaluation_loss_is_the_mean_over_all_labelled_subwords(
    trained: tuple[NERModule, NERDataModule], tmp_path: Path
) -> None:
    module, data = trained
    [scores] = new_trainer(tmp_path).test(module, data, verbose=False)
    module.eval()
    total, labelled = 0.0, 0
    for batch in data.test_dataloader():
        number = int((batch["labels"] != IGNORE_INDEX).sum())
        with torch.no_grad():
            total += number * transformers_loss(module.model, batch)
        labelled += number
    assert scores["test/loss"] == pytest.approx(total / labelled, rel=1e-5)


def test_scores_of_one_validation_do_not_leak_into_the_next(
    trained: tuple[NERModule, NERDataModule], tmp_path: Path
) -> None:
    module, data = trained
    trainer = new_trainer(tmp_path)
    first = trainer.validate(module, data, verbose=False)
    assert trainer.validate(module, data, verbose=False) == first


@pytest.mark.parametrize("decoding", ["greedy", "viterbi"])
def test_a_word_without_subword_is_outside_and_shifts_nothing(
    decoding: str, trained: tuple[NERModule, NERDataModule], tmp_path: Path
) -> None:
    module, data = trained
    module.hparams["decoding"] = decoding
    plain = ["Riga", "was", "the", "Ada", "Erik"]
    holed = ["\u200b", "Riga", "was", "\u200b", "the", "Ada", "\u200b", "Erik", "\x03"]
    path = tmp_path / "input.jsonl"
    rows = [f'{{"tokens": {json.dumps(words)}}}' for words in (plain, holed, [], ["\u200b"])]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    other = NERDataModule(predict_file=str(path))
    other.load_state_dict(data.state_dict())
    words = Words(lambda: data.labels.names)
    new_trainer(tmp_path, callbacks=[words]).predict(module, other, return_predictions=False)
    _, tags, scores = words.sentences[0]
    _, holed_tags, holed_scores = words.sentences[1]
    seen = [1, 2, 4, 5, 7]
    assert [holed_tags[index] for index in seen] == tags
    assert [holed_scores[index] for index in seen] == pytest.approx(scores, rel=1e-4)
    assert tags[:4] == ["B-LOC", "O", "O", "B-PER"]
    assert {holed_tags[index] for index in (0, 3, 6, 8)} == {"O"}
    assert {holed_scores[index] for index in (0, 3, 6, 8)} == {0.0}
    assert words.sentences[2][1] == []
    assert words.sentences[3][1] == ["O"]


# ---------------------------------------------------------------- callbacks that need the model early, and freezing


class FreezesInSetup(Callback):
    """The usual place."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        for name, parameter in pl_module.named_parameters():
            parameter.requires_grad_("classifier" in name)


class Finetuning(BaseFinetuning):
    """Trains the head, from the second epoch on the whole."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.model.bert)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.model.bert, optimizer)


class Moved(Callback):
    """How far the encoder's weights are from the base model's after each epoch."""

    def __init__(self, base: dict[str, Tensor]) -> None:
        self.base, self.by = base, list[float]()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        found = pl_module.backbone.state_dict()
        self.by.append(max(float((found[name] - self.base[name]).abs().max()) for name in found))


class Average(Callback):
    """The average that is meant, worked out here, after each step; a checkpoint in the middle of the second epoch."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.steps = path, list[dict[str, Tensor]]()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        weights = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}
        last = self.steps[-1] if self.steps else weights
        self.steps.append({name: 0.75 * last[name] + 0.25 * weight for name, weight in weights.items()})
        if self.path is not None and len(self.steps) == 5:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging")
def test_the_averaged_model_is_what_is_evaluated_and_saved_and_resumes(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    def fit(path: Path | None, ckpt_path: Path | None = None) -> tuple[NERModule, Trainer, Average]:
        module, average = make_module(learning_rate=1e-2, dropout=0.0), Average(path)
        callbacks = [EMAWeightAveraging(decay=0.75, use_buffers=False), average]
        trainer = new_trainer(tmp_path, callbacks=callbacks, max_epochs=2, limit_train_batches=3, limit_val_batches=2)
        trainer.fit(module, make_data(batch_size=4), ckpt_path=ckpt_path, weights_only=True)
        return module, trainer, average

    torch.manual_seed(0)
    module, trainer, average = fit(tmp_path / "middle.ckpt")
    for name, weight in module.named_parameters():
        torch.testing.assert_close(weight, average.steps[-1][name])
    [scores] = new_trainer(tmp_path, limit_val_batches=2).validate(module, make_data(), verbose=False)
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(scores["val/loss"], rel=1e-5)
    saved = NERModule.load_from_checkpoint(tmp_path / "middle.ckpt", weights_only=True)
    for name, weight in saved.named_parameters():
        torch.testing.assert_close(weight, average.steps[4][name])
    torch.manual_seed(1)
    resumed, _, _ = fit(None, tmp_path / "middle.ckpt")
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in module.state_dict().items())
    with pytest.raises(RunError, match="EMAWeightAveraging: give it use_buffers: false"):
        new_trainer(tmp_path, callbacks=[EMAWeightAveraging()]).fit(make_module(), make_data())


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")
@pytest.mark.parametrize("make_callback", [FreezesInSetup, Finetuning, partial(BackboneFinetuning, 1)])
def test_callbacks_that_freeze(
    make_callback: Callable[[], Callback], make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module = make_module(learning_rate=1e-2)
    base = AutoModel.from_pretrained(module.hparams["model_name_or_path"], add_pooling_layer=False)
    moved = Moved(base.state_dict())
    callbacks = [make_callback(), moved]
    new_trainer(tmp_path, callbacks=callbacks, max_epochs=2, limit_train_batches=2).fit(module, make_data())
    assert moved.by[0] == 0
    assert (moved.by[1] > 0) == (make_callback is not FreezesInSetup)


def test_the_options_of_the_optimiser_reach_it(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module = make_module(learning_rate=1e-2, head_learning_rate=1e-1, layer_decay=0.5, freeze="embeddings")
    trainer = new_trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, make_data())
    assert [group["initial_lr"] for group in trainer.optimizers[0].param_groups[::2]] == [0.01, 0.005, 0.0025, 0.1]
    frozen = {name.split(".")[2] for name, weight in module.named_parameters() if not weight.requires_grad}
    assert frozen == {"embeddings"}


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_needs_no_base_model(family: str, corpus: Path, tmp_path: Path) -> None:
    base = make_tiny_model(family, tmp_path / "base")
    files = {f"{split}_file": str(corpus / f"{split}.conll") for split in ("train", "validation", "test")}
    module, data = NERModule(str(base), learning_rate=1e-3), NERDataModule(str(base), **files)
    trainer = new_trainer(tmp_path, max_steps=2, limit_val_batches=0)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    batch = next(iter(data.val_dataloader()))
    with torch.inference_mode():
        logits, words = module.eval().predict_words(batch)
    shutil.rmtree(base)

    torch.manual_seed(99)
    again = NERModule.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert again.hparams["label_names"] == list(data.labels.names)
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    with torch.inference_mode():
        found, found_words = again.eval().predict_words(batch)
    assert torch.equal(found, logits)
    assert torch.equal(found_words.label_ids, words.label_ids)
    # With the data module restored from the same file, `test` and `predict` need nothing else.
    restored = NERDataModule(test_file=files["test_file"])
    restored.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True)["NERDataModule"])
    expected = new_trainer(tmp_path).test(module, data, verbose=False)
    assert new_trainer(tmp_path).test(again, restored, verbose=False) == expected


class Seen(Callback):
    """The subwords of each training batch, and a checkpoint after one of them."""

    def __init__(self, save_after: int | None = None, path: Path | None = None) -> None:
        self.batches: list[list[list[int]]] = []
        self.save_after, self.path = save_after, path

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch["input_ids"].tolist())
        if len(self.batches) == self.save_after:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(("save_after", "restore_first"), [(3, True), (8, True), (11, True), (11, False)])
def test_a_resumed_training_sees_the_batches_that_are_left(
    save_after: int,
    restore_first: bool,
    make_data: MakeData,
    make_module: Callable[..., NERModule],
    tmp_path: Path,
) -> None:
    """With the data restored before `fit`, as the command line does, or by Lightning alone, as in a script."""
    path = tmp_path / "middle.ckpt"
    torch.manual_seed(0)
    whole, unbroken = Seen(save_after, path), make_module(dropout=0.0)
    new_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[whole]).fit(unbroken, make_data())
    assert len(whole.batches) == 16

    module, data, rest = make_module(dropout=0.0), make_data(), Seen()
    if restore_first:
        checkpoint = torch.load(path, weights_only=True)
        data.load_state_dict(checkpoint["NERDataModule"])
        module.restore(checkpoint)
    new_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[rest]).fit(
        module, data, ckpt_path=path, weights_only=True
    )
    assert rest.batches == whole.batches[save_after:]
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, unbroken.state_dict()[name], atol=1e-6, rtol=1e-5)


def test_the_running_training_loss_goes_on_after_a_resume(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    path = tmp_path / "middle.ckpt"
    losses = []
    for ckpt_path in (None, path):
        torch.manual_seed(0)
        module, data, taken = make_module(dropout=0.0), make_data(), Losses()
        callbacks: list[Callback] = [taken]
        if ckpt_path is None:
            callbacks.append(Seen(5, path))
        else:
            data.load_state_dict(torch.load(path, weights_only=True)["NERDataModule"])
        trainer = new_trainer(tmp_path, max_epochs=1, limit_val_batches=0, callbacks=callbacks)
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        losses.append(taken.taken[0][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1e-5},
        {"weight_decay": -0.1},
        {"warmup_ratio": 1.1},
        {"warmup_ratio": -0.1},
        {"head_learning_rate": 0.0},
        {"layer_decay": 1.1},
        {"layer_decay": 0.0},
        {"freeze": -1},
        {"learning_rate": math.nan},
        {"dropout": 1.0},
    ],
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(MisconfigurationException, match=rf"^--model\.{next(iter(options))}: it is .*; give "):
        NERModule("some/model", **options)  # type: ignore[arg-type]


def test_labels_are_needed_and_cannot_change(make_module: Callable[..., NERModule]) -> None:
    module = make_module()
    with pytest.raises(ValueError, match=r"the labels are not known: train with a NERDataModule, or call set_labels"):
        module.build()
    module.set_labels(LabelSet(("O", "B-A", "I-A"), "iob2", "O"))
    module.build()
    module.set_labels(LabelSet(("O", "B-A", "I-A"), "iob2", "O"))
    with pytest.raises(RunError, match="the model predicts O, B-A, I-A, the data or the checkpoint B-A, O, I-A: train"):
        module.set_labels(LabelSet(("B-A", "O", "I-A"), "iob2", "O"))


def test_a_trained_module_keeps_its_labels_whatever_the_data_has(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    """Label ids are the model's: data with some of its labels is mapped, however it was set up; others are refused."""

    def trainer() -> Trainer:
        return new_trainer(tmp_path, max_steps=1)

    module, first = make_module(), trainer()
    first.fit(module, make_data())
    first.save_checkpoint(tmp_path / "first.ckpt")
    names = module.labels.names
    path = tmp_path / "some.conll"
    path.write_text("Ada B-PER\nsaw O\nRome B-LOC\n\n" * 4, encoding="utf-8")
    options = {f"{split}_file": str(path) for split in ("train", "validation", "test")}
    fresh, by_hand, of_another = (make_data(**options) for _ in range(3))
    by_hand.prepare_data()
    by_hand.setup("fit")
    assert by_hand.labels.names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    loaders = by_hand.train_dataloader(), by_hand.val_dataloader()
    another = make_module()
    trainer().fit(another, of_another)
    for data in (fresh, by_hand, of_another):
        trainer().test(module, data, verbose=False)
        assert module.labels.names == data.labels.names == names
        assert [data.test_dataloader().dataset[np.array([0])]["gold"].tolist()] == [
            [[names.index("B-PER"), 0, names.index("B-LOC")]]
        ]
    # Loaders without their data module, and a checkpoint of other labels, cannot be mapped.
    for refused in (
        lambda: trainer().fit(module, *loaders),
        lambda: trainer().validate(module, loaders[1], verbose=False),
        lambda: trainer().test(module, loaders[1], verbose=False),
        lambda: trainer().validate(another, make_data(**options), ckpt_path=tmp_path / "first.ckpt", verbose=False),
    ):
        with pytest.raises(RunError, match=r"the model predicts O, .*, the data or the checkpoint O, .*: train and"):
            refused()
    trainer().validate(another, loaders[1], verbose=False)
    path.write_text("Ada B-PER\nsaw O\nRome B-CITY\n\n" * 4, encoding="utf-8")
    message = "some.conll:3: the label 'B-CITY' is unknown .* has O, B-LOC, .*the data has B-CITY, B-PER, O; correct"
    with pytest.raises(DataError, match=message):
        trainer().fit(module, make_data(**options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"callbacks": [StochasticWeightAveraging(1e-5)]}, "StochasticWeightAveraging: .* EMAWeightAveraging"),
        ({"callbacks": [LearningRateFinder()]}, "LearningRateFinder: the schedule sets the rate"),
        ({"overfit_batches": 2}, "overfit_batches is not supported"),
    ],
    ids=["averages", "finder", "overfit"],
)
def test_any_trainer_is_refused_what_would_do_nothing(
    options: dict[str, Any], said: str, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    """Before data are read: there are none."""
    with pytest.raises(RunError, match=said):
        new_trainer(tmp_path, **options).fit(make_module(), NERDataModule())


def test_a_tuner_finds_the_rate_that_is_then_used(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    module, data, trainer = make_module(), make_data(batch_size=4), new_trainer(tmp_path, max_steps=1)
    found = Tuner(trainer).lr_find(module, data, num_training=20, min_lr=1e-6)
    assert found is not None
    trainer.fit(module, data)
    [schedule] = trainer.lr_scheduler_configs
    assert set(schedule.scheduler.base_lrs) == {found.suggestion()}


def test_data_tokenised_for_another_base_model_are_mentioned(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("ner_module")
    logger.addHandler(caplog.handler)
    for family in ("bert-uncased", "roberta"):
        new_trainer(tmp_path, fast_dev_run=True).fit(make_module(), make_data(family))
    logger.removeHandler(caplog.handler)
    [said] = {message for message in caplog.messages if "tokenised for" in message}
    assert re.fullmatch(r"the model is made from .*bert-uncased, but the data are tokenised for .*roberta", said)


def test_a_training_without_end_is_refused(
    make_data: MakeData, make_module: Callable[..., NERModule], tmp_path: Path
) -> None:
    with pytest.raises(MisconfigurationException, match=r"training has no end: give --trainer\.max_epochs"):
        new_trainer(tmp_path, max_epochs=-1).fit(make_module(), make_data())


def test_flat_labels_are_trained_and_scored(
    make_module: Callable[..., NERModule], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "train.conll"
    path.write_text("The DET\ncat NOUN\nsat VERB\n\nA DET\ndog NOUN\n\n" * 10, encoding="utf-8")
    module = make_module(learning_rate=3e-3, dropout=0.0)
    data = NERDataModule(str(tiny_model()), train_file=str(path), batch_size=4)
    trainer = new_trainer(tmp_path, max_epochs=12, limit_val_batches=0)
    trainer.fit(module, data)
    assert (data.labels.scheme, list(data.labels.names)) == ("flat", ["DET", "NOUN", "VERB"])
    [scores] = new_trainer(tmp_path).validate(module, data, verbose=False)
    assert scores["val/f1"] == scores["val/accuracy"] == 1.0


def test_a_module_can_be_copied(make_module: Callable[..., NERModule], make_data: MakeData) -> None:
    module = built(make_module(), make_data())
    again = copy.deepcopy(module)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in module.state_dict().items())
