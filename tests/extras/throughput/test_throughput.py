"""What a run says of its speed, and what it says when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from run_files import csv_rows, results

from ner_module.extras.cpu import linear
from ner_module.extras.throughput.callback import matmul_rate, peak_memory
from ner_module.model.module import NERModule
from ner_module.training.out_of_memory import is_out_of_memory


def test_a_run_says_how_fast_it_was(fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run_main("fit", *fit_options, "--run_dir", "run", "--trainer.log_every_n_steps", 4)
    found = results(tmp_path / "run")["throughput"]
    assert all(isinstance(value, float) for value in found.values())
    assert 0 <= found["padding"] < 0.06
    assert 0 <= found["attention_padding"] < 0.3
    parts = sum(found[f"{part}_ms"] for part in ("data", "forward", "backward", "optimizer"))
    assert parts == pytest.approx(found["step_ms"], rel=1e-3)
    assert found["subwords_per_second"] > found["sentences_per_second"] > 0
    assert 0 < found["utilization"] < 1
    assert found["utilization"] == pytest.approx(
        found["gflops_per_second"] / found["matmul_gflops_per_second"], abs=1e-3
    )
    assert found["peak_memory_mb"] > 50
    [line] = [line for line in outcome.out.splitlines() if line.startswith("Speed: ")]
    assert f"{found['sentences_per_second']:,.0f} sentences/s" in line
    logged = [row for row in csv_rows(tmp_path / "run") if row["throughput/step_ms"]]
    assert [row["step"] for row in logged] == ["3", "7", "11", "15"]


def test_padding_is_counted(fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--run_dir", "run", "--model.padding", "longest", "--trainer.max_epochs", 1)
    found = results(tmp_path / "run")["throughput"]
    assert found["padding"] == found["attention_padding"] > 0.1


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
    assert line.startswith("error: --data.max_tokens: it is 20, less than two of the longest row")


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


def test_work_is_counted_as_the_profiler_counts_it(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of ``Throughput`` against torch's own count of the operations of one step."""
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: False)  # torch does not count oneDNN's products
    from torch.utils.flop_counter import FlopCounterMode

    from ner_module.extras.throughput.callback import Throughput

    module = NERModule(str(tiny_model()), dropout=0.0, padding="longest")
    module.set_labels(["O", "B-A", "I-A"], "iob2", "O")
    module.build()
    lengths = [20] * 6
    counter: Any = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        module(torch.randint(5, 90, (120,)), lengths).sum().backward()
    throughput = Throughput(None)
    throughput.on_fit_start(None, module)  # type: ignore[arg-type]
    counted = 120 * throughput._flops_per_subword + sum(n * n for n in lengths) * throughput._flops_per_pair
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_machine_is_measured() -> None:
    assert matmul_rate(torch.device("cpu"), half=False) > 0.5
    assert peak_memory(torch.device("cpu")) > 2**20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9000 bytes."),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_memory_running_out_is_one_line_that_says_what_to_set(
    command: str,
    error: Exception,
    fit_options: list[str],
    trained_run: Path,
    run_main: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise type(error)(*error.args)  # a new one each time: notes stay on it

    monkeypatch.setattr(NERModule, "forward", fail)
    options = ["--run_dir", "run", *fit_options] if command == "fit" else ["--ckpt_path", "best"]
    if command == "test":
        options += ["--run_dir", str(trained_run)]
    outcome = run_main(command, *options, check=False)
    assert outcome.code == 1
    [line] = outcome.errors()
    assert line.startswith("error: memory ran out; the largest batch so far had ")
    assert ("--data.batch_size" if command == "fit" else "--data.eval_batch_size") in line
    assert "Traceback" not in outcome.err


def test_memory_really_running_out_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))
