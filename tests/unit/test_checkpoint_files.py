"""Checkpoint files: whole at every instant, and damage is always seen."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ner_module.errors import RunError
from ner_module.training import checkpoint_files
from ner_module.training.checkpoint_files import (
    copy_checkpoint,
    damage,
    remove_checkpoint,
    saved_step,
    sum_file,
    write_checkpoint,
)
from ner_module.training.runs import find_checkpoint


def content(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((5000,), float(step))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


def write(folder: Path, step: int) -> None:
    write_checkpoint(folder / "last.ckpt", lambda file: torch.save(content(step), file), step, folder / "previous.ckpt")


def step_of(path: Path) -> int:
    loaded = torch.load(path, weights_only=True)
    assert torch.equal(loaded["weights"], content(loaded["step"])["weights"])
    return int(loaded["step"])


def forget() -> None:
    """As a new process: nothing is known of any file."""
    checkpoint_files._checked.clear()


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_what_is_written(folder: Path) -> None:
    write(folder, 1)
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "last.ckpt.sha256"}
    for step in (2, 3):
        write(folder, step)
        names = {"last.ckpt", "last.ckpt.sha256", "previous.ckpt", "previous.ckpt.sha256"}
        assert {path.name for path in folder.iterdir()} == names
        for name, expected in (("last", step), ("previous", step - 1)):
            path = folder / f"{name}.ckpt"
            assert step_of(path) == saved_step(path) == expected
            forget()
            assert damage(path) is None
    remove_checkpoint(folder / "last.ckpt")
    assert {path.name for path in folder.iterdir()} == {"previous.ckpt", "previous.ckpt.sha256"}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_the_sums(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    command = ["sha256sum", "--check", "--strict", "last.ckpt.sha256", "previous.ckpt.sha256"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["last.ckpt: OK", "previous.ckpt: OK"]
    flip(folder / "last.ckpt", 9000)
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("with_sum", [True, False])
def test_every_kind_of_damage_is_seen(folder: Path, with_sum: bool) -> None:
    """Torch itself loads a flipped byte of a tensor without a word."""
    write(folder, 1)
    path = folder / "last.ckpt"
    whole = path.read_bytes()
    if not with_sum:
        sum_file(path).unlink()
    assert damage(path) is None
    flip(path, len(whole) // 2)
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], content(1)["weights"])
    assert damage(path) is not None
    for length in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert damage(path) is not None, length
    path.write_bytes(whole)
    assert damage(path) is None


@pytest.mark.parametrize("hard_links", [True, False])
def test_killed_at_every_operation(folder: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool) -> None:
    """Before each rename, removal, link and flush: the newest checkpoint that was in place is found whole."""
    states: list[Path] = []
    recording = False

    def record() -> None:
        """Keep what a process killed now would leave."""
        if recording:
            states.append(folder.parent.with_name(f"state-{len(states)}"))
            shutil.copytree(folder, states[-1] / "checkpoints")

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            record()
            return function(*arguments, **options)

        return call

    def no_link(*_: Any) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    for step in (1, 2):
        write(folder, step)
    monkeypatch.setattr(Path, "replace", wrapped(Path.replace))
    monkeypatch.setattr(Path, "unlink", wrapped(Path.unlink))
    monkeypatch.setattr(os, "link", wrapped(os.link) if hard_links else no_link)
    monkeypatch.setattr(os, "fsync", wrapped(os.fsync))
    recording = True
    write(folder, 3)
    record()
    monkeypatch.undo()
    found = []
    for state in states:
        forget()
        path = find_checkpoint("last", state)
        found.append(step_of(path))
        assert path.name == "last.ckpt", "what is in place is always recognised"
        # A process that goes on from there saves as ever.
        write(state / "checkpoints", 4)
        assert step_of(find_checkpoint("last", state)) == 4
        previous = state / "checkpoints" / "previous.ckpt"
        forget()
        assert damage(previous) is None
        assert step_of(previous) == found[-1]
    assert len(found) > 8
    assert found == sorted(found)
    assert set(found) == {2, 3}


def test_a_damaged_last_gives_way_and_is_not_kept(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, 40)
    write(folder, 50)
    flip(folder / "last.ckpt", 9000)
    forget()
    assert find_checkpoint("last", folder.parent) == folder / "previous.ckpt"
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("ner_module")]
    assert "last.ckpt is damaged" in message
    assert "saved after step 40; the 10 steps since are lost" in message
    write(folder, 45)
    assert step_of(folder / "previous.ckpt") == 40, "the damaged one does not replace the good one"
    assert step_of(find_checkpoint("last", folder.parent)) == 45


def test_a_missing_last_gives_way(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    (folder / "last.ckpt").unlink()
    assert find_checkpoint("last", folder.parent).name == "previous.ckpt"


def test_all_damaged_is_one_clear_error(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    copy_checkpoint(folder / "last.ckpt", folder / "best.ckpt")
    for name in ("last", "previous"):
        flip(folder / f"{name}.ckpt", 9000)  # best.ckpt is the same file as last.ckpt
    with pytest.raises(RunError, match=r"last.ckpt is damaged: .* no other one of this run is whole"):
        find_checkpoint("last", folder.parent)
    write(folder, 3)
    with pytest.raises(RunError, match=r"best.ckpt is damaged: .* give --ckpt_path last"):
        find_checkpoint("best", folder.parent)


def test_a_copy_keeps_its_sum(folder: Path, tmp_path: Path) -> None:
    write(folder, 7)
    target = tmp_path / "other" / "checkpoints" / "best.ckpt"
    copy_checkpoint(folder / "last.ckpt", target)
    assert saved_step(target) == step_of(target) == 7
    write(folder, 8)
    assert step_of(target) == 7
    assert damage(target) is None


def test_no_room_leaves_everything_as_it_was(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    write(folder, 1)
    write(folder, 2)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # what a full disk does to a large file
    try:
        with pytest.raises(OSError, match=r"last\.ckpt") as raised:
            write(folder, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
