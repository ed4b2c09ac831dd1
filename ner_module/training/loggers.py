"""Where loggers write: ``metrics.csv``, and one Weights & Biases run for one training, resumed or tested as it may be.

A logger that the configuration names costs a warning at most (:func:`guard`).

``RUN/wandb_id`` holds the id of the W&B run. It reaches W&B through the environment, not through the configuration:
another training with the same configuration must not continue this run.
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
import secrets
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from ner_module.files import write_atomically, write_or_warn

log = logging.getLogger(__name__)

_RUN_VARIABLES = ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_TAGS")


def set_up_loggers(trainer: Any, command: str, run_dir: Path, seed: int, recipe: str) -> None:
    """Direct the configured loggers into the run directory.

    ``validate`` and ``test`` log into the training's W&B run if there is one, and nowhere else; ``predict`` never logs.

    Args:
        trainer: the trainer's options; changed in place.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        run_dir: the run directory.
        seed: of the training; becomes a tag.
        recipe: the name of the configuration, which groups runs.
    """
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    loggers = [logger for logger in loggers if hasattr(logger, "class_path")]
    if command != "fit":
        resumes = command != "predict" and _id_file(run_dir).is_file()
        loggers = [logger for logger in loggers if resumes and _is_wandb(logger)]
        trainer.logger = loggers or False
    for logger in loggers:
        arguments = logger.get("init_args") or {}
        if "save_dir" in arguments and arguments["save_dir"] in (None, ".", "./mlruns"):
            run_dir.mkdir(parents=True, exist_ok=True)
            inside = "mlruns" if str(logger.class_path).endswith("MLFlowLogger") else ""
            logger.init_args.save_dir = str(run_dir / inside)
        if _is_wandb(logger):
            _name_wandb_run(run_dir, seed, recipe)


def guard(logger: Any) -> None:
    """Give a logger names that it can hold, and stop to log there when it fails; in place.

    Files and trees, such as MLflow's and Neptune's, cannot hold ``val/f1`` beside ``val/f1/PER``: there the latter is
    ``val/f1.PER``.
    """
    name = type(logger).__name__
    is_tree = not isinstance(logger, (WandbLogger, TensorBoardLogger, CSVLogger))
    failed: list[str] = []

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if failed:
                return None
            if is_tree and "metrics" in named:
                named["metrics"] = {_for_tree(key): value for key, value in named["metrics"].items()}
            try:
                return call(*arguments, **named)
            except Exception as error:
                failed.append(name)
                problem = " ".join(str(error).split())[:200]
                message = "%s failed (%s: %s): nothing more is logged there, and training continues"
                log.warning(message, name, type(error).__name__, problem)

        return run

    for method in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint"):
        setattr(logger, method, guarded(getattr(logger, method)))


def _for_tree(name: str) -> str:
    """``val/f1/PER`` as ``val/f1.PER``, of characters that MLflow takes."""
    first, *others = re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII).split("/")
    return "/".join([first, *filter(None, [".".join(others)])])


def remember_wandb_run(logger: Any, run_dir: Path) -> None:
    """Save the id of a ``WandbLogger``'s run; does nothing for other loggers."""
    if type(logger).__name__ == "WandbLogger":
        write_or_warn(_id_file(run_dir), f"{logger.experiment.id}\n")


