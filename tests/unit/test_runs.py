"""Run directories and checkpoints: one directory a run, and the checkpoint that was meant."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from ner_module.files import check_output
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.runs import (
    RUNS,
    RunError,
    check_free,
    checkpoint_path,
    find_checkpoint,
    new_run_dir,
    remove_if_unused,
    run_dir_of,
    run_lock,
)

JOB_VARIABLES = (
    *("NER_MODULE_RUN_DIR", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
    *("SLURM_PROCID", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID"),
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Set first, so that what `new_run_dir` puts into the environment is taken out again.
    for name in JOB_VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def make_checkpoint(run: str, name: str, time: int, config: bool = True) -> Path:
    path = checkpoint_path(RUNS / run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({}, path)
    os.utime(path, (time, time))
    if config:
        (RUNS / run / "config.yaml").write_text("", encoding="utf-8")
    return path


# ---------------------------------------------------------------- where a run writes


def test_runs_of_the_same_second_have_directories_of_their_own() -> None:
    found = [new_run_dir("bert") for _ in range(3)]
    assert len(set(found)) == 3
    assert all(path.is_dir() and path.parent == Path("runs/bert") for path in found)


def test_processes_started_by_lightning_inherit_the_first_ones_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = new_run_dir("bert")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert new_run_dir("bert") == chosen
    assert new_run_dir("other") == chosen
    # A later run from the same shell or notebook is another one.
    monkeypatch.delenv("LOCAL_RANK")
    assert new_run_dir("bert") != chosen


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "17", "SLURM_PROCID": "0"}, "17"),
        ({"SLURM_JOB_ID": "18", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "1"}, "17_3"),
        ({"TORCHELASTIC_RUN_ID": "abc", "LOCAL_RANK": "1"}, "abc"),
    ],
)
def test_all_processes_of_a_job_and_the_job_after_a_requeue_mean_the_same(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        monkeypatch.delenv("NER_MODULE_RUN_DIR", raising=False)  # another process
        assert new_run_dir("bert") == Path("runs/bert") / expected


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_ID": "17"},  # a shell inside an allocation, not a task of it
        {"SLURM_JOB_ID": "17", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"},
        {"SLURM_JOB_ID": "17", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "interactive"},
        {"TORCHELASTIC_RUN_ID": "none"},
    ],
)
def test_an_interactive_shell_is_no_job(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    first, second = new_run_dir("bert"), new_run_dir("bert")
    assert first != second
    assert "17" != first.name != "none"


def test_a_directory_nothing_was_written_to_is_removed() -> None:
    run = new_run_dir("bert")
    remove_if_unused(run)
    assert not RUNS.exists()
    used, unused = new_run_dir("bert"), new_run_dir("bert")
    (used / "config.yaml").write_text("", encoding="utf-8")
    for path in (used, unused, Path("runs/never/was")):
        remove_if_unused(path)
    assert used.is_dir()
    assert not unused.exists()


def test_a_directory_of_the_users_own_is_never_removed() -> None:
    Path("mine").mkdir()
    remove_if_unused(Path("mine"))
    assert Path("mine").is_dir()


@pytest.mark.parametrize("name", ["results.json", "metrics.csv", "checkpoints/best.ckpt"])
def test_a_used_directory_is_not_free(name: str) -> None:
    run = new_run_dir("bert")
    check_free(run)
    (run / "config.yaml").write_text("save_every_minutes: 10.0\n", encoding="utf-8")  # what a failed start leaves
    check_free(run)
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"already holds a run: resume it with `fit --run_dir runs/bert/.* auto`"):
        check_free(run)


def test_a_directory_that_is_not_there_is_free() -> None:
    check_free(Path("runs/bert/new"))


# ---------------------------------------------------------------- which checkpoint is meant


def test_best_and_last_of_the_newest_run_that_has_one() -> None:
    make_checkpoint("bert/2", "best", 200)
    make_checkpoint("roberta/1", "best", 100)
    make_checkpoint("roberta/1", "last", 300)
    assert find_checkpoint("best", None) == Path("runs/bert/2/checkpoints/best.ckpt")
    assert find_checkpoint("last", None) == Path("runs/roberta/1/checkpoints/last.ckpt")
    assert find_checkpoint("best", Path("runs/roberta/1")) == Path("runs/roberta/1/checkpoints/best.ckpt")


def test_runs_of_any_depth_are_found_and_an_older_one_is_not_used_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    for time, run in enumerate(("mine", "bert/1", "sweeps/bert/a/7")):
        path = make_checkpoint(run, "best", 100 + time)
        assert find_checkpoint("best", None) == path
    make_checkpoint("newer", "last", 200)
    assert not caplog.records
    logger = logging.getLogger("ner_module")
    logger.addHandler(caplog.handler)
    assert find_checkpoint("best", None) == path
    logger.removeHandler(caplog.handler)
    assert set(caplog.messages) == {"the newest run, runs/newer, has no best.ckpt: an earlier run's is used"}


def test_a_file_is_itself() -> None:
    moved = Path("elsewhere.ckpt")
    moved.write_bytes(b"")
    assert find_checkpoint("elsewhere.ckpt", None) == moved
    assert find_checkpoint("elsewhere.ckpt", Path("runs/bert/1")) == moved


def test_what_is_not_there_is_said_with_what_is() -> None:
    with pytest.raises(
        RunError, match=r"no run here has a checkpoint 'best': there is none in runs/ either; train first"
    ):
        find_checkpoint("best", None)
    make_checkpoint("bert/1", "last", 1)
    with pytest.raises(
        RunError, match=r"no run here has a checkpoint 'best': there are runs/bert/1/checkpoints/last.ckpt"
    ):
        find_checkpoint("best", None)
    with pytest.raises(RunError, match=r"no checkpoint runs/other/checkpoints/last.ckpt: there are runs/bert/1/"):
        find_checkpoint("last", Path("runs/other"))
    with pytest.raises(
        RunError, match=r"no checkpoint bets: give best, last or an existing file; there are runs/bert/1/"
    ):
        find_checkpoint("bets", None)


def test_the_run_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("bert/1", "best", 1)
    assert run_dir_of(checkpoint) == Path("runs/bert/1")
    assert run_dir_of(checkpoint.absolute()) == Path("runs/bert/1")
    assert run_dir_of(make_checkpoint("bert/2", "best", 1, config=False)) is None
    moved = tmp_path / "best.ckpt"
    moved.write_bytes(b"")
    assert run_dir_of(moved) is None
    os.chdir(tmp_path / "runs" / "bert" / "2")
    assert run_dir_of(tmp_path / checkpoint) == tmp_path / "runs" / "bert" / "1"


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_said_to_be(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"last\.ckpt is damaged: it is incomplete or not a checkpoint"):
        read_checkpoint(path)


def test_a_checkpoint_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(RunError, match=r"last\.ckpt is not a checkpoint of this project: name a file that `fit` wrote"):
        read_checkpoint(path)


@pytest.mark.parametrize("path", ["/", "/tmp/..", "/dev", "/proc", "/sys", "/etc/", "/tmp/../usr", "/bin"])
def test_a_folder_of_the_system_is_no_run(path: str) -> None:
    """Root may write there: a run in /dev is gone after the next start of the machine."""
    said = f"^--run_dir {Path(path)} is a system folder: choose another"
    with pytest.raises(RunError, match=said), run_lock(Path(path)):
        pass
    assert not (Path(path) / ".lock").exists()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="run is a file: name a folder"), run_lock(tmp_path / "run"):
        pass


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has it")
def test_an_output_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(RunError, match="/proc/self/mem cannot be read"):
        check_output(Path("/proc/self/mem"), lambda path: bool(path.read_bytes()))
