"""``last.ckpt`` within an epoch: written every few minutes, and when training is asked to stop.

A signal can arrive anywhere, even between two parameters of an optimiser step. The handler therefore only sets a flag,
which all processes act on together where the state is consistent: after an optimiser step, or before or within an
evaluation, which a resumed run repeats from its start. A second Ctrl-C stops at once, without saving.

=========  ============================================================  =========
signal     meaning                                                       exit code
=========  ============================================================  =========
SIGINT     the user's Ctrl-C                                             130
SIGTERM    the machine or the scheduler wants the process to end         143
SIGUSR1    the time limit is near: under SLURM the job is requeued       75
SIGHUP     the terminal is gone: saved, and training continues           –
=========  ============================================================  =========

Not here: the checkpoint after each epoch, which Lightning's own `ModelCheckpoint` writes.
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
from torch import distributed as dist

from ner_module.tables import say
from ner_module.training import cluster
from ner_module.training.resume import epoch_is_complete
from ner_module.training.runs import checkpoint_path

# Requests, exchanged between processes: the largest wins.
_SAVE, _TERM, _USR1, _INT = 1, 2, 3, 4
_SIGNALS = {signal.SIGINT: _INT, signal.SIGTERM: _TERM, signal.SIGUSR1: _USR1, signal.SIGHUP: _SAVE}
_EXIT_CODES = {_INT: 130, _TERM: cluster.TERMINATED, _USR1: cluster.PREEMPTED}


class Stopped(KeyboardInterrupt):
    """Training was saved and stopped on request; Lightning shuts down on it as on Ctrl-C.

    Args:
        exit_code: what the program ends with.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


