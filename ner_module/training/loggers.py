"""Loggers: ``metrics.csv``, and one Weights & Biases run per training, which resumed training and ``test`` continue.

Configured loggers that fail only cause a warning (:func:`guard`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ner_module.files import read_text, sync, write_or_warn

log = logging.getLogger(__name__)

_GUARDED = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")


def set_up_loggers(trainer: Any, command: str, run_dir: Path) -> None:
    """Direct the configured loggers into the run directory.

    ``validate`` and ``test`` log only to the training's W&B run, if there is one; ``predict`` never logs. The trainer's
    options are changed in place.
    """
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    loggers = [logger for logger in loggers if hasattr(logger, "class_path")]
    if command != "fit":
        resumes = command != "predict" and _id_file(run_dir).is_file()
        loggers = [logger for logger in loggers if resumes and str(logger.class_path).endswith("WandbLogger")]
        trainer.logger = loggers or False
    for logger in loggers:
        arguments = logger.get("init_args") or {}
        if "save_dir" in arguments and arguments["save_dir"] in (None, ".", "./mlruns"):
            run_dir.mkdir(parents=True, exist_ok=True)
            inside = "mlruns" if str(logger.class_path).endswith("MLFlowLogger") else ""
            logger.init_args.save_dir = str(run_dir / inside)


def name_wandb_run(logger: Any, run_dir: Path, seed: int, recipe: str) -> None:
    """Have a ``WandbLogger`` continue the run of ``RUN/wandb_id``, or name a new one; ignores other loggers.

    The id is not stored in the configuration, since another training with the same one must not continue this run. The
    group is the recipe's name, so that its runs with several seeds are shown together. Settings of the user, as options
    or in the environment, take precedence.
    """
    if not isinstance(logger, WandbLogger):
        return
    settings = logger._wandb_init
    if _id_file(run_dir).is_file():
        known = _id_file(run_dir).read_text(encoding="ascii", errors="replace").strip()
        if re.fullmatch(r"[\w-]+", known, re.ASCII):
            settings["id"] = known
            return
        log.warning("%s is damaged: a new W&B run begins", _id_file(run_dir))
    for key, variable, value in (
        ("id", "WANDB_RUN_ID", secrets.token_hex(4)),
        ("name", "WANDB_NAME", f"{recipe}/{run_dir.absolute().name}"),
        ("group", "WANDB_RUN_GROUP", recipe),
        ("tags", "WANDB_TAGS", [f"seed-{seed}"]),
    ):
        if not settings.get(key) and variable not in os.environ:
            settings[key] = value


def remember_wandb_run(logger: Any, run_dir: Path) -> None:
    """Save the id of a ``WandbLogger``'s run; ignores other loggers."""
    if isinstance(logger, WandbLogger):
        write_or_warn(_id_file(run_dir), f"{logger.experiment.id}\n")


def _id_file(run_dir: Path) -> Path:
    return run_dir / "wandb_id"


def guard(logger: Logger) -> None:
    """Make a logger accept all metric names, and stop using it after a failure; in place.

    Loggers with hierarchical names, such as MLflow and Neptune, cannot hold both ``val/f1`` and ``val/f1/PER``: the
    latter becomes ``val/f1.PER``.
    """
    name = type(logger).__name__
    is_tree = not isinstance(logger, (WandbLogger, TensorBoardLogger, CSVLogger))
    failed = False

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal failed
            if failed:
                return None
            if is_tree and "metrics" in named:
                named["metrics"] = {_for_tree(key): value for key, value in named["metrics"].items()}
            try:
                return call(*arguments, **named)
            except Exception as error:
                failed = True
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                log.warning("%s failed (%s): nothing more is logged there, and training continues", name, problem)

        return run

    for method in _GUARDED:
        setattr(logger, method, guarded(getattr(logger, method)))


def _for_tree(name: str) -> str:
    """``val/f1/PER`` as ``val/f1.PER``, in characters that MLflow accepts."""
    first, *others = re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII).split("/")
    return "/".join([first, *filter(None, [".".join(others)])])


class MetricsCSV(Logger):
    """Writes all logged metrics to ``RUN/metrics.csv``, to which a resumed run appends.

    As the first logger it also sets the trainer's ``log_dir`` to the run directory.
    """

    name = version = save_dir = ""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.save_dir = str(run_dir)
        self._path = run_dir / "metrics.csv"
        self._rows: list[dict[str, Any]] | None = None
        self._columns: list[str] = []  # in the file

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Does nothing: ``config.yaml`` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row; rewrite the file after a failure or if there are new columns."""
        if self._rows is None:
            self._rows = [*read_metrics(self._path)] if self._path.is_file() else []
        row = {**metrics, "step": step}
        self._rows.append(row)
        if row.keys() <= set(self._columns):
            with contextlib.suppress(OSError):
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._columns).writerow(row)
                sync(self._path)
                return
        columns = sorted({key for row in self._rows for key in row})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self._rows)
        self._columns = columns if write_or_warn(self._path, text.getvalue()) else []


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``; damaged ones are skipped with a warning."""
    *lines, unfinished = read_text(path, errors="replace").replace("\r", "").split("\n")
    reader = csv.DictReader(lines, restval="missing")
    rows: list[dict[str, str]] = []
    with contextlib.suppress(csv.Error):  # an unclosed quote ends reading
        rows.extend(row for row in reader if _are_numbers(row.values()))
    if _are_numbers(reader.fieldnames or []):  # the header is missing
        rows = []
    if unfinished or len(rows) != max(0, len(lines) - 1):
        log.warning("%s: damaged lines are left out", path)
    return rows


def _are_numbers(cells: Iterable[Any]) -> bool:
    try:
        for cell in cells:
            float(cell or 0)
    except (TypeError, ValueError):
        return False
    return True
