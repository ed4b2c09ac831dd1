"""Watches a training and says in plain words, once, what is wrong with it and what to do.

A published few-shot run ended with F1 0.0 after 6 steps, a binary one predicted a single label in its epochs 2 and 3,
and nothing told their authors why. What counts as wrong is in `health_rules.py`; here the history is collected.

It costs no synchronisation per step: losses and gradient norms are looked at where Lightning has just fetched them for
the loggers (``log_every_n_steps``), predicted labels are counted on the device and fetched once per validation. With
several processes the losses and norms are those of the first one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console
from torch import Tensor
from torch.nn.utils import get_total_norm

from ner_module.extras.health.memory import memory_in_use
from ner_module.extras.health.rules import History, Step, Validation, findings
from ner_module.tagging import IGNORE_INDEX
from ner_module.training.results import update_results


class TrainingHealth(Callback):
    """Warns during ``fit``, and leaves the warnings in ``results.json`` under ``health``.

    Args:
        run_dir: the run directory; ``None`` keeps nothing.
    """

    def __init__(self, run_dir: Path | None = None) -> None:
        self.run_dir = run_dir
        self.history = History(0.0, 0.0, 1, None)
        self.found: list[dict[str, Any]] = []
        """``{"code", "step", "message", "advice"}`` of each warning, in order."""
        self._counts: Tensor | None = None

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """What was seen and said: a resumed training goes on from there."""
        return {
            "steps": [list(step) for step in self.history.steps],
            "validations": [list(validation) for validation in self.history.validations],
            "found": self.found,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.history.steps = [Step(*step) for step in state_dict.get("steps", [])]
        self.history.validations = [Validation(*entry) for entry in state_dict.get("validations", [])]
        self.found = list(state_dict.get("found", []))

    # ------------------------------------------------------------------ collecting

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the steps of the whole training."""
        self.history = replace(
            self.history,
            learning_rate=pl_module.hparams["learning_rate"],
            total_steps=float(trainer.estimated_stepping_batches),
            max_epochs=trainer.max_epochs or 1,
            outside_label=_outside(pl_module),
            num_labels=len(pl_module.hparams["label_names"]),
            clip=trainer.gradient_clip_val or None,
        )
        self._check(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Log the norm of the gradients, before clipping, at the steps that are logged."""
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            pl_module.log("train/grad_norm", get_total_norm(gradients))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Look at what was logged after the batch before."""
        self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last training step's values; count anew."""
        if trainer.state.fn == "fit":
            self._look(trainer)
            labels = len(pl_module.hparams["label_names"])
            self._counts = torch.zeros(2, labels, dtype=torch.int64, device=pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Count predicted and gold labels, on the device."""
        if self._counts is not None:
            known = outputs["gold"] != IGNORE_INDEX
            for row, name in enumerate(("label_ids", "gold")):
                ids = outputs[name].clamp(min=0).flatten()
                self._counts[row].scatter_add_(0, ids, known.flatten().to(torch.int64))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation to the history and look at the whole."""
        if self._counts is None or trainer.sanity_checking:
            return
        counts: Tensor = trainer.strategy.reduce(self._counts, reduce_op="sum")
        self._counts = None
        names = pl_module.hparams["label_names"]
        predicted, gold = (dict(zip(names, row, strict=True)) for row in counts.tolist())
        metrics = trainer.callback_metrics
        epoch = trainer.current_epoch + 1
        losses = [step.loss for step in self.history.steps if step.step > self._last_validated()]
        train_loss = sum(losses) / len(losses) if losses else float("nan")
        val_loss, f1 = (float(metrics.get(name, float("nan"))) for name in ("val/loss", "val/f1"))
        self.history.validations.append(
            Validation(trainer.global_step, epoch, train_loss, val_loss, f1, predicted, gold)
        )
        self._check(trainer)
        self._keep(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look once more, at the finished training."""
        self._look(trainer)
        self.history.finished = True
        self._check(trainer)
        self._keep(trainer)

    def _last_validated(self) -> int:
        return self.history.validations[-1].step if self.history.validations else 0

    def _look(self, trainer: Trainer) -> None:
        step = trainer.global_step
        seen = self.history.steps[-1].step if self.history.steps else 0
        logged = trainer.logged_metrics
        if step == seen or not step or step % trainer.log_every_n_steps or "train/loss" not in logged:  # type: ignore[attr-defined]
            return
        norm = logged.get("train/grad_norm")
        self.history.steps.append(Step(step, float(logged["train/loss"]), None if norm is None else float(norm)))
        self.history.memory = memory_in_use(trainer.strategy.root_device)
        self._check(trainer)

    # ------------------------------------------------------------------ telling

    def _check(self, trainer: Trainer) -> None:
        for finding in findings(self.history, {entry["code"] for entry in self.found}):
            self.found.append({"step": trainer.global_step, **finding._asdict()})
            if trainer.is_global_zero:
                # Through the console, which knows of the progress bar that may stand on the last line.
                get_console().print(
                    f"warning: {finding.message} {finding.advice}",
                    style="yellow",
                    highlight=False,
                    soft_wrap=True,
                    markup=False,
                )

    def _keep(self, trainer: Trainer) -> None:
        if self.run_dir is not None and trainer.is_global_zero:
            update_results(self.run_dir, {"health": self.found})


def _outside(pl_module: LightningModule) -> str | None:
    """The label of words outside any entity, if the model has one."""
    name = pl_module.hparams["outside_label"]
    return name if name in pl_module.hparams["label_names"] else None


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [TrainingHealth(run.run_dir)] if run.command == "fit" else []
