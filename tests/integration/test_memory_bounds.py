"""What bounds a training's memory, and what a run says when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from run_files import results

from ner_module.model.module import NERModule
from ner_module.training.failures import is_out_of_memory


@pytest.mark.parametrize("batching", ["random", "grouped"])
def test_a_budget_of_subwords_trains_with_the_same_number_of_steps_each_epoch(
    batching: str, fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = ["--data.max_tokens", 300, "--data.batching", batching, "--trainer.max_epochs", 3]
    run_main("fit", *fit_options, *options, "--run_dir", "run")
    steps = [row["step"] for row in results(tmp_path / "run")["epochs"]]
    assert steps == [steps[0], 2 * steps[0], 3 * steps[0]]


def test_a_budget_that_is_too_small_is_one_line(fit_options: list[str], run_main: Callable[..., Outcome]) -> None:
    outcome = run_main("fit", *fit_options, "--data.max_tokens", 20, "--run_dir", "run", check=False)
    assert outcome.code == 1
    [line] = outcome.errors()
    assert line.startswith("error: --data.max_tokens: it is 20, less than twice the longest sequence")


def test_gradient_checkpointing_changes_no_loss_and_keeps_fewer_tensors(
    fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    rows = []
    for setting in ("false", "true"):
        options = ["--model.gradient_checkpointing", setting, "--trainer.max_epochs", 1, "--run_dir", setting]
        run_main("fit", *fit_options, *options)
        rows.append(results(tmp_path / setting)["epochs"])
    assert rows[0] == rows[1], "dropout included: its generator is put back"


@pytest.mark.parametrize("padding", ["none", "longest"])
def test_bf16_and_accumulation_go_the_same_way(
    padding: str, fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = ["--trainer.precision", "bf16-mixed", "--trainer.accumulate_grad_batches", 2, "--model.padding", padding]
    run_main("fit", *fit_options, *options, "--run_dir", "run")
    assert [row["step"] for row in results(tmp_path / "run")["epochs"]] == [4, 8]


@pytest.mark.parametrize("command", ["fit", "test"])
def test_memory_running_out_is_one_line_that_says_what_to_set(
    command: str,
    fit_options: list[str],
    trained_run: Path,
    run_main: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(NERModule, "forward", fail)
    options = ["--run_dir", "run", *fit_options] if command == "fit" else ["--run_dir", trained_run]
    outcome = run_main(command, *options, check=False)
    assert outcome.code == 1
    [line] = outcome.errors()
    assert line.startswith("error: memory ran out (OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB)")
    assert "--data.eval_batch_size" in line
    assert ("--data.batch_size" in line) == (command == "fit")
    assert "Traceback" not in outcome.err


def test_memory_really_running_out_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))
