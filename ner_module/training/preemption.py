"""Saves ``last.ckpt`` within an epoch: every few minutes, and when a signal stops training.

A signal can arrive anywhere, even between two parameters of an optimiser step. The handler therefore only sets a flag,
on which all processes act together where the state is consistent: after an optimiser step, or before or within an
evaluation, which a resumed run repeats from its start. A second Ctrl-C stops at once, without saving.

=========  ============================================================  =========
signal     meaning                                                       exit code
=========  ============================================================  =========
SIGINT     the user's Ctrl-C                                             130
SIGTERM    termination by the machine or the scheduler                   143
SIGUSR1    the time limit is near: `slurm.sbatch` requeues the job       75
SIGHUP     the terminal was closed: saved, and training continues        –
=========  ============================================================  =========

Not here: the checkpoint after each epoch, written by Lightning's `ModelCheckpoint`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ner_module.tables import say
from ner_module.training.resume import epoch_is_complete
from ner_module.training.runs import checkpoint_path

# Requests, exchanged between processes: the largest takes precedence.
_SAVE, _TERM, _USR1, _INT = 1, 2, 3, 4
_SIGNALS: dict[int, int] = {signal.SIGINT: _INT, signal.SIGTERM: _TERM, signal.SIGUSR1: _USR1, signal.SIGHUP: _SAVE}
_EXIT_CODES = {_INT: 130, _TERM: 143, _USR1: 75}


class Stopped(KeyboardInterrupt):
    """Training was saved and stopped by a signal; Lightning shuts down as on Ctrl-C."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class ExitOnSigterm(Callback):
    """Ends evaluation or prediction on SIGTERM; Lightning's handler only sets a flag, or waits for other processes."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's handler."""
        signal.signal(signal.SIGTERM, _exit)

    on_validation_start = on_test_start = on_predict_start


def _exit(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ignore repetitions
    sys.exit(_EXIT_CODES[_TERM])


class PreemptionCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` at intervals and on signals; never ``best.ckpt``.

    Lightning runs callbacks of this base class after all others, so that their state is complete.

    Args:
        run_dir: the run directory.
        launch: the command that starts this program, for the message.
        every_minutes: minutes between saves; 0 saves only at the end of epochs.
        every_steps: optimiser steps between saves, if reached first.
    """

    def __init__(self, run_dir: Path, launch: str, every_minutes: float, every_steps: int | None) -> None:
        self.run_dir, self.launch = run_dir, launch
        self.every_seconds, self.every_steps = 60 * every_minutes, every_steps
        self._signal = 0
        self._saved_at, self._saved_step = 0.0, 0
        self._common_batches = 0
        self._handlers: dict[int, Any] = {}

    # ------------------------------------------------------------------ signals

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install signal handlers, now that there is a state to save.

        They replace Lightning's, which communicate with other processes from within the handler.
        """
        self._note_saved(trainer)
        for signum in _SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:  # as set by nohup
                self._handlers[signum] = signal.signal(signum, self._on_signal)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous handlers."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._signal == _INT:
            raise KeyboardInterrupt
        self._signal = max(self._signal, _SIGNALS[signum])
        if signum != signal.SIGHUP:
            hint = " (press Ctrl-C again to stop without saving)" if signum == signal.SIGINT else ""
            os.write(2, f"\n{signal.Signals(signum).name}: finishing the step and saving{hint}\n".encode())

    def _largest(self, trainer: Trainer, number: int) -> int:
        """The maximum of a number over all processes; a single process does not use its device."""
        if trainer.world_size == 1:
            return number
        mine = torch.tensor(number, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(mine, reduce_op="max"))

    # ------------------------------------------------------------------ where the state is consistent

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Save or stop if the optimiser has just stepped and no evaluation is due."""
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        # An evaluation that is due now, or the end of the epoch, belongs to this step: after saving here, a resumed run
        # would skip it. An evaluation can be stopped at its start; the end of the epoch saves by itself.
        ends, trainer.should_stop = trainer.should_stop, False
        due = loop._should_check_val_fx(trainer.fit_loop._data_fetcher) or loop._num_ready_batches_reached()  # type: ignore[arg-type]
        trainer.should_stop = ends
        if due:
            return
        if ends:  # by `max_steps` or `max_time`: an uninterrupted training would not evaluate here
            self._save(trainer)
            return
        late = 0 < self.every_seconds <= time.monotonic() - self._saved_at
        far = self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps
        request = self._largest(trainer, self._signal or (_SAVE if late or far else 0))
        if request:
            self._save(trainer)
        if request > _SAVE:
            self._stop(trainer, request)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the number of batches in every process (they may differ by one), and stop here if requested."""
        self._common_batches = -self._largest(trainer, -int(sum(trainer.num_val_batches)))
        self._stop_within_evaluation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Stop here if requested."""
        if batch_idx < self._common_batches:
            self._stop_within_evaluation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if training ends here within an epoch, for example by early stopping."""
        if trainer.should_stop and not epoch_is_complete(trainer) and trainer.global_step > self._saved_step:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if requested; `ModelCheckpoint` has just saved."""
        self._note_saved(trainer)
        request = self._largest(trainer, self._signal)
        if request > _SAVE and not trainer.fit_loop.done:
            self._stop(trainer, request)

    def _stop_within_evaluation(self, trainer: Trainer) -> None:
        request = self._largest(trainer, self._signal)
        if request > _SAVE:
            # The checkpoint records an evaluation without finished batches, so that it is repeated.
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            self._save(trainer)
            self._stop(trainer, request)

    # ------------------------------------------------------------------ saving

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(checkpoint_path(self.run_dir, "last"))
        self._note_saved(trainer)

    def _note_saved(self, trainer: Trainer) -> None:
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if self._signal == _SAVE:
            self._signal = 0

    def _stop(self, trainer: Trainer, request: int) -> None:
        """Print how to resume, and stop."""
        if trainer.is_global_zero:
            path = checkpoint_path(self.run_dir, "last")
            failed = path in getattr(trainer.strategy.checkpoint_io, "failed", {})
            saved = "not saved, see above" if failed else f"saved {path}"
            say(f"\nStopped after step {trainer.global_step:,}; {saved}")
            say(f"Resume with:  {self.launch} fit --run_dir {self.run_dir} --ckpt_path last")
        raise Stopped(_EXIT_CODES[request])
