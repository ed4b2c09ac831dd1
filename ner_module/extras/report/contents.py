"""What lies in a run directory, read for its report. Everything but `results.json` may be missing; nothing is written.

Not here: what the numbers mean (`metrics/report.py` analyses predictions) and how they look (`tables.py`, `charts.py`).
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ner_module.errors import RunError
from ner_module.extras.analysis.analyse import ErrorReport, analyse
from ner_module.extras.analysis.sentences import PredictionsError
from ner_module.tagging import OUTSIDE

Split = Literal["test", "validation"]

COMMAND_OF: dict[str, str] = {"test": "test", "validation": "validate"}
"""The command whose scores and predictions a split has."""

PREFIX_OF: dict[str, str] = {"test": "test/", "validation": "val/"}
"""What the split's metrics begin with."""


@dataclass(frozen=True)
class RunContents:
    """The files of one run, parsed."""

    run_dir: Path
    results: dict[str, Any]
    metrics: list[dict[str, float]]
    """The rows of `metrics.csv`; cells that are empty are left out."""
    config: dict[str, Any] | None
    config_text: str
    audit: dict[str, Any] | None
    split: Split | None
    """What was analysed: test data if there are predictions, else validation data."""
    analysis: ErrorReport | None

    @property
    def name(self) -> str:
        """The last two parts of the directory: recipe and time."""
        return "/".join(self.run_dir.absolute().parts[-2:])

    @property
    def epochs(self) -> list[dict[str, float]]:
        """One row for each validation within ``fit``."""
        rows: list[dict[str, float]] = self.results.get("epochs", [])
        return rows

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The row with the best F1, the first of equals: `best.ckpt` is from there."""
        return max(self.epochs, key=lambda row: row.get("val/f1", -math.inf), default=None)

    def scores(self, split: str) -> dict[str, float] | None:
        """Scores of ``test`` or ``validate``; for validation data else those of the best epoch."""
        found: dict[str, float] | None = self.results.get(COMMAND_OF[split])
        return found or (self.best_epoch if split == "validation" else None)

    def option(self, name: str) -> Any:
        """An option of the configuration by its dotted name; ``None`` where it is not set or not known."""
        value: Any = self.config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def read_run(run_dir: Path, split: Split | None = None) -> RunContents:
    """Read what a run directory holds.

    Args:
        run_dir: the run directory.
        split: whose predictions to analyse; by default the test data's, else the validation data's.

    Raises:
        RunError: it is no run directory, or a file in it is damaged; the message says what to do.
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
        raise RunError(f"{config_path} is not YAML any more ({' '.join(str(error).split())}); restore it") from error
    chosen = _analysed_split(run_dir, split)
    return RunContents(
        run_dir,
        results,
        _read_metrics(run_dir / "metrics.csv"),
        config,
        config_text,
        _read_json(run_dir / "audit.json"),
        chosen,
        None if chosen is None else _analyse(run_dir, chosen, results),
    )


def _analysed_split(run_dir: Path, asked: Split | None) -> Split | None:
    if asked is not None:
        if not (run_dir / "predictions" / f"{asked}.jsonl").is_file():
            raise RunError(
                f"{run_dir} holds no predictions/{asked}.jsonl; `{COMMAND_OF[asked]} --run_dir {run_dir} "
                "--ckpt_path best` writes it"
            )
        return asked
    splits: tuple[Split, ...] = ("test", "validation")
    return next((name for name in splits if (run_dir / "predictions" / f"{name}.jsonl").is_file()), None)


def _analyse(run_dir: Path, split: str, results: dict[str, Any]) -> ErrorReport:
    entities = run_dir / "train_entities.json"
    try:
        return analyse(
            run_dir / "predictions" / f"{split}.jsonl",
            entities if entities.is_file() else None,
            results.get("scheme"),
            results.get("outside_label", OUTSIDE),
        )
    except PredictionsError as error:
        raise RunError(str(error)) from error


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); delete it or run the command that writes it again") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} does not hold a JSON object; delete it or run the command that writes it again")
    return found


def _read_metrics(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
            return [{name: float(cell) for name, cell in row.items() if name and cell} for row in rows]
        except (ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{path} is damaged ({error}); delete it to leave the step-by-step curves out") from error
