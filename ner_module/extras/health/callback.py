"""Watches a training and says once, in plain words, what is wrong with it and what to do.

A published few-shot run ended with F1 0.0 after 6 steps, a binary one predicted a single label in its epochs 2 and 3,
and nothing told their authors why. `rules.py` says what counts as wrong; here the history is collected.

It costs no synchronisation per step: losses are read where Lightning has just fetched them for the loggers
(``log_every_n_steps``), labels are counted on the device and fetched once per validation. With several processes the
losses are those of the first one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from ner_module.errors import DataError
from ner_module.extras.health.rules import History, new_warnings
from ner_module.files import read_json_object
from ner_module.tables import say
from ner_module.tagging import IGNORE_INDEX
from ner_module.training.results import ResultsTable, update_results


class TrainingHealth(Callback):
    """Warns during ``fit``, and leaves the warnings in ``results.json`` of ``run_dir``, under ``health``."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.history = History()
        self.found: list[dict[str, Any]] = []
        """The warnings, in order: ``step``, ``code``, ``message`` and ``advice``."""
        self._counts: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read what is known before the first step; a resumed training repeats no warning."""
        with suppress(DataError):  # damaged: it is written anew
            said = read_json_object(self.run_dir / "results.json").get("health", [])
            self.found = [each for each in said if "code" in each]
        outside = pl_module.hparams["outside_label"]
        self.history = History(
            learning_rate=pl_module.hparams["learning_rate"],
            total_steps=float(trainer.estimated_stepping_batches),
            max_epochs=0 if trainer.estimated_stepping_batches == trainer.max_steps else trainer.max_epochs or 1,
            outside_label=outside if outside in pl_module.hparams["label_names"] else None,
        )
        self._check(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Log the norm of the gradients, before clipping, at the steps that are logged."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step + 1) % every == 0:
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            pl_module.log("train/grad_norm", get_total_norm(gradients))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Read what was logged after the previous batch."""
        self._read_logged(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the last training step's values; reset the label counts."""
        if trainer.state.fn == "fit":
            self._read_logged(trainer)
            labels = len(pl_module.hparams["label_names"])
            self._counts = torch.zeros(2, labels, dtype=torch.int64, device=pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Count predicted and gold labels, on the device."""
        if self._counts is not None:
            known = (outputs["gold"] != IGNORE_INDEX).flatten().to(torch.int64)
            for counts, name in zip(self._counts, ("label_ids", "gold"), strict=True):
                counts.scatter_add_(0, outputs[name].clamp(min=0).flatten(), known)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the validation, of which the table of results has just got its row, and check the whole."""
        if self._counts is None or trainer.sanity_checking:
            return
        counts: Tensor = trainer.strategy.reduce(self._counts, reduce_op="sum")
        self._counts = None
        labels = pl_module.hparams["label_names"]
        self.history.predicted, self.history.gold = (dict(zip(labels, row, strict=True)) for row in counts.tolist())
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        rows = next((each.rows for each in callbacks if isinstance(each, ResultsTable)), [])
        self.history.epochs = [row for row in rows if "val/f1" in row]  # an epoch without validation has a row, too
        self._check(trainer)
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the finished training."""
        self._read_logged(trainer)
        self.history.finished = True
        self._check(trainer)
        self._write(trainer)

    def _read_logged(self, trainer: Trainer) -> None:
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step == self.history.last_step or not every or step % every:
            return
        # This waits for the device: not before the step is known to be a logged one.
        if (loss := trainer.logged_metrics.get("train/loss")) is not None:
            self.history.losses.append((step, float(loss)))
            self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        for code, message, advice in new_warnings(self.history, {each["code"] for each in self.found}):
            self.found.append({"step": trainer.global_step, "code": code, "message": message, "advice": advice})
            if trainer.is_global_zero:
                say(f"warning: {message} {advice}", "yellow")

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            update_results(self.run_dir, {"health": self.found})


def callbacks(run: Any) -> list[Callback]:
    """Of a run."""
    return [TrainingHealth(run.run_dir)] if run.command == "fit" else []