class ExitOnSigterm(Callback):
    """Ends an evaluation or prediction on SIGTERM; Lightning's own handler only notes it, or waits for the others."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle the signal, after Lightning has set its handler."""

        def stop(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
            sys.exit(cluster.TERMINATED)

        signal.signal(signal.SIGTERM, stop)

    on_validation_start = on_test_start = on_predict_start


class AsyncMax:
    """The largest number that any process gave one step earlier.

    The exchange starts at one step and is read at the next, through main memory (gloo) whatever the devices: no
    process waits for another, and no GPU for the CPU. All processes must call :meth:`update` equally often.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._work: Any = None
        self._numbers = torch.zeros(1, dtype=torch.int64)

    def update(self, trainer: Trainer, number: int) -> int:
        """Give this process's number; returns the largest one of the step before (a single process's own, of now)."""
        if trainer.world_size == 1:
            return number
        if self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=getattr(trainer.strategy, "_timeout", None))
        largest = self.close()
        self._numbers = torch.tensor([number], dtype=torch.int64)
        self._work = dist.all_reduce(self._numbers, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return largest

    def close(self) -> int:
        """Wait for the exchange under way; returns its result, 0 if there is none."""
        if self._work is None:
            return 0
        self._work.wait()
        self._work = None
        return int(self._numbers)


class PreemptionCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` at intervals and on request; ``best.ckpt`` is left alone.

    Lightning runs callbacks of this base class after all others, so that their state is complete.

    Args:
        run_dir: the run directory.
        launch: how this program was started, for the message.
        every_minutes: at most this many minutes of training are lost; 0 saves only at the end of epochs.
        every_steps: or this many optimiser steps, whichever comes first.
    """

    def __init__(
        self,
        run_dir: Path,
        launch: str = "python -m ner_module",
        every_minutes: float = 10.0,
        every_steps: int | None = None,
    ) -> None:
        self.run_dir, self.launch = run_dir, launch
        self.every_seconds, self.every_steps = 60 * every_minutes, every_steps
        self._signal = 0
        self._steps_done = False
        self._saved_at, self._saved_step = 0.0, 0
        self._request = AsyncMax()
        self._common_batches = 0
        self._handlers: dict[signal.Signals, Any] = {}

    # ------------------------------------------------------------------ signals

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Handle Ctrl-C during training."""
        if stage == "fit":
            self._handle(signal.SIGINT)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle the other signals, too, from when there is something to save.

        Lightning's own handlers, which these replace, communicate with other processes from within.
        """
        self._note_saved(trainer)
        self._handle(signal.SIGTERM)
        self._handle(signal.SIGUSR1)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            self._handle(signal.SIGHUP)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the handlers that were there before."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def _handle(self, signum: signal.Signals) -> None:
        if signum not in self._handlers:
            self._handlers[signum] = signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and (self._signal == _INT or not self._steps_done):
            # The second Ctrl-C, or nothing trained yet: there is nothing to wait for.
            signal.signal(signal.SIGINT, self._handlers.get(signal.SIGINT) or signal.default_int_handler)
            raise KeyboardInterrupt
        self._signal = max(self._signal, _SIGNALS[signal.Signals(signum)])
        if signum == signal.SIGHUP:
            return
        hint = " (press Ctrl-C again to stop without saving)" if signum == signal.SIGINT else ""
        name = "Interrupted" if signum == signal.SIGINT else signal.Signals(signum).name
        os.write(2, f"\n{name}: finishing the step and saving{hint}\n".encode())

    # ------------------------------------------------------------------ where the state is consistent

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Save or stop if the optimiser has just stepped and no evaluation is due."""
        self._steps_done = True
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        # An evaluation that is due now, or the end of the epoch, belongs to this step: if it were saved here, a resumed
        # run would skip it. An evaluation can be stopped at its start; the end of the epoch saves by itself.
        ends, trainer.should_stop = trainer.should_stop, False
        within = not loop._should_check_val_fx(trainer.fit_loop._data_fetcher) and not loop._num_ready_batches_reached()  # type: ignore[arg-type]
        trainer.should_stop = ends
        if within and ends:  # by `max_steps` or `max_time`: the evaluation that follows is none of an unbroken training
            self._save(trainer)
            return
        request = self._request.update(trainer, self._wanted(trainer) if within else self._signal)
        if within and request == _SAVE:
            self._save(trainer)
        elif within and request > _SAVE:
            self._save(trainer)
            self._stop(trainer, request)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches that all processes have in common (they may differ by one), and stop here if requested."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            mine = torch.tensor(-float(sum(trainer.num_val_batches)), device=trainer.strategy.root_device)
            self._common_batches = -int(trainer.strategy.reduce(mine, reduce_op="max"))
            self._stop_within_evaluation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Stop here if requested; not in the sanity check, before which nothing was trained."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and batch_idx < self._common_batches:
            self._stop_within_evaluation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if training ends here within an epoch, as by early stopping."""
        ended = trainer.state.fn == "fit" and trainer.should_stop and not epoch_is_complete(trainer)
        if ended and trainer.global_step > self._saved_step:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if requested; `ModelCheckpoint` has just saved."""
        self._note_saved(trainer)
        request = self._request.update(trainer, self._signal)
        if request > _SAVE and not trainer.fit_loop.done:
            self._stop(trainer, request)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the exchange under way before processes part."""
        self._request.close()

    # ------------------------------------------------------------------ saving

    def _wanted(self, trainer: Trainer) -> int:
        """What this process requests: to stop, to save because it is time, or nothing."""
        late = 0 < self.every_seconds <= time.monotonic() - self._saved_at
        far = self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps
        return self._signal or (_SAVE if late or far else 0)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(checkpoint_path(self.run_dir, "last"))
        self._note_saved(trainer)

    def _note_saved(self, trainer: Trainer) -> None:
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if self._signal == _SAVE:
            self._signal = 0

    def _stop_within_evaluation(self, trainer: Trainer) -> None:
        request = self._request.update(trainer, self._signal)
        if request > _SAVE:
            # The checkpoint records that the evaluation has begun and finished no batch, so that it is repeated.
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            self._save(trainer)
            self._stop(trainer, request)

    def _stop(self, trainer: Trainer, request: int) -> None:
        """Requeue a preempted job, print how to resume, and end."""
        if trainer.is_global_zero:
            path = checkpoint_path(self.run_dir, "last")
            failed = path in getattr(trainer.strategy.checkpoint_io, "failed", {})
            saved = "not saved, see above" if failed else f"saved {path}"
            lines = [f"\nStopped after step {trainer.global_step:,}; {saved}"]
            job = os.environ.get("SLURM_JOB_ID") if request == _USR1 else None
            problem = cluster.requeue(job) if job else None
            if job and problem is None:
                lines.append(f"Job {job} is in the queue again and will resume from there")
            else:
                if problem:
                    lines.append(f"The job was not requeued: {problem}")
                lines.append(f"Resume with:  {self.launch} fit --run_dir {self.run_dir} --ckpt_path last")
            say("\n".join(lines))
        raise Stopped(_EXIT_CODES[request])