@contextlib.contextmanager
def own_wandb_variables() -> Iterator[None]:
    """Restore the environment's W&B variables after a command."""
    saved = {name: os.environ[name] for name in _RUN_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        for name in _RUN_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(saved)


def _name_wandb_run(run_dir: Path, seed: int, recipe: str) -> None:
    """Set id, name, group and tags of the run, except those the user has set, and those of a run that is resumed.

    The group is the recipe's name, so that runs of one recipe with several seeds are shown together.
    """
    if _id_file(run_dir).is_file():
        known = _id_file(run_dir).read_text(encoding="ascii", errors="replace").strip()
        if re.fullmatch(r"[\w-]+", known, re.ASCII):
            os.environ["WANDB_RUN_ID"] = known
            return
        log.warning("%s is damaged: a new W&B run begins", _id_file(run_dir))
    os.environ.setdefault("WANDB_RUN_ID", secrets.token_hex(4))
    os.environ.setdefault("WANDB_NAME", f"{recipe}/{run_dir.absolute().name}")
    os.environ.setdefault("WANDB_RUN_GROUP", recipe)
    os.environ.setdefault("WANDB_TAGS", f"seed-{seed}")


def _id_file(run_dir: Path) -> Path:
    return run_dir / "wandb_id"


def _is_wandb(logger: Any) -> bool:
    return str(logger.class_path).endswith("WandbLogger")


class MetricsCSV(CSVLogger):
    """Writes every logged metric to ``RUN/metrics.csv``, which a resumed run extends instead of overwriting.

    Args:
        run_dir: the run directory; the trainer's ``log_dir`` becomes the same.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(save_dir=run_dir, name="", version="")

    @property
    def log_dir(self) -> str:
        """The run directory itself, without a version folder."""
        return str(self._save_dir)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace | None = None) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, created on first use, on rank 0."""
        if self._experiment is None:
            self._experiment = _ExtendingWriter(self.log_dir)
        return self._experiment


class _ExtendingWriter(ExperimentWriter):
    """Lightning's writer, which also extends an existing file, and keeps what a full disk did not take for later."""

    def _check_log_dir_exists(self) -> None:
        self._path = Path(self.metrics_file_path)
        if self._path.is_file():
            self.metrics_keys, rows, num_damaged = read_metrics(self._path)
            if num_damaged:
                write_atomically(self._path, self._text(self.metrics_keys, rows, header=True) if rows else "")

    def save(self) -> None:
        """Append the rows; with new columns, write the whole file again."""
        if not self.metrics:
            return
        before = self._path.stat().st_size if self._path.is_file() else 0
        keys = sorted({*self.metrics_keys, *chain.from_iterable(self.metrics)})
        try:
            if before and keys == self.metrics_keys:
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    file.write(self._text(keys, self.metrics))
                    file.flush()
                    os.fsync(file.fileno())
            else:
                old = read_metrics(self._path)[1] if before else []
                write_atomically(self._path, self._text(keys, [*old, *self.metrics], header=True))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, before)
            log.warning("%s could not be written (%s); training continues", self._path, error.strerror)
        else:
            self.metrics_keys, self.metrics = keys, []

    @staticmethod
    def _text(keys: list[str], rows: Iterable[dict[str, Any]], header: bool = False) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_metrics(path: Path) -> tuple[list[str], list[dict[str, str]], int]:
    """A ``metrics.csv``: its columns, its whole rows, and how many are damaged, as a power cut leaves them."""
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    whole = [line for line in lines[:-1] if "\0" not in line and "\ufffd" not in line]
    reader = csv.DictReader(whole, strict=True)
    rows: list[dict[str, str]] = []
    try:
        for row in reader:
            if None in row or not all(_is_number(cell) for cell in row.values()):
                continue
            rows.append(row)
    except csv.Error:
        pass  # an open quote takes the rest with it
    keys = list(reader.fieldnames or []) if rows else []
    if any(_is_number(key) for key in keys):  # the header is gone
        keys, rows = [], []
    num_damaged = sum(bool(line) for line in lines) - len(rows) - bool(keys)
    if num_damaged:
        log.warning("%s: %d damaged lines are left out", path, num_damaged)
    return keys, rows, num_damaged


def _is_number(cell: str | None) -> bool:
    """Whether a cell is one of ours; a short row has none."""
    with contextlib.suppress(ValueError, TypeError):
        return cell == "" or float(cell) is not None  # type: ignore[arg-type]
    return False
