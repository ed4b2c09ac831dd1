"""Checkpoint files: whole at every instant, and damage is always seen."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ner_module.errors import RunError
from ner_module.training import checkpoint_files
from ner_module.training.checkpoint_files import copy_checkpoint, damage, write_checkpoint
from ner_module.training.runs import find_checkpoint


def content(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((5000,), float(step))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


def write(folder: Path, step: int) -> None:
    write_checkpoint(folder / "last.ckpt", lambda file: torch.save(content(step), file), folder / "previous.ckpt")


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
    assert {path.name for path in folder.iterdir()} == {"last.ckpt"}
    for step in (2, 3):
        write(folder, step)
        assert {path.name for path in folder.iterdir()} == {"last.ckpt", "previous.ckpt"}
        assert step_of(folder / "last.ckpt") == step
        assert step_of(folder / "previous.ckpt") == step - 1
        forget()
        assert damage(folder / "last.ckpt") is None
        assert damage(folder / "previous.ckpt") is None


def test_every_kind_of_damage_is_detected(folder: Path) -> None:
    """Torch itself loads a flipped byte of a tensor without a word."""
    write(folder, 1)
    path = folder / "last.ckpt"
    whole = path.read_bytes()
    forget()
    assert damage(path) is None
    flip(path, len(whole) // 2)
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], content(1)["weights"])
    forget()
    assert damage(path) is not None
    for length in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert damage(path) is not None, length
    path.write_bytes(whole)
    forget()
    assert damage(path) is None


def test_killed_at_every_operation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each rename, removal and flush: the newest checkpoint that was in place is found whole."""
    states: list[Path] = []

    def record() -> None:
        """Copy what a process killed now would leave."""
        states.append(folder.parent.with_name(f"state-{len(states)}"))
        shutil.copytree(folder, states[-1] / "checkpoints")

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            record()
            return function(*arguments, **options)

        return call

    for step in (1, 2):
        write(folder, step)
    with monkeypatch.context() as patched:
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
            patched.setattr(owner, name, recorded(getattr(owner, name)))
        write(folder, 3)
        record()
    found = []
    for state in states:
        forget()
        found.append(step_of(find_checkpoint("last", state)))
        # A process that resumes from there saves as usual.
        write(state / "checkpoints", 4)
        forget()
        assert step_of(find_checkpoint("last", state)) == 4
        assert {path.name for path in (state / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}
        assert damage(state / "checkpoints" / "previous.ckpt") is None
        assert step_of(state / "checkpoints" / "previous.ckpt") == found[-1]
    assert len(found) > 6
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
    for name in ("best", "last", "previous"):
        flip(folder / f"{name}.ckpt", 9000)
    forget()
    with pytest.raises(RunError, match=r"last.ckpt is damaged: .* no other checkpoint is intact"):
        find_checkpoint("last", folder.parent)
    write(folder, 3)
    with pytest.raises(RunError, match=r"best.ckpt is damaged: .* give --ckpt_path last"):
        find_checkpoint("best", folder.parent)


def test_a_copy_is_independent(folder: Path, tmp_path: Path) -> None:
    write(folder, 7)
    target = tmp_path / "other" / "checkpoints" / "best.ckpt"
    copy_checkpoint(folder / "last.ckpt", target)
    write(folder, 8)
    assert step_of(target) == 7
    assert {path.name for path in target.parent.iterdir()} == {"best.ckpt"}


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
