"""What a run says of its speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from run_files import results


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
