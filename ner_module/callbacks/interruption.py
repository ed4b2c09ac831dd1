"""Ctrl-C: finish the step, save, say how to go on.

A signal can arrive anywhere, also between two parameters of an optimiser step. So the handler only sets a flag, and the
flag is honoured where the state is whole: after an optimiser step, or between two batches of an evaluation. A second
Ctrl-C stops at once, without saving.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console


class Interruption(Callback):
    """Saves ``last.ckpt`` when the user interrupts ``fit``, and leaves ``best.ckpt`` alone.

    Args:
        run_dir: the run directory, for the checkpoint and the message.
        launch: how this program was started, for the message.
    """

    def __init__(self, run_dir: Path, launch: str = "python -m ner_module") -> None:
        self.run_dir, self.launch = run_dir, launch
        self._asked = False
        self._steps_done = False
        self._previous: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over Ctrl-C for the time of training."""
        if stage == "fit" and self._previous is None:
            self._previous = signal.signal(signal.SIGINT, self._on_signal)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._asked or not self._steps_done:
            # Nothing trained yet, or asked twice: there is nothing to wait for.
            signal.signal(signal.SIGINT, self._previous or signal.default_int_handler)
            raise KeyboardInterrupt
        self._asked = True
        os.write(2, b"\nInterrupted: finishing the step and saving (press Ctrl-C again to stop without saving)\n")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop here if asked to and the optimiser has just stepped."""
        self._steps_done = True
        if not trainer.fit_loop._should_accumulate():
            self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop here if asked to; not in the sanity check, before which nothing was learnt."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if not self._agreed(trainer):
            return
        path = self.run_dir / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            get_console().print(
                f"\nStopped after step {trainer.global_step:,}; saved {path}\nGo on with:  {self.launch} fit "
                f"--run_dir {self.run_dir} --ckpt_path last",
                highlight=False,
                soft_wrap=True,
            )
        raise KeyboardInterrupt

    def _agreed(self, trainer: Trainer) -> bool:
        """Whether any process was asked: saving needs all of them, and each may have heard at another step."""
        if trainer.world_size == 1:
            return self._asked
        flag = torch.tensor(float(self._asked), device=trainer.strategy.root_device)
        return bool(trainer.strategy.reduce(flag, reduce_op="max") > 0)
