"""A SLURM job whose time is nearly up: its batch script requeues it, so often, and it resumes in the same directory.

The program runs as the task of a job here, with the variables SLURM sets; under a real SLURM the same is tested by
`tests/distributed/test_cluster.py`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome
from run_files import checkpoint, results, write_config

ROOT = Path(__file__).parents[2]
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "ner",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "1",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
}

# Sends itself the signal that `#SBATCH --signal=USR1@120` asks SLURM for.
CALLBACK = """
import os, signal
from lightning.pytorch import Callback

class TimeIsUp(Callback):
    def __init__(self, steps: list[int]) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step in self.steps:
            os.kill(os.getpid(), signal.SIGUSR1)
"""

Task = Callable[..., Outcome]


@pytest.fixture
def task(
    fit_options: list[str], tmp_path: Path, run_main: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Task:
    """``task([3], "--option", VARIABLE="…")``: the program as the only task of a job; signals come at those steps."""
    (tmp_path / "time_is_up.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)

    def run(steps: list[int], *options: str, **variables: str) -> Outcome:
        callback = {"class_path": "time_is_up.TimeIsUp", "init_args": {"steps": steps}}
        trainer = {"callbacks": [callback], "accelerator": "cpu", "max_epochs": 2}
        config = write_config(tmp_path / "recipe.yaml", {"trainer": trainer})
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return run_main("fit", "--config", config, *fit_options, *options, check=False)

    return run


def test_the_script_is_told_by_the_exit_code(task: Task, tmp_path: Path) -> None:
    """When restarted, the job resumes in its own directory."""
    first = task([3])
    assert first.code == 75, first.out + first.err
    assert "Traceback" not in first.err
    run = tmp_path / "runs" / "recipe" / "4711"
    assert checkpoint(run, "last")["global_step"] == 4
    second = task([], SLURM_RESTART_COUNT="1")
    assert second.code == 0, second.out + second.err
    assert "resuming from" in second.err
    assert [row["epoch"] for row in results(run)["epochs"]] == [1, 2]
    assert [path.name for path in run.parent.iterdir()] == ["4711"]


@pytest.mark.slow
def test_it_stays_one_run_of_wandb(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name.lower()))
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "ner"}}
    option = ["--config", str(write_config(tmp_path / "wandb.yaml", {"trainer": {"logger": logger}}))]
    run = tmp_path / "runs" / "recipe" / "4711"
    names = []
    for code, steps, restarts in ((75, [3], "0"), (75, [6], "1"), (0, [], "2")):
        done = task(steps, *option, SLURM_RESTART_COUNT=restarts)
        wandb.finish()
        wandb.teardown()  # a process of its own ends the run when it exits
        assert done.code == code, done.out + done.err
        names.append((run / "wandb_id").read_text().strip())
    assert len(set(names)) == 1
    folders = sorted(path.name for path in (run / "wandb").glob("offline-run-*"))
    assert len(folders) == 3
    assert all(folder.endswith(f"-{names[0]}") for folder in folders), "to be synced into one run"


@pytest.mark.parametrize(
    ("code", "restarts", "queued"),
    [
        *[(0, 0, False), (75, 0, True), (75, 2, True), (75, 3, False), (137, 0, True), (137, 3, False)],
        *[(1, 0, False), (2, 0, False), (143, 0, False)],
    ],
)
def test_what_the_batch_script_makes_of_an_exit_code(tmp_path: Path, code: int, restarts: int, queued: bool) -> None:
    (tmp_path / "bin").mkdir()
    for name, end in (("srun", code), ("scontrol", 0)):  # each writes down what it was asked
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/{name}.txt\nexit {end}\n')
        command.chmod(0o755)
    log = tmp_path / "scontrol.txt"
    variables = {"SLURM_JOB_ID": "4711", "SLURM_RESTART_COUNT": str(restarts), "NER_MODULE_MAX_RESTARTS": "3"}
    done = subprocess.run(
        ["bash", ROOT / "cluster" / "slurm.sbatch", "fit", "--config", "a file.yaml"],
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "5", **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert log.exists() == queued, done.stdout
    assert not queued or log.read_text() == "requeue\n4711\n"
    arguments = (tmp_path / "srun.txt").read_text().splitlines()
    assert arguments[-5:] == ["fit", "--config", "a file.yaml", "--seed_everything", "5"]
