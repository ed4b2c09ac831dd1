"""What a run says of its speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Outcome
from run_files import results

from ner_module.extras.throughput.callback import Throughput

CPU = torch.device("cpu")


def test_a_run_says_how_fast_it_was(fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run_main("fit", *fit_options, "--run_dir", "run", "--trainer.log_every_n_steps", 4)
    found = results(tmp_path / "run")["throughput"]
    assert all(isinstance(value, float) for value in found.values())
    # 8 steps an epoch, of 16 sentences but the last.
    assert found["sentences_per_second"] * found["step_ms"] / 1000 == pytest.approx(120 / 8, rel=0.05)
    assert found["subwords_per_second"] > found["sentences_per_second"] > 0
    assert found["peak_memory_mb"] > 50
    [line] = [line for line in outcome.out.splitlines() if line.startswith("Speed: ")]
    assert f"{found['sentences_per_second']:,.0f} sentences/s" in line


def test_a_resumed_run_that_has_only_a_validation_left_has_no_speed(tmp_path: Path) -> None:
    trainer, module = SimpleNamespace(sanity_checking=False, is_global_zero=True), SimpleNamespace(device=CPU)
    speed: Any = Throughput(tmp_path)
    speed.on_train_epoch_start(trainer, module)
    speed.on_validation_start(trainer, module)
    speed.on_fit_end(trainer, module)
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_that_was_begun_before_counts_from_now(tmp_path: Path) -> None:
    """Where training resumes within an epoch, Lightning starts the training but no epoch."""
    trainer: Any = SimpleNamespace(sanity_checking=False, is_global_zero=True, world_size=1)
    module: Any = SimpleNamespace(device=CPU)
    speed = Throughput(tmp_path)
    speed.on_train_start(trainer, module)
    speed.on_train_batch_end(trainer, module, None, {"lengths": [3, 4]}, 0)
    speed.on_validation_start(trainer, module)
    speed.on_fit_end(trainer, module)
    assert results(tmp_path)["throughput"]["step_ms"] < 1000
