"""When ``last.ckpt`` is written within an epoch: every some minutes, and when training is told to stop.

A signal can arrive anywhere, also between two parameters of an optimiser step. So the handler only sets a flag, and the
flag is honoured where the state is whole, by all processes together: after an optimiser step, or before or within an
evaluation, which a resumed run then begins anew. A second Ctrl-C stops at once, without saving.

=========  ============================================================  =========
signal     meant as                                                      exit code
=========  ============================================================  =========
SIGINT     the user's Ctrl-C                                             130
SIGTERM    the machine or the scheduler wants the process to end         143
SIGUSR1    the time is nearly up: under SLURM the job is queued again    75
=========  ============================================================  =========

Not here: the checkpoint after each epoch, which Lightning's own `ModelCheckpoint` writes.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from rich import get_console

from ner_module.training import cluster
from ner_module.training.async_max import AsyncMax
from ner_module.training.runs import Stopped, checkpoint_path

# What processes tell each other; of several wishes the largest number counts.
_SAVE, _TERM, _USR1, _INT = 1, 2, 3, 4
_SIGNALS = {signal.SIGINT: _INT, signal.SIGTERM: _TERM, signal.SIGUSR1: _USR1}
_EXIT_CODES = {_INT: 130, _TERM: cluster.TERMINATED, _USR1: cluster.PREEMPTED}


class PreemptionCheckpoint(Checkpoint):
    """Saves ``last.ckpt`` in time and on request, and leaves ``best.ckpt`` alone.

    Lightning runs callbacks of this base class after all others, so that their state is complete.

    Args:
        run_dir: the run directory, for the checkpoint and the message.
        launch: how this program was started, for the message.
        every_minutes: at most so many minutes of training are lost; 0 saves at the end of epochs only.
        every_steps: or so many optimiser steps, whichever comes first.
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
        self._asked = 0
        self._steps_done = False
        self._saved_at = 0.0
        self._saved_step = 0
        self._agreement = AsyncMax()
        self._batches_in_common = 0
        self._previous: dict[signal.Signals, Any] = {}

    # ------------------------------------------------------------------ signals

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over Ctrl-C for the time of training."""
        if stage == "fit":
            self._listen(signal.SIGINT)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the other signals from Lightning, whose own handlers talk to other processes from within.

        Before this nothing was trained that could be saved.
        """
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        for signum in (signal.SIGTERM, signal.SIGUSR1):
            self._listen(signum)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _listen(self, signum: signal.Signals) -> None:
        if signum not in self._previous:
            self._previous[signum] = signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and (self._asked == _INT or not self._steps_done):
            # Nothing trained yet, or asked twice: there is nothing to wait for.
            signal.signal(signal.SIGINT, self._previous.get(signal.SIGINT) or signal.default_int_handler)
            raise KeyboardInterrupt
        self._asked = max(self._asked, _SIGNALS[signal.Signals(signum)])
        hint = " (press Ctrl-C again to stop without saving)" if signum == signal.SIGINT else ""
        name = "Interrupted" if signum == signal.SIGINT else signal.Signals(signum).name
        os.write(2, f"\n{name}: finishing the step and saving{hint}\n".encode())

    # ------------------------------------------------------------------ where the state is whole

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Save or stop here if the optimiser has just stepped and no evaluation is due."""
        self._steps_done = True
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        # An evaluation that is due now, or the end of the epoch, belongs to this step: saved here, a resumed run would
        # skip it. The first is stopped at its start, the second saves by itself.
        within = not loop._should_check_val_fx(trainer.fit_loop._data_fetcher) and not loop._num_ready_batches_reached()  # type: ignore[arg-type]
        wish = self._agreement.ask(trainer, self._wish(trainer) if within else self._asked)
        if within and wish == _SAVE:
            self._save(trainer)
        elif within and wish > _SAVE:
            self._stop(trainer, wish)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """How many batches of the evaluation all processes have; they may differ by one."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            mine = sum(trainer.num_val_batches)
            self._batches_in_common = -self._largest(trainer, -int(mine))
            self._stop_within_evaluation(trainer, True)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any, **__: Any
    ) -> None:
        """Stop here if asked to; not in the sanity check, before which nothing was learnt."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_within_evaluation(trainer, batch_idx < self._batches_in_common)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the last answer: nothing may be under way when processes part."""
        self._agreement.close()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if asked to; `ModelCheckpoint` has just saved."""
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        wish = self._agreement.ask(trainer, self._asked)
        if wish > _SAVE and not trainer.fit_loop.done:
            self._stop(trainer, wish, save=False)

    # ------------------------------------------------------------------ saving

    def _wish(self, trainer: Trainer) -> int:
        """What this process wants: to stop, to save because it is time, or nothing."""
        if self._asked:
            return self._asked
        late = 0 < self.every_seconds <= time.monotonic() - self._saved_at
        far = self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps
        return _SAVE if late or far else 0

    def _save(self, trainer: Trainer) -> Path:
        path = checkpoint_path(self.run_dir, "last")
        trainer.save_checkpoint(path)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        return path

    def _stop_within_evaluation(self, trainer: Trainer, common: bool) -> None:
        if not common:
            return
        wish = self._agreement.ask(trainer, self._asked)
        if wish > _SAVE:
            # The checkpoint says that the evaluation has begun and finished no batch: it is then begun anew.
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            progress.reset()
            progress.increment_ready()
            progress.increment_started()
            self._stop(trainer, wish)

    def _stop(self, trainer: Trainer, wish: int, save: bool = True) -> None:
        path = self._save(trainer) if save else checkpoint_path(self.run_dir, "last")
        if trainer.is_global_zero:
            failed = path in getattr(trainer.strategy.checkpoint_io, "failed", {})
            saved = "not saved, see above" if failed else f"saved {path}"
            lines = [f"\nStopped after step {trainer.global_step:,}; {saved}"]
            problem = cluster.requeue() if wish == _USR1 else "not asked for"
            if problem is None:
                lines.append(f"The job {os.environ['SLURM_JOB_ID']} is in the queue again and will go on from there")
            else:
                if wish == _USR1 and "SLURM_JOB_ID" in os.environ:
                    lines.append(f"The job was not put into the queue again: {problem}")
                lines.append(f"Go on with:  {self.launch} fit --run_dir {self.run_dir} --ckpt_path last")
            get_console().print("\n".join(lines), highlight=False, soft_wrap=True)
        raise Stopped(_EXIT_CODES[wish])

    @staticmethod
    def _largest(trainer: Trainer, number: int) -> int:
        import torch

        value = torch.tensor(float(number), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(value, reduce_op="max"))
