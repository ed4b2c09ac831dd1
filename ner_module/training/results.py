"""The results table, with a row per validation (or epoch); the scores of each entity type; ``results.json``.

Rows come from validation within ``fit``, never from its sanity check. They are stored in checkpoints, so that a resumed
run shows earlier epochs.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from rich import get_console

from ner_module.errors import DataError
from ner_module.files import read_json_object, sealed, sha256_of, write_or_warn
from ner_module.tables import Column, Table, count, say, score
from ner_module.tagging import LabelSet
from ner_module.training.resume import epoch_is_complete
from ner_module.training.trainer_options import check_watched

log = logging.getLogger(__name__)

EPOCH_COLUMNS: tuple[tuple[Column, str], ...] = (
    (Column("Train loss", score), "train/loss"),
    (Column("Epoch", "{:.2f}".format), "epoch"),
    (Column("Step", count), "step"),
    (Column("Val loss", score), "val/loss"),
    (Column("Precision", score), "val/precision"),
    (Column("Recall", score), "val/recall"),
    (Column("F1", score), "val/f1"),
    (Column("Accuracy", score), "val/accuracy"),
)
"""The columns of the results table, and their keys in the rows of ``results.json``."""


class ResultsTable(Callback):
    """Prints results and writes them to ``RUN/results.json``, if there is a run directory."""

    def __init__(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, float]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse callbacks that monitor missing metrics, once data are read and before anything is written."""
        if stage == "fit":
            check_watched(trainer, _validates(trainer))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the rows of a resumed training."""
        for row in self.rows:
            self._print(trainer, row)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Validate also at the end of a training that ends within an epoch (``max_steps``)."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None  # Lightning would continue

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Within ``fit``, add and print a row; for ``validate``, print and write the scores."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "validate":
            self._summarise(trainer, pl_module, "validate", "val/")
        else:
            self._add_row(trainer, pl_module)

    def _add_row(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.num_training_batches
        finished = getattr(trainer.fit_loop.epoch_loop.batch_progress.current, "processed", 0)
        epoch = trainer.current_epoch + (finished / batches if batches else 1)
        row = {
            "epoch": round(epoch, 2),
            "step": trainer.global_step,
            "train/loss": round(pl_module.take_train_loss(), 6),  # type: ignore[operator]
            **_numbers(trainer, "val/"),
        }
        self.rows.append(row)
        self._write(pl_module, {"epochs": self.rows}, ("config.yaml", "train_entities.json", "audit.json"))
        self._print(trainer, row)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without validation data, add and print a row with training metrics only."""
        if not _validates(trainer):
            self._add_row(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write the test scores."""
        self._summarise(trainer, pl_module, "test", "test/")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print why training ended early, the epoch of ``best.ckpt``, and its scores by entity type."""
        reason = end_reason(trainer)
        self._write(pl_module, {"stopped": reason})
        if not trainer.is_global_zero:
            return
        if reason is not None:
            say(f"\nstopped: {reason}", "bold")
        scored = [row for row in self.rows if "val/f1" in row]
        if not scored:
            why = "training ended before a validation" if _validates(trainer) else "no validation data"
            say(f"\n{why}: nothing was scored; last.ckpt is the model after the last step\n", "bold")
            return
        best = max(scored, key=lambda row: row["val/f1"])
        saved, epoch = best_f1(trainer), f"{best['epoch']:g}"
        is_saved = saved is not None and math.isclose(best["val/f1"], saved, abs_tol=2e-6)
        what = "best.ckpt holds epoch" if is_saved else "The best epoch is"
        text = f"{what} {epoch} (step {best['step']:,}), with F1 {best['val/f1']:.4f} on validation data"
        say(f"\n{text}\n", "bold green")
        labels = LabelSet.from_fields(pl_module.hparams)
        get_console().print(types_table(best, "val/", labels, f"Entity types after epoch {epoch}").for_terminal())

    def _summarise(self, trainer: Trainer, pl_module: LightningModule, command: str, prefix: str) -> None:
        metrics = _numbers(trainer, prefix)
        self._write(pl_module, {command: metrics, f"{command}_decoding": pl_module.hparams["decoding"]})
        if trainer.is_global_zero:
            keys = ("precision", "recall", "f1", "f1_macro", "accuracy", "loss")
            scores = "  ".join(f"{key} {metrics[prefix + key]:.4f}" for key in keys)
            say(f"\n{command}: {scores}\n", "bold")

    def _write(self, pl_module: LightningModule, update: dict[str, Any], written: Sequence[str] = ()) -> None:
        if self.run_dir is not None and pl_module.global_rank == 0:
            labels = {name: pl_module.hparams[name] for name in ("scheme", "label_names", "outside_label")}
            update_results(self.run_dir, labels | update, written)

    def _print(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Print a row, the first with column titles; fits 80 characters."""
        if not trainer.is_global_zero:
            return
        widths = [max(len(column.title), 7) + 2 for column, _ in EPOCH_COLUMNS]
        if row is self.rows[0]:
            titles = (column.title for column, _ in EPOCH_COLUMNS)
            say("".join(map(str.rjust, titles, widths)), "bold")
        cells = (column.cell(row.get(key)) for column, key in EPOCH_COLUMNS)
        say("".join(map(str.rjust, cells, widths)))


def _validates(trainer: Trainer) -> bool:
    """Whether there is validation data that the trainer uses."""
    return bool(trainer.limit_val_batches) and len(trainer.datamodule.sentences_of("validation")[1]) > 0  # type: ignore[attr-defined]


def end_reason(trainer: Trainer) -> str | None:
    """Why training ended before its last epoch was complete; ``None`` if it did not."""
    if epoch_is_complete(trainer) and 0 < (trainer.max_epochs or 0) <= trainer.current_epoch:
        return None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (callback.time_remaining() or 1.0) <= 0:
            return "--trainer.max_time is reached; to continue, resume with a later one or null"
        if isinstance(callback, EarlyStopping) and (reason := callback.stopping_reason_message):
            if callback.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
                direction = "risen" if callback.mode == "max" else "fallen"
                times = f"{callback.wait_count} validation{'s' * (callback.wait_count > 1)}"
                reason = f"{callback.monitor} has not {direction} for {times}"
            return f"{reason.removesuffix(' Signaling Trainer to stop.')} (early stopping)"
    if trainer.global_step >= trainer.max_steps > 0:
        return f"--trainer.max_steps {trainer.max_steps} are done; to continue, resume with more or -1"
    return "stopped by a callback" if trainer.should_stop else None


def update_results(run_dir: Path, update: dict[str, Any], written: Sequence[str] = ()) -> None:
    """Update entries of ``results.json``, or remove those that are ``None``; a damaged file is replaced.

    ``written`` are files of the run whose SHA-256 is recorded, for :func:`is_as_written`.
    """
    path = run_dir / "results.json"
    try:
        known = read_json_object(path)
    except DataError as error:
        log.warning("%s", error)
        known = {}
    digests = {name: sha256_of(run_dir / name) for name in written if (run_dir / name).is_file()}
    if digests:
        known["sha256"] = _digests(known) | digests
    content = {name: value for name, value in (known | update).items() if value is not None}
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # JSON has no NaN
    write_or_warn(path, json.dumps(sealed(finite), indent=1, ensure_ascii=False))


def is_as_written(path: Path, run_dir: Path, results: Mapping[str, Any]) -> bool:
    """Whether a file of a run matches its SHA-256 in ``results.json``, if recorded; warns if it does not."""
    digest = _digests(results).get(path.relative_to(run_dir).as_posix())
    changed = digest is not None and path.is_file() and sha256_of(path) != digest
    if changed:
        log.warning("%s is not the file that the run wrote: it has been edited or damaged", path)
    return not changed


def _digests(results: Mapping[str, Any]) -> dict[str, Any]:
    found = results.get("sha256")
    return found if isinstance(found, dict) else {}


def types_table(scores: Mapping[str, float], prefix: str, labels: LabelSet, title: str) -> Table:
    """Precision, recall, F1 and support of each entity type, then the averages and the accuracy.

    ``scores`` are those of :class:`~ner_module.metrics.entity_scores.EntityScores`, under the prefix.
    """

    def row(name: str, suffix: str) -> list[Any]:
        return [name, *(scores.get(f"{prefix}{key}{suffix}") for key in ("precision", "recall", "f1"))]

    types = [[*row(name, f"/{name}"), scores.get(f"{prefix}support/{name}")] for name in sorted(labels.entity_types)]
    support = sum(cells[-1] or 0 for cells in types)
    averages = [[*row("micro average", ""), support], [*row("macro average", "_macro"), support]]
    accuracy = ["word accuracy", None, None, scores.get(f"{prefix}accuracy"), None]
    columns = [Column("Entity type"), *(Column(name, score) for name in ("Precision", "Recall", "F1"))]
    columns.append(Column("Support", count))
    return Table(title, columns, [*types, *averages, accuracy], emphasised=frozenset({len(types)}))


def best_f1(trainer: Trainer) -> float | None:
    """The F1 of ``best.ckpt``; ``None`` if there is none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor == "val/f1":
            return None if callback.best_model_score is None else float(callback.best_model_score)
    return None


def _numbers(trainer: Trainer, prefix: str) -> dict[str, float]:
    metrics = trainer.callback_metrics.items()
    numbers = {name: round(float(value), 6) for name, value in metrics if name.startswith(prefix)}
    if trainer.is_global_zero and not math.isfinite(numbers.get(f"{prefix}loss", 0.0)):
        log.warning("the loss on this data is not a finite number: the model is broken, and its scores are meaningless")
    return numbers
