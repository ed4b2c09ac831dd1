"""NERModule: the training, evaluation and prediction steps of a token classifier.

The transformers model is built in ``configure_model``, once the labels are known from the data (``set_labels``) or a
checkpoint: from base weights at the start of training, otherwise from the checkpoint's config.

Shapes: T subword tokens of all sequences of a batch, C labels, N sentences, W words of the longest sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torchmetrics import SumMetric

from ner_module.errors import RunError, make_plain
from ner_module.metrics.entity_scores import EntityScores
from ner_module.model import selfcheck
from ner_module.model.crf import CRF
from ner_module.model.decoding import Decoding, WordPredictions, decode_words
from ner_module.model.distillation import Teacher
from ner_module.model.encoder import build_from_base, build_from_config, check_fits
from ner_module.model.loss import sum_of_losses, wide
from ner_module.model.optimizer import (
    Freeze,
    SchedulerType,
    check_options,
    clip_within_step,
    clips_within_step,
    freeze,
    make_optimizer,
    make_scheduler,
)
from ner_module.model.packed import (
    EXACT_FAMILIES,
    Compile,
    Padding,
    check_compile,
    compile_training,
    is_exact,
    packed_logits,
    padded_logits,
    prepare,
)
from ner_module.model.trainer_check import check_any_trainer
from ner_module.offers import call_all
from ner_module.tagging import IGNORE_INDEX, OUTSIDE, LabelSet

log = logging.getLogger(__name__)


class NERModule(LightningModule):
    """A transformer with a token-classification head, fine-tuned as a whole.

    Args:
        model_name_or_path: the base model: a hub id, a folder, or ``package:…`` for weights from a Python package.
        revision: branch, tag or commit on the hub; pin a commit to get the same weights next year.
        learning_rate: the peak learning rate; 2e-5 to 5e-5 suit base models, 1e-4 small ones; far higher is unstable.
        weight_decay: AdamW's weight decay, of weights but not of biases and norms; 0.01 is usual in pre-training.
        warmup_ratio: the share of all steps over which the learning rate rises from 0; 0.1 stabilises large models.
        lr_scheduler_type: the schedule after the warm-up, by its name in transformers: ``linear``, ``cosine`` or
            ``polynomial`` decay to 0, ``inverse_sqrt``, ``constant``.
        dropout: replaces the base model's dropout probabilities; null leaves them as they are.
        label_names: the labels by id. Not an option: filled from the data or the checkpoint.
        scheme: the tagging scheme of the labels. Not an option, likewise.
        outside_label: the label of words outside any entity. Not an option, likewise.
        padding: ``none`` packs the sequences of a batch end to end and computes no padding, with the same results, for
            the families where tests prove that (others are padded); ``longest`` pads.
        compile: ``kernels`` trains with ``torch.compile``: for GPUs, where short sentences are bound by kernel
            launches; not yet measured on one. The first step takes about a minute. Only with padding ``none``.
        gradient_checkpointing: store fewer activations and recompute them in the backward pass: less memory, about a
            third more time.
        decoding: how labels are chosen from the logits: ``viterbi`` takes the most probable sequence that is valid in
            the scheme; ``greedy`` takes each word's most probable label, also where the sequence is invalid.
        head_learning_rate: the peak learning rate of the head, which starts from random weights; null: that of the
            rest.
        layer_decay: layer-wise decay of the learning rate: each layer has that of the layer above times this.
        freeze: what is not trained: ``embeddings``, a number of lowest layers with them, or ``encoder``, all but the
            head.
        crf: add a conditional random field, which learns transitions between labels at the head's rate: better entities
            of several words. Needs decoding ``viterbi``; steps are slightly slower.
        distillation: knowledge distillation from the base model, a tagger, for words that ``--data.annotated_types``
            leaves open: new types are learnt and known ones kept without the old data; steps take a quarter longer.
    """

    def __init__(
        self,
        model_name_or_path: str,
        revision: str | None = None,
        learning_rate: float = 5e-5,
        weight_decay: float = 0.0,
        warmup_ratio: float = 0.0,
        lr_scheduler_type: SchedulerType = "linear",
        dropout: float | None = None,
        label_names: list[str] | None = None,
        scheme: str = "iob2",
        outside_label: str | None = OUTSIDE,
        padding: Padding = "none",
        compile: Compile = "none",
        gradient_checkpointing: bool = False,
        decoding: Decoding = "viterbi",
        head_learning_rate: float | None = None,
        layer_decay: float = 1.0,
        freeze: Freeze = "none",
        crf: bool = False,
        distillation: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the whole configuration is logged, by `cli.py`
        make_plain(NERModule.__init__, self.hparams, "--model.")
        check_options(self.hparams)
        self.model: Any = None
        self.crf: CRF | None = None
        self.packed = False
        """Whether batches are computed as packed sequences, without padding; set when the model is built."""
        self._checked = False
        self._teacher: Teacher | None = None
        self._compiled: Callable[[Tensor, Sequence[int]], Tensor] | None = None
        self.config_text = ""
        """The run's configuration as YAML, for checkpoints; set by the command line."""
        self._encoder_config: str | None = None
        # Sum of losses and number of labelled tokens in this epoch; as buffers they would become bfloat16.
        self._train_totals: tuple[float | Tensor, int | Tensor] = (0.0, 0)

    @property
    def labels(self) -> LabelSet:
        """The labels of the head."""
        return LabelSet.from_fields(self.hparams)

    @property
    def backbone(self) -> Any:
        """The encoder, under the name that Lightning's ``BackboneFinetuning`` expects."""
        return self.model.base_model

    def set_labels(self, labels: LabelSet) -> None:
        """Set the labels of the head; raises ``RunError`` if the model was already built with other labels."""
        if self.model is not None and labels.names != self.labels.names:
            own, others = ", ".join(self.labels.names), ", ".join(labels.names)
            advice = "train and score a NERModule.load_from_checkpoint(…) with a NERDataModule"
            raise RunError(f"the model predicts {own}, the data or the checkpoint {others}: {advice}")
        self.hparams.update(labels.to_fields())

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Take labels and architecture from a checkpoint instead of the base model; weights are loaded later."""
        weights = checkpoint["state_dict"].items()
        own = {name.removeprefix("model."): weight for name, weight in weights if name.startswith("model.")}
        check_fits(checkpoint["ner_module"]["encoder_config"], own)
        self._encoder_config = checkpoint["ner_module"]["encoder_config"]
        self.set_labels(LabelSet.from_fields(checkpoint["hyper_parameters"]))

    def configure_callbacks(self) -> list[Callback]:
        """Add no callbacks; Lightning calls this before data are read, so unsupported ones are refused here."""
        check_any_trainer(self.trainer, self.hparams)
        return []

    def configure_model(self) -> None:
        """Build the model once; Lightning calls this after the data's ``setup``.

        Without a trainer (``load_from_checkpoint``) ``on_load_checkpoint`` builds it, since it knows the architecture.
        """
        datamodule = getattr(self._trainer, "datamodule", None)
        if datamodule is not None and (self.model is not None or self._encoder_config is None):
            self.set_labels(datamodule.labels)
        if self.model is None and (self._trainer is not None or self._encoder_config is not None):
            self.build()

    def build(self) -> None:
        """Build the model for its labels: from the checkpoint's config, or from base weights."""
        if not self.labels.names:
            raise ValueError("the labels are not known: train with a NERDataModule, or call set_labels() first")
        if self._encoder_config is not None:
            self.use_model(build_from_config(self._encoder_config))
        else:
            name, revision, dropout = (self.hparams[key] for key in ("model_name_or_path", "revision", "dropout"))
            self.use_model(build_from_base(name, revision, self.labels.names, dropout))
        if self.hparams["gradient_checkpointing"]:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        freeze(self.model, self.hparams["freeze"])
        self.crf = CRF(self.labels) if self.hparams["crf"] else None
        # Checking for NaN would wait for the device; without the check torchmetrics' MeanMetric ignores weights.
        self._loss, self._labelled = (SumMetric(nan_strategy="disable") for _ in range(2))
        self._scores = EntityScores(*self.labels)

    def use_model(self, model: Any) -> None:
        """Use a transformers model for token classification, without padding if that is exact for its family."""
        self.model = model
        self.packed = self.hparams["padding"] == "none" and is_exact(model)
        if is_exact(model):
            prepare(model)
        elif self.hparams["padding"] == "none":
            message = "batches are padded: computing without padding is tested for %s, not for this %s"
            log.info(message, ", ".join(EXACT_FAMILIES), model.config.model_type)
        call_all("model", self.model)

    def check_device(self) -> None:
        """Fall back to padding if packed execution fails the self-check on this device; checked once."""
        if self.packed and not self._checked:
            self._checked, self.packed = True, selfcheck.passes(self.model, self.device, self._trainer)

    on_predict_start = check_device

    def check_labels(self) -> None:
        """Refuse loaders whose labels are not the model's; a trainer may get them without a data module."""
        self.check_device()
        trainer: Any = self.trainer
        scored = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
        for loader in tree_leaves(trainer.train_dataloader if trainer.training else scored):
            if isinstance(labels := getattr(getattr(loader, "dataset", None), "labels", None), LabelSet):
                self.set_labels(labels)

    on_train_start = on_validation_start = on_test_start = check_labels

    def on_fit_start(self) -> None:
        """Check the device; load the teacher and compile if configured."""
        self.check_device()
        if self.hparams["distillation"]:
            self._teacher = Teacher(self.hparams, self.labels, self.packed, self.device)
        if self.hparams["compile"] != "none":
            with self.trainer.precision_plugin.forward_context():
                check_compile(self.model, self.packed, self.device)
            self._compiled = compile_training(self.model)

    def forward(self, input_ids: Tensor, lengths: list[int]) -> Tensor:
        """Logits ``[T, C]`` for the subword ids ``[T]`` of concatenated sequences."""
        if self.training and self._compiled is not None:
            return self._compiled(input_ids, lengths)
        compute = packed_logits if self.packed else padded_logits
        return compute(self.model, input_ids, lengths)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """This micro-batch's share of the step's loss, the mean over all labelled tokens of the step.

        A step includes all processes and accumulated micro-batches. The loss is multiplied by their numbers, since
        Lightning divides by the number of micro-batches and DDP by the number of processes.
        """
        if self._teacher is not None and "open_labels" in batch:
            batch["teacher"] = self._teacher(batch["input_ids"], batch["lengths"])
        loss_sum = sum_of_losses(self(batch["input_ids"], batch["lengths"]), batch, self.crf)
        labelled = (batch["labels"] != IGNORE_INDEX).sum()
        self._train_totals = (self._train_totals[0] + wide(loss_sum), self._train_totals[1] + labelled)
        # With `prog_bar` Lightning would read it in each step, and a number would be copied to the device: both wait.
        self.log("train/loss", loss_sum.detach() / labelled.clamp(min=1))
        self.log("lr", torch.tensor(self.trainer.optimizers[0].param_groups[0]["lr"]))
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        loss: Tensor = loss_sum * (parts / max(batch["labelled_in_step"], 1))
        return loss

    def take_train_loss(self) -> float:
        """The mean training loss per labelled token since the last call, over all processes."""
        loss_sum, labelled = self._summed_totals()
        self._train_totals = (0.0, 0)
        return loss_sum / labelled if labelled else float("nan")

    def _summed_totals(self) -> list[float]:
        totals = torch.stack([wide(torch.as_tensor(total, device=self.device)) for total in self._train_totals])
        return list(self.trainer.strategy.reduce(totals, reduce_op="sum").tolist())

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Score whole sentences; returns what ``predict_step`` returns."""
        logits_TC, words = self.predict_words(batch)
        self._loss.update(sum_of_losses(logits_TC, batch, self.crf))
        self._labelled.update((batch["labels"] != IGNORE_INDEX).sum())
        self._scores.update(words.label_ids, batch["gold"])
        return self._outputs(batch, words)

    test_step = validation_step

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Tag whole sentences: ``label_ids`` and ``scores`` ``[N, W]``, index, number of words and gold labels."""
        return self._outputs(batch, self.predict_words(batch)[1])

    def predict_words(self, batch: dict[str, Any]) -> tuple[Tensor, WordPredictions]:
        """Logits ``[T, C]`` of all sequences, and predicted words, restricted to annotated types if these are given."""
        # A long text has many sequences: computing as many at once as there are sentences bounds memory.
        step = max(len(batch["sentence_index"]), 1)
        groups = [batch["lengths"][first : first + step] for first in range(0, len(batch["lengths"]), step)]
        inputs = batch["input_ids"].split([sum(group) for group in groups])
        parts = [self(input_ids, group) for input_ids, group in zip(inputs, groups, strict=True)]
        logits_TC = torch.cat(parts) if parts else torch.zeros((0, len(self.labels.names)), device=self.device)
        how = self.hparams["decoding"]
        places, unannotated = batch["word_positions"], batch.get("unannotated")
        return logits_TC, decode_words(logits_TC, places, self.labels, how, self.crf, unannotated)

    def _outputs(self, batch: dict[str, Any], words: WordPredictions) -> dict[str, Any]:
        return words._asdict() | {name: batch[name] for name in ("sentence_index", "num_words", "gold")}

    def on_validation_epoch_end(self) -> None:
        """Log the scores under ``val/`` or ``test/``."""
        stage = "test" if self.trainer.testing else "val"
        results = {"loss": self._loss.compute() / self._labelled.compute(), **self._scores.compute()}
        self.log_dict({f"{stage}/{name}": value.float() for name, value in results.items()})
        for metric in (self._loss, self._labelled, self._scores):
            metric.reset()

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> Any:
        """AdamW and a schedule stepped once per optimiser step."""
        total_steps = self.trainer.estimated_stepping_batches
        if total_steps == float("inf"):
            raise MisconfigurationException("training has no end: give --trainer.max_epochs or --trainer.max_steps")
        # With float16 a fused optimiser unscales gradients itself, which Lightning then cannot clip.
        fused, options = self.trainer.precision != "16-mixed", self.hparams
        rates = {name: options[name] for name in ("learning_rate", "weight_decay", "head_learning_rate", "layer_decay")}
        others = [] if self.crf is None else self.crf.parameters()
        optimizer = make_optimizer(self.model, fused=fused, others=others, **rates)
        scheduler = make_scheduler(optimizer, options["lr_scheduler_type"], int(total_steps), options["warmup_ratio"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip within the fused optimiser step if each device has whole gradients; otherwise as Lightning does."""
        whole = isinstance(self.trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        by_norm = gradient_clip_algorithm in (None, "norm")
        fused = isinstance(optimizer, torch.optim.AdamW) and bool(optimizer.defaults["fused"])
        if whole and by_norm and fused and gradient_clip_val and clips_within_step(self.device):
            clip_within_step(optimizer, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the data to rebuild the architecture without the base model."""
        checkpoint["ner_module"] = {
            "encoder_config": self.model.config.to_json_string(use_diff=False),
            "config": self.config_text,
            "train_totals": self._summed_totals(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the model if necessary, and restore the running training loss."""
        if self.model is None:
            self.restore(checkpoint)
            self.build()
            if "decoding" not in checkpoint["hyper_parameters"]:  # earlier versions decoded greedily
                self.hparams["decoding"] = "greedy"
        self.set_labels(LabelSet.from_fields(checkpoint["hyper_parameters"]))
        loss_sum, labelled = checkpoint["ner_module"]["train_totals"]
        # The saved sum is over all processes: only the first continues it.
        self._train_totals = (loss_sum, labelled) if self.global_rank == 0 else (0.0, 0)
