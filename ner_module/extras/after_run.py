"""What a run directory is given once there are results: a report, a model card."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer


class AfterRun(Callback):
    """Calls :meth:`write` at the end of ``fit``, ``validate`` and ``test``, on the first process only.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def write(self, trainer: Trainer) -> None:
        """Write what the callback is for; ``results.json`` exists."""
        raise NotImplementedError

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After training."""
        self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``test``."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        # A training that was stopped before its first validation has no results.
        if trainer.is_global_zero and (self.run_dir / "results.json").is_file():
            self.write(trainer)
