"""A file written in pieces: what is whole survives, what is torn does not, and only the same content is continued."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ner_module.errors import RunError
from ner_module.training.resumable_file import ResumableFile

OF = {"input": "a", "checkpoint": "b"}


def attempt(path: Path, of: dict[str, str] = OF) -> tuple[ResumableFile, int]:
    file = ResumableFile(path, of)
    return file, file.open()


def test_appears_when_finished_and_leaves_nothing_else(tmp_path: Path) -> None:
    file, done = attempt(tmp_path / "new" / "out.jsonl")
    assert done == 0
    file.write(["one", "zwei ü"], 2)
    assert not (tmp_path / "new" / "out.jsonl").exists()
    file.finish()
    assert (tmp_path / "new" / "out.jsonl").read_bytes() == "one\nzwei ü\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("torn", [b"", b"thr", b"three\nfo"])
def test_goes_on_after_the_last_whole_piece(tmp_path: Path, torn: bytes) -> None:
    file, _ = attempt(tmp_path / "out")
    file.write(["one"], 1)
    file.write(["two"], 2)
    file.close()
    with file.part.open("ab") as part:  # killed while it wrote the third piece
        part.write(torn)
    file, done = attempt(tmp_path / "out")
    assert done == 2
    file.write(["three"], 3)
    file.finish()
    assert (tmp_path / "out").read_text() == "one\ntwo\nthree\n"


def test_other_content_starts_anew(tmp_path: Path) -> None:
    file, _ = attempt(tmp_path / "out")
    file.write(["one"], 1)
    file.close()
    file, done = attempt(tmp_path / "out", {**OF, "input": "c"})
    assert done == 0
    file.write(["uno"], 1)
    file.finish()
    assert (tmp_path / "out").read_text() == "uno\n"


@pytest.mark.parametrize("damage", ["shorter", "no part", "no note", "bad note", "other note", "other part"])
def test_what_does_not_fit_together_starts_anew(tmp_path: Path, damage: str) -> None:
    file, _ = attempt(tmp_path / "out")
    file.write(["one", "two"], 2)
    file.close()
    note = tmp_path / "out.part.json"
    if damage == "shorter":
        os.truncate(file.part, 3)
    elif damage == "no part":
        file.part.unlink()
    elif damage == "other part":
        file.part.write_text("one\ntwp\n")
    elif damage == "other note":
        note.write_text(note.read_text().replace('"items": 2', '"items": 3'))
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text("{")
    file, done = attempt(tmp_path / "out")
    assert done == 0
    file.finish()
    assert (tmp_path / "out").read_text() == ""


def test_an_earlier_result_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old\n")
    file, _ = attempt(tmp_path / "out")
    file.write(["new"], 1)
    assert (tmp_path / "out").read_text() == "old\n"
    file.finish()
    assert (tmp_path / "out").read_text() == "new\n"


def test_a_pipe_is_written_to_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    file, done = attempt(pipe)
    file.write(["one"], 1)
    file.finish()
    reader.join(10)
    assert (read, done) == (["one\n"], 0)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_said_of_the_file() -> None:
    file, _ = attempt(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        file.write(["one"], 1)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from ner_module.training.resumable_file import ResumableFile\n"
        "file = ResumableFile(Path(sys.argv[1]), {}); file.open(); file.write(['one'], 1)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "out.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    holder = subprocess.Popen([sys.executable, "-c", hold, path], env=environment, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    file = ResumableFile(path, {})
    with pytest.raises(RunError, match=r"another process writes .*out\.jsonl"):
        file.open()
    file.close()
    assert path.with_name("out.jsonl.part").read_bytes() == b"one\n"
    holder.kill()
    holder.wait()
    file = ResumableFile(path, {})
    assert file.open() == 1
    file.write(["two"], 2)
    file.finish()
    assert path.read_bytes() == b"one\ntwo\n"
