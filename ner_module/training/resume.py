"""Exact resume: options fixed by the checkpoint, random states, changed step sizes, and the best score so far."""

from __future__ import annotations

import logging
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import LambdaLR

from ner_module.data.batching import training_plan
from ner_module.errors import RunError

log = logging.getLogger(__name__)

_KEPT = {
    "model": "model_name_or_path revision learning_rate weight_decay warmup_ratio lr_scheduler_type dropout "
    "head_learning_rate layer_decay freeze crf distillation",
    "data": "max_seq_length stride context_size documents label_all_tokens scheme outside_label label_map batching "
    "validation_fraction seed",
}


def keep_options(options: Any, checkpoint: dict[str, Any]) -> None:
    """Replace the options of ``fit`` that a checkpoint fixes by its values, and warn of each that differs.

    So the saved configuration is the one in effect. Data, step size and trainer options can be changed.

    Raises:
        RunError: the training would end before the checkpoint's position.
    """
    aligned = checkpoint["NERDataModule"]
    for unit, done in (
        ("epochs", (aligned.get("position") or {"epoch": 0})["epoch"]),
        ("steps", checkpoint["global_step"]),
    ):
        if 0 < (asked := options.trainer[f"max_{unit}"] or 0) < done:
            problem = f"--trainer.max_{unit} {asked}: {done:,} {unit} are done before"
            raise RunError(f"{problem}; give more, or train from scratch")
    saved = {"model": checkpoint["hyper_parameters"], "data": checkpoint.get("datamodule_hyper_parameters", {})}
    for section, names in _KEPT.items():
        for name in names.split():
            asked = options[section][name]
            kept = saved[section].get(name, asked)
            if name == "label_map":
                kept = {**aligned.get(name, {}), **(asked or {})} or asked
            elif kept is None and asked is not None:
                kept = aligned.get(name)
            if asked != kept:
                option = "--seed_everything" if name == "seed" else f"--{section}.{name}"
                effect = f"no effect: training resumes from a checkpoint made with {kept}"
                log.warning("%s %s has %s. To train from scratch, omit --ckpt_path.", option, asked, effect)
                options[section][name] = kept
    if saved["data"].get("validation_file") and not options.data.validation_file and options.data.validation_fraction:
        log.warning("--data.validation_file null holds out sentences that the checkpoint learnt: F1 is too high")
    options.seed_everything = options.data.seed
    for name in ("model_name_or_path", "revision"):
        options.data[name] = options.model[name]


def epoch_is_complete(trainer: Trainer) -> bool:
    """Whether the last batch of the epoch is done, not only the last one before `max_steps` or `max_time`."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


class RelocatableCheckpoint(ModelCheckpoint):
    """A ``ModelCheckpoint`` that keeps the best score when training resumes from another path.

    Lightning's forgets it if the directory was renamed, and overwrites the best checkpoint with the next one. Here the
    score is kept if its checkpoint is in the run directory.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state with the current paths."""
        best = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if best.is_file():
            path, scores = str(best), [torch.tensor(float(score)) for score in state_dict["best_k_models"].values()]
            if not all(map(torch.isfinite, scores)):  # no later score would be better
                raise ValueError(f"the score of {path} is not a number")
            paths: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
            paths |= {"best_k_models": {path: scores[0]} if scores else {}, "last_model_path": ""}
            paths |= dict.fromkeys(("best_model_score", "kth_value"), scores[0]) if scores else {}
            super().load_state_dict(state_dict | paths)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save only after complete epochs: `PreemptionCheckpoint` saves at the end of interrupted ones."""
        if epoch_is_complete(trainer):
            super().on_train_epoch_end(trainer, pl_module)


