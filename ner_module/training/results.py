"""The table of the published model cards: a row after each validation, the whole at the end; and ``results.json``.

Rows come from validation within ``fit``, never from its sanity check. They travel in checkpoints, so that a resumed run
shows the epochs before it stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich import box, get_console
from rich.table import Table

from ner_module.tagging import entity_types

_COLUMNS = (
    ("Train loss", "train/loss"),
    ("Epoch", "epoch"),
    ("Step", "step"),
    ("Val loss", "val/loss"),
    ("Precision", "val/precision"),
    ("Recall", "val/recall"),
    ("F1", "val/f1"),
    ("Accuracy", "val/accuracy"),
)

TYPES_COLUMNS = ("Entity type", "Precision", "Recall", "F1", "Support")

# Wide enough for each title, and all together for a terminal of 80 columns.
_WIDTHS = (10, 7, 9, 10, 11, 8, 8, 10)


class ResultsTable(Callback):
    """Prints results as they come and keeps them in ``RUN/results.json``.

    Args:
        run_dir: where ``results.json`` goes; ``None`` writes none.
    """

    def __init__(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, float]] = []
        self._header_shown = False

    # ------------------------------------------------------------------ collecting

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Let a training that ends within an epoch (``max_steps``) end with a validation, too."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Within ``fit``, add and print a row; for ``validate``, print and keep the scores."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "validate":
            self._summarise(trainer, pl_module, "validate", "val/")
            return
        metrics = _numbers(trainer.callback_metrics, "val/")
        batches = trainer.num_training_batches
        finished = getattr(trainer.fit_loop.epoch_loop.batch_progress.current, "processed", 0)
        epoch = trainer.current_epoch + (finished / batches if batches else 1)
        row = {
            "epoch": round(epoch, 2),
            "step": trainer.global_step,
            "train/loss": round(pl_module.take_train_loss(), 6),  # type: ignore[operator]
            **metrics,
        }
        self.rows.append(row)
        self._write(pl_module, {"epochs": self.rows})
        if trainer.is_global_zero:
            self._print_row(row)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the whole table and the entity types of the best validation, which ``best.ckpt`` holds."""
        if not trainer.is_global_zero or not self.rows:
            return
        best = _best(self.rows, _best_score(trainer))
        console = get_console()
        console.print(results_table(self.rows, best))
        title = f"Entity types after epoch {best['epoch']:g}, the best (validation data)"
        console.print(types_table(types_rows(best, "val/", pl_module), title))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and keep the test scores."""
        self._summarise(trainer, pl_module, "test", "test/")

    def _summarise(self, trainer: Trainer, pl_module: LightningModule, command: str, prefix: str) -> None:
        metrics = _numbers(trainer.callback_metrics, prefix)
        self._write(pl_module, {command: metrics})
        if trainer.is_global_zero:
            keys = ("precision", "recall", "f1", "f1_macro", "accuracy", "loss")
            scores = "  ".join(f"{key} {metrics[prefix + key]:.4f}" for key in keys)
            get_console().print(f"\n{command}: {scores}\n", highlight=False, soft_wrap=True, style="bold")

    def _write(self, pl_module: LightningModule, update: dict[str, Any]) -> None:
        if self.run_dir is not None and pl_module.global_rank == 0:
            labels = {name: pl_module.hparams[name] for name in ("scheme", "label_names", "outside_label")}
            update_results(self.run_dir, labels | update)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])

    # ------------------------------------------------------------------ printing

    def _print_row(self, row: dict[str, float]) -> None:
        console = get_console()
        if not self._header_shown:
            titles = (title.rjust(width) for (title, _), width in zip(_COLUMNS, _WIDTHS, strict=True))
            console.print("".join(titles), style="bold", highlight=False, soft_wrap=True)
            self._header_shown = True
        cells = (_cell(key, row).rjust(width) for (_, key), width in zip(_COLUMNS, _WIDTHS, strict=True))
        console.print("".join(cells), highlight=False, soft_wrap=True)


def update_results(run_dir: Path, update: dict[str, Any]) -> None:
    """Put entries into ``results.json``, written whole or not at all."""
    path = run_dir / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(results | update, indent=1, ensure_ascii=False), encoding="utf-8")
    scratch.replace(path)


def results_table(rows: list[dict[str, float]], best: dict[str, float] | None = None) -> Table:
    """The per-epoch table; the row that ``best.ckpt`` holds is marked, by default the one with the best F1."""
    best = best or _best(rows)
    table = Table(
        box=box.SIMPLE_HEAD, title="Training results (validation data)", title_style="bold", padding=(0, 1, 0, 0)
    )
    for title, _ in _COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        marked = row is best
        cells = [_cell(key, row) for _, key in _COLUMNS]
        table.add_row(*cells, "best" if marked else "", style="bold green" if marked else None)
    return table


def types_rows(metrics: dict[str, float], prefix: str, pl_module: LightningModule) -> list[list[Any]]:
    """Type, precision, recall, F1 and support of each entity type, then the averages and the accuracy."""
    hparams = pl_module.hparams
    types = sorted(entity_types(hparams["label_names"], hparams["scheme"], hparams["outside_label"]))
    keys = ("precision", "recall", "f1")
    rows: list[list[Any]] = [
        [name, *(metrics[f"{prefix}{key}/{name}"] for key in keys), int(metrics[f"{prefix}support/{name}"])]
        for name in types
    ]
    support = sum(row[-1] for row in rows)
    rows.append(["micro average", *(metrics[prefix + key] for key in keys), support])
    rows.append(["macro average", *(metrics[f"{prefix}{key}_macro"] for key in keys), support])
    rows.append(["word accuracy", None, None, metrics[prefix + "accuracy"], None])
    return rows


def types_table(rows: list[list[Any]], title: str) -> Table:
    """The rows of :func:`types_rows` for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="bold")
    table.add_column(TYPES_COLUMNS[0])
    for name in TYPES_COLUMNS[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row[0] == "micro average":
            table.add_section()
        scores = ("" if score is None else f"{score:.4f}" for score in row[1:4])
        support = "" if row[4] is None else f"{row[4]:,}"
        table.add_row(row[0], *scores, support, style="bold" if row[0] == "micro average" else None)
    return table


def _best(rows: list[dict[str, float]], saved: float | None = None) -> dict[str, float]:
    """The row with the best F1, the first of equals, as `ModelCheckpoint` keeps it.

    Args:
        rows: the table.
        saved: the F1 of ``best.ckpt``, which may not be the best row's: when training went on in another directory, and
            the checkpoint of an earlier row was left behind.
    """
    those = [row for row in rows if saved is not None and abs(row["val/f1"] - saved) < 2e-6]
    return max(those or rows, key=lambda row: row["val/f1"])


def _best_score(trainer: Trainer) -> float | None:
    scores = (
        callback.best_model_score
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor == "val/f1"
    )
    score = next(scores, None)
    return None if score is None else float(score)


def _cell(key: str, row: dict[str, float]) -> str:
    value = row.get(key, float("nan"))
    if key == "step":
        return f"{value:,.0f}"
    return f"{value:.2f}" if key == "epoch" else f"{value:.4f}"


def _numbers(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in metrics.items() if name.startswith(prefix)}
