"""Killed at any moment and started again: the same weights, to the last bit, as a training nobody disturbed.

The runs have dropout, accumulation over 2 batches, two loader workers and a validation in the middle of each epoch.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
STEPS = 3 * 4  # 120 sentences in batches of 16, accumulated by 2: 8 batches and 4 steps an epoch

OPTIONS = [
    *("--model.dropout", "0.1", "--trainer.max_epochs", "3", "--trainer.accumulate_grad_batches", "2"),
    *("--data.num_workers", "2", "--trainer.val_check_interval", "0.5", "--data.eval_batch_size", "8"),
    *("--save_every_steps", "1", "--trainer.enable_progress_bar", "false"),
]

# Runs the program, each time in a process of its own (forked, for importing torch takes seconds), and sends it a signal
# at a given moment: `step:7` in the 7th forward pass, `write:5:3` in the 5th checkpoint after 3 pieces were written,
# `rename:5` before its 5th rename of a checkpoint file, `validation:2:1` after the first batch of the 2nd validation.
HARNESS = """
import json, os, signal, sys
import ner_module.cli
seen = {"step": 0, "write": 0, "piece": 0, "rename": 0, "validation": 0}
def strike(): os.kill(os.getpid(), signum)
from ner_module.training import checkpoint_files
from ner_module.model.module import NERModule
training_step, validation_step = NERModule.training_step, NERModule.validation_step
def step(self, batch, batch_idx):
    seen["step"] += 1
    if moment == "step" and seen["step"] == numbers[0]: strike()
    return training_step(self, batch, batch_idx)
def validate(self, batch, batch_idx):
    seen["validation"] += batch_idx == 0
    if moment == "validation" and [seen["validation"], batch_idx] == numbers: strike()
    return validation_step(self, batch, batch_idx)
NERModule.training_step, NERModule.validation_step = step, validate
begin, write = checkpoint_files._Writer.__init__, checkpoint_files._Writer.write
def beginning(self, file):
    seen["write"] += 1; seen["piece"] = 0; begin(self, file)
def writing(self, data):
    seen["piece"] += 1
    if moment == "write" and [seen["write"], seen["piece"]] == numbers: self._file.flush(); strike()
    return write(self, data)
checkpoint_files._Writer.__init__, checkpoint_files._Writer.write = beginning, writing
from pathlib import Path
replace = Path.replace
def renaming(self, target):
    seen["rename"] += str(self).count(".ckpt") > 0
    if moment == "rename" and seen["rename"] == numbers[0]: strike()
    return replace(self, target)
