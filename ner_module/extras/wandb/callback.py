"""What a Weights & Biases run holds beyond the metrics that Lightning's logger sends.

Not here: sending metrics and the configuration, and that one training is one W&B run (`training/loggers.py`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from ner_module.extras.after_run import METRICS_OF, RunContents
from ner_module.extras.analysis.analysis import Analysis
from ner_module.extras.analysis.tables import analysis_of
from ner_module.extras.provenance.callback import code_state, data_fingerprints
from ner_module.files import read_json_object
from ner_module.training.checkpoints import read_checkpoint

_MOST_ERRORS = 500
"""Rows of the table of errors; all of them are in ``predictions/``."""


class WandbRun(Callback):
    """Axes, summaries, fingerprints, tables and the best model, for each ``WandbLogger``; does nothing without one."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.with_model: set[str] = set()
        """The ids of the runs that the best model is uploaded to."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Axes and fingerprints; which runs get the model, as ``log_model`` of the logger says."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.after_save_checkpoint = lambda _: None  # type: ignore[assignment,method-assign]  # Lightning's upload
                if logger._log_model and trainer.is_global_zero:
                    self.with_model.add(logger.experiment.id)
        for run in _runs(trainer):
            run.define_metric("train/*", step_metric="trainer/global_step")
            run.define_metric("train/loss", step_metric="trainer/global_step", summary="min")
            run.define_metric("lr", step_metric="trainer/global_step")
            run.define_metric("val/*", step_metric="epoch")
            data = data_fingerprints(trainer.datamodule)  # type: ignore[attr-defined]
            run.config.update({"code": code_state(), "data_fingerprints": data}, allow_val_change=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The best epoch, counts of warnings and findings, and the best model."""
        for run in _runs(trainer):
            results, audit = (read_json_object(self.run_dir / f"{name}.json") for name in ("results", "audit"))
            best = RunContents(results=results).best_epoch or {}
            # W&B has put the last epoch's scores there.
            run.summary.update({name: value for name, value in best.items() if name.startswith("val/")})
            run.summary.update({f"best/{name}": best[name] for name in ("epoch", "step") if name in best})
            run.summary["health"] = [finding["code"] for finding in results.get("health", [])]
            if audit:
                severities = [finding["severity"] for finding in audit.get("findings", [])]
                run.summary["audit"] = {name: severities.count(name) for name in ("error", "warning", "info")}
            if run.id in self.with_model:
                self._log_model(run)

    def _log_model(self, run: Any) -> None:
        """Upload ``best.ckpt`` without what only resuming needs, and ``config.yaml``."""
        import wandb

        checkpoint, config = self.run_dir / "checkpoints" / "best.ckpt", self.run_dir / "config.yaml"
        if not checkpoint.is_file():
            return
        content = read_checkpoint(checkpoint) | {"optimizer_states": [], "lr_schedulers": []}
        artifact = wandb.Artifact(f"ner-model-{run.id}", type="model")
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / checkpoint.name
            torch.save(content, model)
            for file in filter(Path.is_file, (model, config)):
                artifact.add_file(str(file), name=file.name)  # which copies it
            run.log_artifact(artifact, aliases=["best", "latest"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self.on_test_end(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores, confusion and errors."""
        analysis = analysis_of(trainer)
        command, prefix = METRICS_OF["test" if trainer.state.fn == "test" else "validation"]
        for run in _runs(trainer):
            scores = read_json_object(self.run_dir / "results.json").get(command, {})
            # The analysis adds to the scores; those of validation epochs keep their place in the summary.
            run.summary.update(scores if command == "test" else {"validate": scores})
            if analysis is not None:
                run.log({f"{prefix}{name}": table for name, table in _tables(analysis).items()})


def _tables(analysis: Analysis) -> dict[str, Any]:
    import wandb

    confusion = sorted(analysis.confusion.items())
    errors = []
    for record in analysis.errors[:_MOST_ERRORS]:
        gold, predicted = record["gold"] or {}, record["predicted"] or {}
        place = analysis.sentences[record["sentence"] - 1].place
        entities = (gold.get("type"), gold.get("text"), predicted.get("type"), predicted.get("text"))
        text = " ".join(record["tokens"])
        errors.append([record["sentence"], place, record["error"], *entities, predicted.get("score"), text])
    about = ("sentence", "place", "error", "gold type", "gold", "predicted type", "predicted", "confidence", "text")
    return {
        "confusion": wandb.Table(["gold", "predicted", "count"], [[*pair, number] for pair, number in confusion]),
        "errors": wandb.Table(list(about), errors),
    }


def _runs(trainer: Trainer) -> list[Any]:
    """The W&B runs of the first process; none on the others."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [WandbRun(run.run_dir)]
