"""One run directory, one training: locks, restarts without a checkpoint, terminals and disks that go away."""

from __future__ import annotations

import contextlib
import csv
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_files import SHORT_RUN_FILES, files_in, results

from ner_module.training.runs import run_lock

ROOT = Path(__file__).parents[2]
RunMain = Callable[..., Any]

HOLD = """
import sys, time
from pathlib import Path
from ner_module.training.runs import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def _start(*command: str, folder: Path, cache: Path, **options: Any) -> subprocess.Popen[bytes]:
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env={**os.environ, **variables}, **options)


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_training_in_a_directory_is_refused_until_the_first_is_dead(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, cache: Path
) -> None:
    holder = _start("-c", HOLD, "run", folder=tmp_path, cache=cache, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    for arguments in (["--ckpt_path", "auto"], []):
        outcome = run_main("fit", *fit_options, "--run_dir", "run", *arguments, check=False)
        assert outcome.code == 1
        assert f"error: run is in use by process {holder.pid} on " in outcome.errors()[0]
    assert files_in(tmp_path / "run") == {".lock"}
    holder.kill()
    holder.wait()
    run_main("fit", *fit_options, "--run_dir", "run", "--ckpt_path", "auto")
    assert files_in(tmp_path / "run") == SHORT_RUN_FILES | {"checkpoints/previous.ckpt"}


def test_a_lock_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with run_lock(tmp_path / "run"):
            assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {os.getpid()} on ")
        assert not (tmp_path / "run").exists()


def test_auto_starts_anew_after_a_kill_before_the_first_checkpoint(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, cache: Path
) -> None:
    arguments = ["fit", *fit_options, "--run_dir", "run", "--ckpt_path", "auto"]
    run_main(*arguments, "--trainer.enable_checkpointing", "false")  # the files of a run, none of them a checkpoint
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "metrics.csv").write_bytes(b"step,train/loss\n1,2.0\n" + bytes(40))
    (run / "results.json").write_text("")  # a power cut
    run_main(*arguments)
    assert [row["epoch"] for row in results(run)["epochs"]] == [1.0, 2.0]
    assert b"\0" not in (run / "metrics.csv").read_bytes()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_auto_leaves_the_files_of_others_alone(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text('{"thesis": 1}')
    outcome = run_main("fit", *fit_options, "--run_dir", "run", "--ckpt_path", "auto", check=False)
    assert outcome.errors() == ["error: run/results.json is not this program's: choose another --run_dir"]
    assert (tmp_path / "run" / "results.json").read_text() == '{"thesis": 1}'


@pytest.mark.parametrize("damage", ["", "\0\0\0\0"])
def test_damaged_results_are_written_anew_on_resume(
    damage: str, run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    run_main("fit", *fit_options, "--run_dir", "run")
    run = tmp_path / "run"
    for name in ("results.json", "metrics.csv", "config.yaml"):
        (run / name).write_text(damage)
    outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "auto", "--trainer.max_epochs", "3")
    assert [row["epoch"] for row in results(run)["epochs"]] == [1.0, 2.0, 3.0], outcome.err
    assert "config.yaml" in outcome.err


@pytest.mark.slow
def test_a_closed_terminal_does_not_end_a_training(fit_options: list[str], tmp_path: Path, cache: Path) -> None:
    """It gets SIGHUP, and its output has nowhere to go."""
    ours, theirs = pty.openpty()
    process = _start(
        *("-m", "ner_module", "fit", *fit_options, "--run_dir", "run", "--trainer.max_epochs", "12"),
        *("--save_every_minutes", "0"),
        folder=tmp_path, cache=cache, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    _wait_for((tmp_path / "run" / "checkpoints" / "best.ckpt").is_file)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 0
    assert len(results(tmp_path / "run")["epochs"]) == 12
    assert files_in(tmp_path / "run") >= SHORT_RUN_FILES


@pytest.mark.slow
def test_a_reader_that_ends_does_not_end_a_training(fit_options: list[str], tmp_path: Path, cache: Path) -> None:
    process = _start(
        *("-m", "ner_module", "fit", *fit_options, "--run_dir", "run"),
        folder=tmp_path, cache=cache, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert files_in(tmp_path / "run") >= SHORT_RUN_FILES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_costs_a_warning_not_the_training(
    small_disk: Path, fit_options: list[str], tmp_path: Path, cache: Path
) -> None:
    """Results, metrics and checkpoints cannot be written for a while; then there is room again."""
    process = _start(
        *("-m", "ner_module", "fit", *fit_options, "--run_dir", "disk/run", "--trainer.max_epochs", "60"),
        folder=tmp_path, cache=cache, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    run = small_disk / "run"
    _wait_for((run / "checkpoints" / "previous.ckpt").is_file)
    with contextlib.suppress(OSError), (small_disk / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    seen = b""
    while b"results.json could not be written (No space left on device)" not in seen:
        line = process.stdout.readline()
        assert line, seen.decode()
        seen += line
    (small_disk / "fill").unlink()
    seen += process.stdout.read()
    assert process.wait(timeout=120) == 0, seen.decode()
    assert len(results(run)["epochs"]) == 60
    steps = [row["step"] for row in csv.DictReader((run / "metrics.csv").open()) if row["val/loss"]]
    assert steps == [str(8 * epoch - 1) for epoch in range(1, 61)], "none is lost"
