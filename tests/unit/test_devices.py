"""What is chosen by the device, and what a run on the CPU of a GPU machine leaves alone. No GPU is needed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import Outcome
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from run_files import checkpoint

from ner_module.__main__ import main
from ner_module.data.batching import Plan, training_loader
from ner_module.data.datamodule import NERDataModule
from ner_module.training import cluster, distributed
from ner_module.training.distributed import TIMEOUT, choose_precision, fit_to_launcher, set_up_ddp
from ner_module.training.resume import RandomState


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """``gpu(True)``: a CUDA device with bfloat16 seems to be there, when the precision is chosen."""

    def appear(bf16: bool) -> None:
        monkeypatch.setattr(distributed, "CUDAAccelerator", SimpleNamespace(is_available=lambda: True))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)

    yield appear
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("options", "bf16", "expected"),
    [
        ({}, True, "bf16-mixed"),
        ({"accelerator": "gpu"}, True, "bf16-mixed"),
        ({}, False, "32-true"),
        ({"precision": "32-true"}, True, "32-true"),
        ({"precision": "16-mixed"}, True, "16-mixed"),
        ({"accelerator": "cpu"}, True, None),
        ({"plugins": [{"class_path": "lightning.pytorch.plugins.DoublePrecision"}]}, True, None),
    ],
)
def test_on_cuda_bfloat16_is_used_where_nothing_else_is_asked_for(
    options: dict[str, Any], bf16: bool, expected: str | None, gpu: Callable[[bool], None]
) -> None:
    gpu(bf16)
    trainer = SimpleNamespace(**{"precision": None, "accelerator": "auto", "plugins": None, **options})
    chosen = choose_precision(trainer)
    assert trainer.precision == expected
    assert chosen == (torch.get_float32_matmul_precision() == "high") == (expected != options.get("precision"))


def test_without_cuda_nothing_is_chosen() -> None:
    trainer = SimpleNamespace(precision=None, accelerator="auto", plugins=None)
    assert not choose_precision(trainer)
    assert trainer.precision is None


def test_the_run_says_and_saves_what_was_chosen(
    gpu: Callable[[bool], None], fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    gpu(True)
    options = ["--trainer.max_steps", 2, "--trainer.accumulate_grad_batches", 2, "--run_dir", "run"]
    outcome = run_main("fit", *fit_options, *options)
    [line] = [line for line in outcome.err.splitlines() if line.startswith("run  ")]
    assert "(1 x CPU, 1 thread), 32 sentences per step, precision bf16-mixed, this GPU's default" in line
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"


def test_a_step_is_that_of_all_processes_and_micro_batches() -> None:
    plan = Plan(16, "random", 42, world_size=4, accumulate=2)
    assert plan.step() == "128 sentences per step"
    assert Plan(16, "random", 42, 4096, 4).step() == "up to 16,384 subword tokens per step"


@pytest.mark.slow
def test_a_run_on_the_cpu_leaves_a_gpu_alone(
    fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: Any, **__: Any) -> None:
        raise AssertionError("the GPU was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    loaders = []

    def loader(*arguments: Any) -> Any:
        loaders.append(training_loader(*arguments))
        return loaders[-1]

    monkeypatch.setattr("ner_module.data.datamodule.training_loader", loader)
    run_main("fit", *fit_options, "--config", Path("configs/overlays/cpu.yaml").resolve(), "--run_dir", "run")
    assert [each.pin_memory for each in loaders] == [False]
    [states] = checkpoint(tmp_path / "run", "last")["callbacks"]["RandomState"]["ranks"]
    assert states["cuda"] is None


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_random_state_of_the_device_is_saved_and_restored(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, held = getattr(torch, device), [torch.tensor([1, 2], dtype=torch.uint8)]
    monkeypatch.setattr(module, "get_rng_state", lambda: held[-1])
    monkeypatch.setattr(module, "set_rng_state", held.append)
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer: Any = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)
    states: Any = RandomState()
    states.setup(trainer, None, "fit")
    saved = states.state_dict()
    held.append(torch.tensor([7], dtype=torch.uint8))
    states.load_state_dict(saved)
    assert held[-1].tolist() == [7], "not before training goes on"
    states.on_train_batch_start(trainer, None)
    assert held[-1].tolist() == [1, 2]
    del saved["ranks"][0][device]
    states.load_state_dict(saved)
    states.on_train_batch_start(trainer, None)  # a checkpoint without one


def test_loaders_pin_memory_for_cuda_only(fit_options: list[str]) -> None:
    data: Any = NERDataModule(fit_options[1], train_file=fit_options[3])
    data.prepare_data()
    data.setup("fit")
    trainer: Any = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for strategy, expected in ((trainer.strategy, False), (SimpleNamespace(root_device=torch.device("cuda")), True)):
        given = SimpleNamespace(strategy=strategy, accumulate_grad_batches=1, global_rank=0, world_size=1)
        assert training_loader(data._assembled("train"), data.hparams, given, None).pin_memory is expected


def test_ddp_sends_no_buffers_and_keeps_what_is_configured() -> None:
    for strategy in (DDPStrategy(), DDPStrategy(timeout=timedelta(minutes=3), broadcast_buffers=True)):
        configured = dict(strategy._ddp_kwargs)
        set_up_ddp(strategy)
        expected = {"broadcast_buffers": False, "gradient_as_bucket_view": True, **configured}
        assert strategy._ddp_kwargs == expected
        assert strategy._timeout == (timedelta(minutes=3) if configured else TIMEOUT)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, "backend:native"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, None),
    ],
)
def test_memory_of_a_gpu_grows_in_place_unless_told_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "")  # put back when the test is over
    del os.environ["PYTORCH_ALLOC_CONF"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with contextlib.suppress(SystemExit):
        main(["--help"])
    assert os.environ.get("PYTORCH_ALLOC_CONF") == expected


@pytest.mark.parametrize(
    ("processes", "here", "asked", "expected"),
    [
        (8, 4, "auto", {"num_nodes": 2, "devices": 4, "strategy": "ddp"}),
        (8, 4, "ddp_static", {"num_nodes": 2, "devices": 4, "strategy": "ddp_static"}),
        (1, 1, "auto", {"num_nodes": 1, "devices": 1, "strategy": "auto"}),
    ],
)
def test_a_launcher_decides_how_many(
    monkeypatch: pytest.MonkeyPatch, processes: int, here: int, asked: str, expected: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"num_nodes": 1, "devices": "auto", "strategy": asked}
    fit_to_launcher(options)
    assert options == {"num_nodes": 1, "devices": "auto", "strategy": asked}, "without a launcher nothing changes"
    for name, value in (("TORCHELASTIC_RUN_ID", "7"), ("WORLD_SIZE", processes), ("LOCAL_WORLD_SIZE", here)):
        monkeypatch.setenv(name, str(value))
    fit_to_launcher(options)
    assert options == expected


def test_the_first_process_decides_for_all_and_for_restarted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    store = torch.distributed.HashStore()
    store.set_timeout(timedelta(seconds=0.1))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def answer(rank: int, proposal: str) -> str:
        module = sys.modules["torch.distributed.rendezvous"]  # the package has a function of this name
        monkeypatch.setattr(module, "rendezvous", lambda url: iter([(store, rank, 2)]))
        return cluster.agree_on("run_dir", proposal)

    with pytest.raises(torch.distributed.DistStoreError):
        answer(1, "second")  # it waits for the first
    assert [answer(0, "first"), answer(1, "second"), answer(0, "restarted")] == ["first", "first", "first"]
