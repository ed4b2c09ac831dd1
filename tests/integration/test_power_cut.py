"""The machine switched off at any moment of a training: ``--ckpt_path auto`` ends with the same weights.

Cache and run directory are on an ext4 file system of their own, in a file. A copy of that file while the training is
stopped is what is on the disk after a power cut: what was not brought there is missing or empty.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import pytest
from test_survive import OPTIONS, assert_same_run, progress, start_server

from ner_module.training.loggers import read_metrics

MOMENTS = 20

# ext4 brings a file that is renamed over another to the disk unasked; other file systems do not, and here it must not.
MOUNT_OPTIONS = "loop,noauto_da_alloc,commit=1"


def mount(image: Path, place: Path) -> str:
    """What the system says against it; nothing where the image is mounted."""
    done = subprocess.run(["mount", "-o", MOUNT_OPTIONS, image, place], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system; its image lies beside it."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting a disk image needs root and mkfs.ext4")
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(100 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if problem := mount(image, place):
        pytest.skip(f"no right to mount a file here: {problem}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=False)


@pytest.fixture
def server(disk: Path) -> Iterator[subprocess.Popen[str]]:
    """The program as in `test_survive.py`, in a process group of its own; its cache is on the disk."""
    process = start_server(disk / "cache")
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def order(server: subprocess.Popen[str], folder: Path, arguments: list[str]) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps({"folder": str(folder), "arguments": arguments, "moment": "", "signal": "SIGKILL"}))
    server.stdin.write("\n")
    server.stdin.flush()


def exit_code(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    return int(server.stdout.readline())


def copy_at_once(image: Path, copy: Path) -> None:
    """Copy what is on the disk at one moment: again, if the kernel wrote meanwhile."""
    for _ in range(20):
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        filecmp.clear_cache()
        if filecmp.cmp(image, copy, shallow=False):
            return
    pytest.fail("the image never came to rest")


def files_of(run: Path) -> set[str]:
    """What a user sees of a run, but for the last but one checkpoint, which a short training may not leave."""
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    return {name for name in names if not Path(name).name.startswith(".") and "previous" not in name}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_power_cuts_change_no_bit(
    server: subprocess.Popen[str], disk: Path, fit_options: list[str], tmp_path: Path
) -> None:
    arguments = ["fit", *fit_options, *OPTIONS, "--ckpt_path", "auto", "--run_dir", str(disk / "run")]
    log = tmp_path / "output.txt"
    phases = []
    for name in ("cold", "warm"):  # when it begins to train here, and when it ends; that of the second one
        begun = time.time()
        order(server, tmp_path, [*arguments[:-1], str(disk / name)])
        assert exit_code(server) == 0, log.read_text()
        written = [(disk / name / file).stat().st_mtime for file in ("config.yaml", "checkpoints/last.ckpt")]
        phases = [moment - begun for moment in (begun, *written, time.time())]
        shutil.rmtree(disk / "cache")
        shutil.rmtree(disk / name)

    generator = random.Random(14)
    in_phase = [count * [phase] for count, phase in zip((4, MOMENTS - 6, 2), pairwise(phases), strict=True)]
    moments = sorted(generator.uniform(*phase) for phase in chain.from_iterable(in_phase))
    order(server, tmp_path, arguments)
    for number, wait in enumerate([moments[0], *(b - a for a, b in pairwise(moments))]):
        time.sleep(wait)
        os.killpg(server.pid, signal.SIGSTOP)
        copy_at_once(tmp_path / "disk.img", tmp_path / f"cut-{number}.img")
        os.killpg(server.pid, signal.SIGCONT)
    assert exit_code(server) == 0, log.read_text()
    unbroken = tmp_path / "unbroken"
    shutil.copytree(disk / "run", unbroken)
    subprocess.run(["umount", disk], check=True)

    steps = []
    for number in range(MOMENTS):
        assert not mount(tmp_path / f"cut-{number}.img", disk)
        steps.append(progress(disk / "run"))
        order(server, tmp_path, arguments)
        assert exit_code(server) == 0, f"cut {number} after step {steps[-1]}\n{log.read_text()}"
        assert_same_run(disk / "run", unbroken)
        for name in ("config.yaml", "train_entities.json"):
            assert (disk / "run" / name).read_bytes() == (unbroken / name).read_bytes()
        assert files_of(disk / "run") == files_of(unbroken)
        steps_logged = [float(row["step"]) for row in read_metrics(disk / "run" / "metrics.csv")]
        assert steps_logged == sorted(steps_logged)
        subprocess.run(["umount", disk], check=True)
    assert "Traceback" not in log.read_text()
    assert steps == sorted(steps)
    assert len(set(steps)) > 5, f"the cuts came too close to each other: {steps}"