Path.replace = renaming
from ner_module.__main__ import main
def run(order):
    global moment, numbers, signum
    os.chdir(order["folder"])
    log = os.open("output.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1); os.dup2(log, 2)
    moment, *numbers = order["moment"].split(":")
    numbers, signum = [int(number) for number in numbers], getattr(signal, order["signal"])
    code = 1
    try:
        code = main(order["arguments"])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback; traceback.print_exc()
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(code)
for line in sys.stdin:
    child = os.fork()
    if not child:
        run(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


Start = Callable[..., int]


def start_server(cache: Path) -> subprocess.Popen[str]:
    """The program, waiting for orders, in a process group of its own."""
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", HARNESS],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    process = start_server(tmp_path_factory.getbasetemp() / "cache")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def start(server: subprocess.Popen[str], tmp_path: Path) -> Start:
    """``start(arguments, moment, signal)`` runs the program and returns its exit code."""

    def run(arguments: list[str], moment: str = "", signal_name: str = "SIGKILL") -> int:
        order = {"folder": str(tmp_path), "arguments": arguments, "moment": moment, "signal": signal_name}
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        log = (tmp_path / "output.txt").read_text()
        assert "Traceback" not in log, log
        return code

    return run


def last(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded


def assert_same_run(run: Path, unbroken: Path) -> None:
    """Weights, optimiser, schedule, generators and the table of results."""
    found, expected = last(run), last(unbroken)
    assert found["global_step"] == expected["global_step"] == STEPS
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor), name
    for index, state in expected["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(
                torch.as_tensor(found["optimizer_states"][0]["state"][index][name]), torch.as_tensor(value)
            )
    assert found["lr_schedulers"] == expected["lr_schedulers"]
    states = [checkpoint["callbacks"]["RandomState"]["ranks"][0] for checkpoint in (found, expected)]
    assert torch.equal(states[0]["torch"], states[1]["torch"])
    assert states[0]["python"] == states[1]["python"]
    assert states[0]["numpy"] == states[1]["numpy"]
    rows = [json.loads((folder / "results.json").read_text())["epochs"] for folder in (run, unbroken)]
    assert rows[0] == rows[1]
    best = [torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) for folder in (run, unbroken)]
    assert best[0]["global_step"] == best[1]["global_step"]


@pytest.fixture
def unbroken(start: Start, fit_options: list[str], tmp_path: Path) -> Path:
    assert start(["fit", *fit_options, *OPTIONS, "--run_dir", "unbroken"]) == 0
    return tmp_path / "unbroken"


def progress(run: Path) -> int:
    """The step of the newest whole checkpoint."""
    from ner_module.errors import RunError
    from ner_module.training.runs import find_checkpoint

    try:
        path = find_checkpoint("last", run)
    except RunError:
        return 0
    step: int = torch.load(path, weights_only=True)["global_step"]
    return step


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_change_no_bit(start: Start, fit_options: list[str], unbroken: Path, tmp_path: Path) -> None:
    """Ten runs, each killed twice at random; a third of the kills while a checkpoint is being written."""
    generator = random.Random(6)
    moments = [
        generator.choice(
            [
                f"step:{generator.randint(1, 14)}",
                f"write:{generator.randint(1, 6)}:{generator.randint(1, 40)}",
                f"rename:{generator.randint(1, 12)}",
                f"validation:{generator.randint(1, 3)}:{generator.randint(0, 3)}",
            ]
        )
        for _ in range(20)
    ]
    options = ["fit", *fit_options, *OPTIONS, "--ckpt_path", "auto"]
    killed = 0
    for number in range(10):
        run = tmp_path / f"run-{number}"
        for moment in moments[2 * number : 2 * number + 2]:
            before = progress(run)
            code = start([*options, "--run_dir", str(run)], moment)
            killed += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL), (tmp_path / "output.txt").read_text()
            assert progress(run) >= before
        assert start([*options, "--run_dir", str(run)]) == 0
        assert_same_run(run, unbroken)
    assert killed >= 18, "a run may have ended before its kill came"


def test_killed_once_while_saving(start: Start, fit_options: list[str], unbroken: Path, tmp_path: Path) -> None:
    """The fast one of the test above: killed before the new checkpoint has its name, in the middle of an epoch."""
    options = ["fit", *fit_options, *OPTIONS, "--run_dir", "run", "--ckpt_path", "auto"]
    assert start(options, "rename:12") == -signal.SIGKILL
    assert 0 < progress(tmp_path / "run") < STEPS
    assert start(options) == 0
    assert_same_run(tmp_path / "run", unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
@pytest.mark.parametrize("moment", ["step:3", "step:8", "validation:1:0", "validation:2:2", "validation:6:1"])
def test_told_to_stop(
    start: Start, fit_options: list[str], unbroken: Path, tmp_path: Path, name: str, moment: str
) -> None:
    """Saved at the next whole state, also before and within a validation, and nothing is done twice or left out."""
    options = ["fit", *fit_options, *OPTIONS, "--save_every_steps", "null", "--run_dir", "run", "--ckpt_path", "auto"]
    code = start(options, moment, name)
    assert code == {"SIGTERM": 143, "SIGUSR1": 75, "SIGINT": 130}[name]
    assert start(options) == 0
    assert_same_run(tmp_path / "run", unbroken)
