"""What a run directory holds, read for its report; everything but `results.json` may be missing."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ner_module.errors import RunError
from ner_module.extras.analysis.analysis import Analysis, analyse
from ner_module.files import read_json_object

Split = Literal["test", "validation"]

COMMAND_OF = {"test": "test", "validation": "validate"}
"""The command whose scores and predictions a split has."""

PREFIX_OF = {"test": "test/", "validation": "val/"}
"""What the split's metrics begin with."""


@dataclass(frozen=True)
class RunContents:
    """The files of one run, parsed."""

    run_dir: Path
    results: dict[str, Any]
    metrics: list[dict[str, float]]
    """The rows of `metrics.csv`, without empty cells."""
    config: dict[str, Any] | None
    config_text: str
    audit: dict[str, Any] | None
    analysis: Analysis | None
    """Of the test data if there are predictions, else of the validation data."""

    @property
    def name(self) -> str:
        """The last two parts of the directory: recipe and time."""
        return "/".join(self.run_dir.absolute().parts[-2:])

    @property
    def split(self) -> str | None:
        """What was analysed."""
        return self.analysis.split if self.analysis else None

    @property
    def epochs(self) -> list[dict[str, float]]:
        """One row for each validation within ``fit``."""
        rows: list[dict[str, float]] = self.results.get("epochs", [])
        return rows

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The row with the best F1, the first of equals: `best.ckpt` is from there."""
        return max(self.epochs, key=lambda row: row.get("val/f1", -math.inf), default=None)

    def scores(self, split: str) -> dict[str, float]:
        """Scores of a split without their prefix: of ``test`` or ``validate``, else of the best epoch."""
        found = self.results.get(COMMAND_OF[split]) or (self.best_epoch if split == "validation" else None) or {}
        return {key.removeprefix(PREFIX_OF[split]): value for key, value in found.items()}

    def option(self, name: str) -> Any:
        """An option of the configuration by its dotted name; ``None`` where it is not set or not known."""
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def read_run(run_dir: Path, split: Split | None = None, analysis: Analysis | None = None) -> RunContents:
    """Read what a run directory holds.

    Args:
        run_dir: the run directory.
        split: whose predictions to analyse; by default the test data's, else the validation data's.
        analysis: of its predictions, where it has been made already.

    Raises:
        RunError: it is no run directory, or a file in it is damaged.
        DataError: its predictions are damaged.
    """
    if not run_dir.is_dir():
        raise RunError(f"{run_dir}: no such run directory")
    results = _read_json(run_dir / "results.json")
    if results is None:
        raise RunError(f"{run_dir} holds no results.json; `fit`, `validate` and `test` write it")
    config_path = run_dir / "config.yaml"
    config_text = config_path.read_text(encoding="utf-8") if config_path.is_file() else ""
    try:
        config = yaml.safe_load(config_text) if config_text else None
    except yaml.YAMLError as error:
        raise RunError(f"{config_path} is no longer valid YAML ({' '.join(str(error).split())}); restore it") from error
    if analysis is None:
        chosen = _analysed_split(run_dir, split)
        analysis = analyse(run_dir, chosen) if chosen else None
    metrics, audit = _read_metrics(run_dir / "metrics.csv"), _read_json(run_dir / "audit.json")
    return RunContents(run_dir, results, metrics, config, config_text, audit, analysis)


def _analysed_split(run_dir: Path, asked: Split | None) -> str | None:
    present = [name for name in COMMAND_OF if (run_dir / "predictions" / f"{name}.jsonl").is_file()]
    if asked is not None and asked not in present:
        command = f"{COMMAND_OF[asked]} --run_dir {run_dir} --ckpt_path best"
        raise RunError(f"{run_dir} holds no predictions/{asked}.jsonl; `{command}` writes it")
    return asked or next(iter(present), None)


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json_object(path) if path.is_file() else None


def _read_metrics(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
            return [{name: float(cell) for name, cell in row.items() if name and cell} for row in rows]
        except (ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{path} is damaged ({error}); delete it to leave the step-by-step curves out") from error
