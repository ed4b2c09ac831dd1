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

import pytest
import torch

ROOT = Path(__file__).parents[2]


def _start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ner_module", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _rows(run: Path) -> int:
    path = run / "results.json"
    return len(json.loads(path.read_text())["epochs"]) if path.exists() else 0


def test_ctrl_c_saves_leaves_best_alone_and_says_how_to_resume(
    fit_options: list[str], tmp_path: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = tmp_path / "run"
    process = _start(["fit", *fit_options, "--trainer.max_epochs", "400", "--run_dir", str(run)], tmp_path)
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
    done = program("fit", "--run_dir", run, "--ckpt_path", "last", "--trainer.max_steps", steps)
    assert "Traceback" not in done.stdout + done.stderr
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] >= last["global_step"]


@pytest.mark.slow  # test_survive.py kills one in the fast tier
def test_interrupted_and_resumed_equals_uninterrupted(
    fit_options: list[str], tmp_path: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Stopping in the middle of an epoch changes no digit of the results or the weights, dropout included."""
    options = [*fit_options, "--model.dropout", "0.1", "--trainer.max_epochs", "3"]
    program("fit", *options, "--run_dir", "whole")
    script = (
        "import os, signal, sys\n"
        "from lightning.pytorch import Callback\n"
        "from ner_module import cli\n"
        "class Interrupt(Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, batch_idx):\n"
        "        if trainer.global_step == 11: os.kill(os.getpid(), signal.SIGINT)\n"
        "build = cli.build_trainer\n"
        "def watched(*arguments):\n"
        "    trainer = build(*arguments); trainer.callbacks.append(Interrupt()); return trainer\n"
        "cli.build_trainer = watched\n"
        "from ner_module.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    stopped = subprocess.run(
        [sys.executable, "-c", script, "fit", *options, "--run_dir", "parts"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert stopped.returncode == 130, stopped.stdout + stopped.stderr
    last = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 12, "saved after the step that was running, in the middle of the second epoch of 8"
    program("fit", "--run_dir", "parts", "--ckpt_path", "last")
    rows = [json.loads((tmp_path / name / "results.json").read_text())["epochs"] for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
