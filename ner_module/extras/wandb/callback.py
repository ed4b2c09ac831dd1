"""What a Weights & Biases run holds beyond the metrics that Lightning's logger sends.

Not here: sending metrics and the configuration, and that one training is one W&B run (`training/loggers.py`).
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from ner_module.extras.analysis.callback import analysis_of
from ner_module.extras.analysis.errors import error_records, type_confusion
from ner_module.extras.provenance.callback import code_state, data_fingerprints
from ner_module.files import read_json_object
from ner_module.tables import Column, Table
from ner_module.tagging import LabelSet
from ner_module.training.results import types_table

_MOST_ERRORS = 500
"""Rows of the table of errors; all of them are in ``predictions/``."""

_CONTEXT = 30
"""Words around an error."""


class WandbRun(Callback):
    """Axes and summaries, fingerprints, tables and the best model, for each ``WandbLogger``; does nothing without one.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The scores of the best epoch so far, which the summary holds."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._best = state_dict["best"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Axes, summaries, fingerprints."""
        for run in _runs(trainer):
            run.define_metric("train/*", step_metric="trainer/global_step")
            run.define_metric("train/loss", step_metric="trainer/global_step", summary="min")
            run.define_metric("lr", step_metric="trainer/global_step")
            run.define_metric("val/*", step_metric="epoch")
            code = code_state()
            data = data_fingerprints(trainer.datamodule)  # type: ignore[attr-defined]
            run.config.update({"code": code, "data_fingerprints": data}, allow_val_change=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Within ``fit``, put the best epoch into the summary; after ``validate``, the tables."""
        if trainer.state.fn == "validate":
            self._evaluated(trainer, pl_module, "validate", "val/")
            return
        runs = _runs(trainer)
        if trainer.sanity_checking or not runs:
            return
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if not self._best or scores["val/f1"] > self._best["val/f1"]:
            self._best = scores | {"best/epoch": trainer.current_epoch, "best/step": trainer.global_step}
        for run in runs:
            run.summary.update(self._best)  # each time: W&B has put the last epoch's there

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The tables."""
        self._evaluated(trainer, pl_module, "test", "test/")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Entity types of the best epoch, warnings, the audit's findings, and the best model."""
        for run in _runs(trainer):
            results = read_json_object(self.run_dir / "results.json")
            best = max(results.get("epochs", []), key=lambda row: row["val/f1"], default=None)
            if best:
                _log_table(run, "val/entity_types", types_table(best, "val/", _labels(pl_module), ""))
            health = results.get("health", [])
            run.summary["health"] = [finding["code"] for finding in health]
            _log_rows(run, "health", ("code", "step", "message", "advice"), health)
            findings = read_json_object(self.run_dir / "audit.json").get("findings", [])
            if findings:
                severities = [finding["severity"] for finding in findings]
                run.summary["audit"] = {name: severities.count(name) for name in ("error", "warning", "info")}
                _log_rows(run, "audit", ("severity", "code", "count", "message", "advice"), findings)
            self._log_model(run, results, best)

    def _log_model(self, run: Any, results: dict[str, Any], best_row: dict[str, float] | None) -> None:
        import wandb

        best = self.run_dir / "checkpoints" / "best.ckpt"
        if not best.is_file():
            return
        metadata = {
            "data": run.config.get("data_fingerprints"),
            "code": run.config.get("code"),
            "label_names": results.get("label_names"),
            "scheme": results.get("scheme"),
            "validation": best_row,
        }
        artifact = wandb.Artifact(f"ner-model-{run.id}", type="model", metadata=metadata)
        artifact.add_file(str(best), name="best.ckpt")
        config = self.run_dir / "config.yaml"
        if config.is_file():
            artifact.add_file(str(config), name="config.yaml")
        run.log_artifact(artifact, aliases=["best", "latest"])

    def _evaluated(self, trainer: Trainer, pl_module: LightningModule, command: str, prefix: str) -> None:
        for run in _runs(trainer):
            scores = read_json_object(self.run_dir / "results.json").get(command, {})
            # The analysis adds to the scores; those of validation epochs keep their place in the summary.
            run.summary.update(scores if command == "test" else {"validate": scores})
            _log_table(run, f"{prefix}entity_types", types_table(scores, prefix, _labels(pl_module), ""))
            analysis = analysis_of(trainer)
            if analysis is not None:
                confusion = sorted(type_confusion(analysis.all_pairings).items())
                rows = [{"gold": gold, "predicted": predicted, "count": n} for (gold, predicted), n in confusion]
                _log_rows(run, f"{prefix}confusion", ("gold", "predicted", "count"), rows)
                _log_errors(run, f"{prefix}errors", error_records(analysis.sentences, analysis.pairings)[:_MOST_ERRORS])


def _runs(trainer: Trainer) -> list[Any]:
    """The W&B runs of the first process; none on the others."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, WandbLogger)]


def _labels(pl_module: LightningModule) -> LabelSet:
    return LabelSet.from_fields(pl_module.hparams)


def _log_table(run: Any, key: str, table: Table) -> None:
    import wandb

    titles = [column.title for column in table.columns]
    run.log({key: wandb.Table(columns=titles, data=[list(row) for row in table.rows])})


def _log_rows(run: Any, key: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        table = Table("", [Column(name) for name in columns], [[row.get(name) for name in columns] for row in rows])
        _log_table(run, key, table)


def _log_errors(run: Any, key: str, records: list[dict[str, Any]]) -> None:
    import wandb

    rows = [
        {
            "sentence": record["sentence"],
            "error": record["error"],
            "gold type": (record["gold"] or {}).get("type"),
            "gold": (record["gold"] or {}).get("text"),
            "predicted type": (record["predicted"] or {}).get("type"),
            "predicted": (record["predicted"] or {}).get("text"),
            "confidence": (record["predicted"] or {}).get("score"),
            "in context": wandb.Html(highlighted(record), inject=False),
        }
        for record in records
    ]
    columns = ("sentence", "error", "gold type", "gold", "predicted type", "predicted", "confidence", "in context")
    _log_rows(run, key, columns, rows)


def highlighted(record: dict[str, Any]) -> str:
    """The words around an error as HTML: gold underlined, predicted framed; everything else escaped.

    >>> gold = {"type": "LOC", "start": 1, "end": 2}
    >>> highlighted({"tokens": ["in", "<b>"], "gold": gold, "predicted": None})
    'in <u title="gold LOC">&lt;b&gt;</u>'
    """
    spans = [(name, record[name]) for name in ("gold", "predicted") if record[name] is not None]
    first = max(min(span["start"] for _, span in spans) - _CONTEXT, 0)
    last = max(span["end"] for _, span in spans) + _CONTEXT
    words = []
    for place, word in enumerate(record["tokens"][first:last], start=first):
        text = html.escape(word)
        for name, span in spans:
            if span["start"] <= place < span["end"]:
                tag = 'u title="gold' if name == "gold" else 'span style="outline:1px dashed" title="predicted'
                text = f'<{tag} {html.escape(span["type"])}">{text}</{tag.split()[0]}>'
        words.append(text)
    return " ".join(words)


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [WandbRun(run.run_dir)]