class ChangedPlan(Callback):
    """Resumes with a different number of sentences per step, whichever option changed it.

    An epoch in progress continues with the next sentence of its order. Lightning counts micro-batches and the schedule
    counts steps: both are converted to the new plan, so that the learning rate continues and reaches its end.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Convert the counts, before Lightning restores its loops; a schedule's state is its count only."""
        for state in checkpoint.get("lr_schedulers", []):
            for name in state.keys() - {"last_epoch", "_step_count"}:
                del state[name]
            state["lr_lambdas"] = []
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        begun = data.begun
        if trainer.state.fn != "fit" or begun is None:
            return
        then, now = begun.plan, training_plan(data.hparams, trainer)
        if then == now:
            return
        before, after = asdict(then), asdict(now)
        changes = ", ".join(f"{name} {before[name]} -> {after[name]}" for name in after if before[name] != after[name])
        log.warning(
            "training resumes with another step (%s), at the next sentence; results differ slightly from those of an "
            "uninterrupted run",
            changes,
        )
        trainer.fit_loop.setup_data()
        sampler, progress = data.sampler, checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        if progress["processed"]:
            finished = sampler.rest()[1] if begun.batches else trainer.num_training_batches
            change = finished - progress["processed"]
            for name in progress:
                progress[name] += change
        if trainer.max_steps < 0 and trainer.limit_train_batches == 1.0:
            steps = [-(-plan.count(sampler.lengths) // plan.accumulate) for plan in (then, now)]
            for state in checkpoint["lr_schedulers"]:
                state["last_epoch"] = round(state["last_epoch"] * steps[1] / steps[0])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the rate of the first step from the current schedule, whose end may have changed.

        With `max_steps` Lightning repeats the epoch that a checkpoint completed, without a step.
        """
        loop = trainer.fit_loop
        if loop.restarted_on_epoch_end:
            loop._restarting = loop.epoch_loop.restarting = False
            loop.reset_restart_stage()
            loop.epoch_loop.reset_restart_stage()
            loop.epoch_progress.increment_completed()
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            if isinstance(scheduler, LambdaLR):
                rates = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
                for group, base, factor in rates:
                    group["lr"] = base * factor(scheduler.last_epoch)
                scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]


class RandomState(Callback):
    """Saves and restores the random states of Python, NumPy and torch (CPU, CUDA, MPS) in each process.

    Each process has its own random stream: with a common one, dropout would drop the same units in all parts of a
    batch. States are restored at the first batch after loading, since creating loaders and iterators draws from them.
    """

    def __init__(self) -> None:
        self._rank, self._world_size, self._device = 0, 1, "cpu"
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record rank, number of processes and device."""
        self._rank, self._world_size = trainer.global_rank, trainer.world_size
        self._device = trainer.strategy.root_device.type

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reseed every process but the first, which keeps the stream of a single-process run."""
        if self._loaded is None and self._rank > 0:
            seed = (torch.initial_seed() + self._rank) % 2**32
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes as plain lists and tensors, as loading with ``weights_only`` requires."""
        # If a resumed run only had an evaluation to finish, the loaded state was never restored, and is still valid.
        mine = self._loaded or _state(self._device)
        states: list[Any] = [mine]
        if self._world_size > 1:
            states = [None] * self._world_size
            torch.distributed.all_gather_object(states, mine)
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep this process's state until training resumes; added processes have none."""
        states = state_dict["ranks"]
        self._loaded = states[self._rank] if self._rank < len(states) else None
        if self._loaded is not None:  # restored once, so that an invalid state is reported as the checkpoint's
            mine = _state(self._device)
            _restore(self._loaded, self._device)
            _restore(mine, self._device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Restore the state, once."""
        if self._loaded is not None:
            _restore(self._loaded, self._device)
            self._loaded = None


def _state(device: str) -> dict[str, Any]:
    """The states of this process; a CPU run skips GPUs, since reading their state would allocate memory there."""
    numpy_state: Any = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [numpy_state[1].tolist(), *numpy_state[2:]],
        "torch": torch.get_rng_state(),
        **{name: getattr(torch, name).get_rng_state().cpu() if name == device else None for name in ("cuda", "mps")},
    }


def _restore(state: dict[str, Any], device: str) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(("MT19937", *state["numpy"]))
    torch.set_rng_state(state["torch"].cpu())
    if (own := state.get(device)) is not None:  # checkpoints from other devices have none
        getattr(torch, device).set_rng_state(own.cpu())
