"""What a run says of its speed."""

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
from ner_module.tagging import LabelSet


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


def test_work_is_counted_as_the_profiler_counts_it(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of ``Throughput`` against torch's own count of the operations of one step."""
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: False)  # torch does not count oneDNN's products
    from torch.utils.flop_counter import FlopCounterMode

    from ner_module.extras.throughput.callback import Throughput

    module = NERModule(str(tiny_model()), dropout=0.0, padding="longest")
    module.set_labels(LabelSet(("O", "B-A", "I-A"), "iob2", "O"))
    module.build()
    lengths = [20] * 6
    counter: Any = FlopCounterMode(display=False)
    with counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        module(torch.randint(5, 90, (120,)), lengths).sum().backward()
    throughput = Throughput(Path("run"))
    throughput.on_fit_start(None, module)  # type: ignore[arg-type]
    counted = 120 * throughput._flops_per_subword + sum(n * n for n in lengths) * throughput._flops_per_pair
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_machine_is_measured() -> None:
    assert matmul_rate(torch.device("cpu"), half=False) > 0.5
    assert peak_memory(torch.device("cpu")) > 2**20
