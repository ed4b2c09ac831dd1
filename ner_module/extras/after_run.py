"""Callbacks that write something of a run when a command has finished with it."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer


class AfterRun(Callback):
    """Calls :meth:`write` after ``fit``, ``validate`` and ``test``, on the first process, once there are results.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After training."""
        self._after(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``validate``, not after validation within ``fit``."""
        if trainer.state.fn == "validate":
            self._after(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After ``test``."""
        self._after(trainer)

    def _after(self, trainer: Trainer) -> None:
        # A training that was stopped before its first validation has no results.
        if trainer.is_global_zero and (self.run_dir / "results.json").is_file():
            self.write(trainer)

    def write(self, trainer: Trainer) -> None:
        """Write what the subclass is for."""
        raise NotImplementedError
