"""What of a checkpoint's training state is taken when training resumes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ner_module.training.resume import ChangedPlan, RelocatableCheckpoint


def test_of_a_schedule_the_counts_are_taken() -> None:
    scheduler = LambdaLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5), lambda step: 1 / (1 + step))
    state = {**scheduler.state_dict(), "last_epoch": 4, "base_lrs": [9.0], "optimizer": "x", "lr_lambdas": [{"a": 1}]}
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(begun=None), state=SimpleNamespace(fn="fit"))
    ChangedPlan().on_load_checkpoint(trainer, None, {"lr_schedulers": [state]})  # type: ignore[arg-type]
    scheduler.load_state_dict(state)
    trainer.fit_loop = SimpleNamespace(restarted_on_epoch_end=False)
    trainer.lr_scheduler_configs = [SimpleNamespace(scheduler=scheduler)]
    ChangedPlan().on_train_start(trainer, None)  # type: ignore[arg-type]
    rates = [pytest.approx(0.5 / 5)]
    assert scheduler.get_last_lr() == rates, "also where no step follows"
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == rates
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [pytest.approx(0.5 / 6)]


@pytest.mark.parametrize("score", ["x", float("nan"), torch.ones(2)])
def test_a_best_score_that_is_no_number_is_refused(score: Any, tmp_path: Path) -> None:
    (tmp_path / "best.ckpt").touch()
    saved = RelocatableCheckpoint(tmp_path, filename="best", monitor="val/f1", mode="max")
    state = {**saved.state_dict(), "best_model_path": "/elsewhere/best.ckpt", "best_k_models": {"x": score}}
    with pytest.raises(ValueError):
        RelocatableCheckpoint(tmp_path, filename="best", monitor="val/f1", mode="max").load_state_dict(state)
