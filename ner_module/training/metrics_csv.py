"""``metrics.csv`` in the run directory: Lightning's CSV logger, which a resumed run extends instead of overwriting."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only


class MetricsCSV(CSVLogger):
    """Writes every logged metric to ``RUN/metrics.csv``.

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
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
