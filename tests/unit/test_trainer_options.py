"""Options and callbacks of the trainer that are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import Namespace
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import callbacks
from lightning.pytorch.plugins import AsyncCheckpointIO
from lightning.pytorch.strategies import SingleDeviceStrategy

from ner_module.errors import RunError
from ner_module.training.checkpoints import DurableCheckpointIO
from ner_module.training.distributed import with_own_plugins
from ner_module.training.trainer_options import check_callbacks, check_trainer

GIVEN = Namespace(
    **dict.fromkeys(("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches", "num_nodes"), 1),
    **dict.fromkeys(("check_val_every_n_epoch", "val_check_interval", "gradient_clip_val"), 1.0),
    **dict.fromkeys(("overfit_batches", "barebones", "logger", "model_registry"), False),
    strategy="auto",
    max_time=None,
    min_epochs=None,
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(({name: 0}, f"--trainer.{name}: it is 0")
          for name in ("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches",
                       "check_val_every_n_epoch", "val_check_interval")),
        ({"accumulate_grad_batches": -1}, "accumulate_grad_batches: it is -1"),
        ({"check_val_every_n_epoch": -2}, "check_val_every_n_epoch: it is -2"),
        ({"min_epochs": 5}, "min_epochs: it exceeds --trainer.max_epochs 1"),
        ({"max_time": {"minutes": -1}}, "max_time: it is .* give days, hours"),
        ({"max_time": {"minuets": 1}}, "max_time: it is .* give days, hours"),
        ({"gradient_clip_val": -1}, "gradient_clip_val: it is -1"),
        ({"logger": True}, "logger true: name one"),
        ({"max_time": "12:00"}, "max_time: it is 12:00; give days, hours, minutes and seconds"),
        ({"max_time": "00:00:00:00"}, "max_time: it is 00:00:00:00; give"),
        ({"overfit_batches": 2}, "give a small --data.train_file"),
        ({"model_registry": "team/tagger"}, "model_registry has no effect here: `export`"),
        ({"barebones": True}, "--trainer.barebones is .*fast_dev_run"),
        ({"strategy": "ddp_fork"}, "ddp_fork .* give ddp, or start it with torchrun"),
        ({"strategy": Namespace(init_args=Namespace(start_method="spawn"))}, "spawn .* give ddp"),
        ({"strategy": "ddp", "num_nodes": 2}, "num_nodes 2: .* torchrun or srun"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    check_trainer(GIVEN)
    check_trainer(Namespace({**GIVEN.as_dict(), "max_steps": -1, "max_time": {"minutes": 1}, "min_epochs": 1}))
    with pytest.raises(RunError, match=said):
        check_trainer(Namespace({**GIVEN.as_dict(), **options}))


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (callbacks.LearningRateFinder(), "LearningRateFinder: .* --model.learning_rate"),
        (callbacks.BatchSizeFinder(), "BatchSizeFinder: .* --data.max_tokens"),
        (callbacks.GradientAccumulationScheduler({1: 2}), "GradientAccumulationScheduler: .*accumulate_grad_batches"),
        (callbacks.Timer(), "Timer: .* --trainer.max_time"),
        (callbacks.ModelPruning("l1_unstructured"), "ModelPruning: .* exported model"),
        (callbacks.OnExceptionCheckpoint("x"), "OnExceptionCheckpoint: .* resume from its file"),
        (callbacks.ModelCheckpoint(filename="best"), "ModelCheckpoint: best.ckpt .* another filename"),
        (callbacks.ModelCheckpoint(save_last=True), "ModelCheckpoint: .* no save_last"),
        (callbacks.EarlyStopping("val/f2"), "'val/f2', which does not exist: give one of .*val/f1, .*val/f1/TYPE"),
        (callbacks.EarlyStopping("train_loss"), "'train_loss', which does not exist: give one of .* train/loss"),
        (
            callbacks.EarlyStopping("val/f1_macro"),
            "EarlyStopping monitors val/f1_macro with mode min: .* mode: max",
        ),
        (
            callbacks.ModelCheckpoint(monitor="val/f1"),
            "ModelCheckpoint monitors val/f1 with mode min: .* mode: max",
        ),
        (callbacks.ModelCheckpoint(monitor="val/loss", mode="max"), "val/loss with mode max: .* give mode: min"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_callbacks_that_would_do_nothing(callback: Any, said: str) -> None:
    check_callbacks([callbacks.EarlyStopping("val/recall/PER", mode="max"), callbacks.EarlyStopping("train/loss")])
    with pytest.raises(RunError, match=said):
        check_callbacks([callback])


@pytest.mark.parametrize("kind", [AsyncCheckpointIO, TorchCheckpointIO, DurableCheckpointIO])
def test_plugins_that_save_are_refused_wherever_they_are_given(kind: Any) -> None:
    assert [type(own).__name__ for own in with_own_plugins([], "auto")][:1] == ["DurableCheckpointIO"]
    for given in ([kind()], "auto"), ([], SingleDeviceStrategy("cpu", checkpoint_io=kind())):
        with pytest.raises(RunError, match=rf"^{kind.__name__} would replace .* survives a power cut .*: leave it out"):
            with_own_plugins(*given)
