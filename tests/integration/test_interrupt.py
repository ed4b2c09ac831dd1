"""Ctrl-C during training, and resuming from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]


def _rows(run: Path) -> int:
    path = run / "results.json"
    return len(json.loads(path.read_text())["epochs"]) if path.exists() else 0


def test_ctrl_c_saves_leaves_best_alone_and_says_how_to_resume(
    fit_options: list[str], tmp_path: Path, run_main: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "ner_module", "fit", *fit_options, "--trainer.max_epochs", "400", "--run_dir", str(run)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while _rows(run) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    best = run / "checkpoints" / "best.ckpt"
    before = best.read_bytes()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"fit --run_dir {run} --ckpt_path last" in output
    if _rows(run) == 3:  # else an epoch ended, and may have been the best, between reading the file and the signal
        assert best.read_bytes() == before
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] > 0

    steps = last["global_step"] + 8
    run_main("fit", "--run_dir", run, "--ckpt_path", "last", "--trainer.max_steps", steps)
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
