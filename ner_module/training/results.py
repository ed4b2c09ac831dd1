"""The table of epochs, a row after each validation, else epoch; the scores of each entity type; ``results.json``.

Rows come from validation within ``fit``, never from its sanity check. They travel in checkpoints, so that a resumed run
shows the epochs before it stopped.
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
"""The table of epochs: each column, and its key in the rows of ``results.json``."""


class ResultsTable(Callback):
    """Prints results as they come and writes them to ``RUN/results.json``.

    Args:
        run_dir: where ``results.json`` goes; ``None`` writes none.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the rows of a resumed training."""
        for row in self.rows:
            self._print(trainer, row)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Have a training that ends within an epoch (``max_steps``) end with a validation, too."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

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
        """Without validation data, add and print a row of what training alone says."""
        if not trainer.enable_validation or not sum(trainer.num_val_batches):
            self._add_row(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write the test scores."""
        self._summarise(trainer, pl_module, "test", "test/")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why training ended early, which epoch ``best.ckpt`` holds, and the entity types of that validation."""
        reason = end_reason(trainer)
        self._write(pl_module, {"stopped": reason})
        if reason is not None and trainer.is_global_zero:
            say(f"\nstopped: {reason}", "bold")
        if not trainer.is_global_zero or not self.rows:
            return
        if "val/f1" not in self.rows[-1]:
            say("\nno validation data: nothing was scored; last.ckpt is the model after the last step\n", "bold")
            return
        saved = best_f1(trainer)
        best = _best(self.rows, saved)
        epoch = f"{best['epoch']:g}"
        what = "The best epoch is" if saved is None else "best.ckpt holds epoch"
        console = get_console()
        text = f"\n{what} {epoch} (step {best['step']:,}), with F1 {best['val/f1']:.4f} on validation data\n"
        say(text, "bold green")
        title = f"Entity types after epoch {epoch}, the best"
        labels = LabelSet.from_fields(pl_module.hparams)
        console.print(types_table(best, "val/", labels, title).for_terminal())

    def _summarise(self, trainer: Trainer, pl_module: LightningModule, command: str, prefix: str) -> None:
        metrics = _numbers(trainer, prefix)
        self._write(pl_module, {command: metrics, f"{command}_decoding": pl_module.hparams["decoding"]})
        keys = ("precision", "recall", "f1", "f1_macro", "accuracy", "loss")
        if trainer.is_global_zero:
            scores = "  ".join(f"{key} {metrics[prefix + key]:.4f}" for key in keys)
            say(f"\n{command}: {scores}\n", "bold")

    def _write(self, pl_module: LightningModule, update: dict[str, Any], written: Sequence[str] = ()) -> None:
        if self.run_dir is not None and pl_module.global_rank == 0:
            labels = {name: pl_module.hparams[name] for name in ("scheme", "label_names", "outside_label")}
            update_results(self.run_dir, labels | update, written)

    def _print(self, trainer: Trainer, row: dict[str, float]) -> None:
        """Print a row, the first one under the titles; for a terminal of 80 characters."""
        if not trainer.is_global_zero:
            return
        titles = {key: column.title for column, key in EPOCH_COLUMNS}
        cells = {key: column.cell(row.get(key)) for column, key in EPOCH_COLUMNS}
        for line, style in [(titles, "bold")] * (row is self.rows[0]) + [(cells, "none")]:
            text = "".join(line[key].rjust(max(len(title), 7) + 2) for key, title in titles.items())
            say(text, style)


def end_reason(trainer: Trainer) -> str | None:
    """Why training ended before its last epoch did, in words; ``None`` where it did not."""
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
    return "a callback asked for it" if trainer.should_stop else None


def update_results(run_dir: Path, update: dict[str, Any], written: Sequence[str] = ()) -> None:
    """Put entries into ``results.json``, written whole or not at all; a damaged one is replaced.

    Args:
        run_dir: the run directory.
        update: the entries; one that is ``None`` is removed.
        written: files of the run whose SHA-256 goes with them, for :func:`is_as_written`.
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
    content = sealed(_finite({name: value for name, value in (known | update).items() if value is not None}))
    write_or_warn(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def is_as_written(path: Path, run_dir: Path, results: Mapping[str, Any]) -> bool:
    """Whether a file of a run is the one that was written, where ``results.json`` knows; says so where it is not."""
    digest = _digests(results).get(path.relative_to(run_dir).as_posix())
    changed = digest is not None and path.is_file() and sha256_of(path) != digest
    if changed:
        log.warning("%s is not the file that the run wrote: it was edited or damaged", path)
    return not changed


def _digests(results: Mapping[str, Any]) -> dict[str, Any]:
    found = results.get("sha256")
    return found if isinstance(found, dict) else {}


def _finite(value: Any) -> Any:
    """Plain data with ``null`` for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def types_table(scores: Mapping[str, float], prefix: str, labels: LabelSet, title: str) -> Table:
    """Precision, recall, F1 and support of each entity type, then the averages and the accuracy.

    Args:
        scores: what :class:`~ner_module.metrics.entity_scores.EntityScores` computes, under the prefix.
        prefix: ``val/`` or ``test/``.
        labels: of the model.
        title: of the table.
    """
    titles = ("Precision", "Recall", "F1")
    keys = ("precision", "recall", "f1")
    types = sorted(labels.entity_types)
    rows: list[list[Any]] = [
        [name, *(scores.get(f"{prefix}{key}/{name}") for key in (*keys, "support"))] for name in types
    ]
    support = sum(row[-1] or 0 for row in rows)
    rows.append(["micro average", *(scores.get(prefix + key) for key in keys), support])
    rows.append(["macro average", *(scores.get(f"{prefix}{key}_macro") for key in keys), support])
    rows.append(["word accuracy", None, None, scores.get(prefix + "accuracy"), None])
    columns = [Column("Entity type"), *(Column(name, score) for name in titles), Column("Support", count)]
    return Table(title, columns, rows, emphasised=frozenset({len(types)}))


def _best(rows: list[dict[str, float]], saved: float | None = None) -> dict[str, float]:
    """The row with the best F1, the first of equals, as `ModelCheckpoint` has it.

    Args:
        rows: the table.
        saved: the F1 of ``best.ckpt``, which may not be the best row's: when training resumed in another directory, and
            the checkpoint of an earlier row was left behind.
    """
    scored = [row for row in rows if "val/f1" in row]
    those = [row for row in scored if saved is not None and abs(row["val/f1"] - saved) < 2e-6]
    return max(those or scored, key=lambda row: row["val/f1"])


def best_f1(trainer: Trainer) -> float | None:
    """The F1 of ``best.ckpt``; ``None`` where there is none."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor == "val/f1":
            return None if callback.best_model_score is None else float(callback.best_model_score)
    return None


def _numbers(trainer: Trainer, prefix: str) -> dict[str, float]:
    metrics = trainer.callback_metrics.items()
    numbers = {name: round(float(value), 6) for name, value in metrics if name.startswith(prefix)}
    if trainer.is_global_zero and not math.isfinite(numbers.get(f"{prefix}loss", 0.0)):
        log.warning("the loss on this data is not a finite number: the model is broken, and its scores mean nothing")
    return numbers
