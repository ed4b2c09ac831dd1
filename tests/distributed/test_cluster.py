"""Under the launchers of a cluster: torchrun that starts processes again, a real SLURM, a W&B sweep's command."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]

pytestmark = [pytest.mark.ddp, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def environment(cache: Path) -> dict[str, str]:
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
    return {**os.environ, **variables}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def epochs(run: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((run / "results.json").read_text())["epochs"]
    return rows


def test_torchrun_starts_a_dead_process_again(
    fit_options: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    """The second process is killed once; all are restarted and resume from the last checkpoint, to the same end."""
    options = [*fit_options, "--trainer.max_epochs", "40", "--save_every_steps", "5", "--data.batch_size", "8"]
    whole = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "ner_module", "fit", *options]
    done = subprocess.run(
        [*whole, "--run_dir", "whole"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert b"lost contact" not in done.stderr
    run = tmp_path / "run"
    with (tmp_path / "output.txt").open("w") as output:
        command = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "--max-restarts", "2", "-m", "ner_module", "fit"]
        agent = subprocess.Popen(
            [*command, *options, "--run_dir", "run"], cwd=tmp_path, env=environment, stdout=output, stderr=output
        )
        wait_for(lambda: (run / "results.json").exists() and len(epochs(run)) > 3, "the fourth epoch")
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert agent.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    assert "resuming from" in (tmp_path / "output.txt").read_text()
    found, expected = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("run", "whole")
    )
    assert found["global_step"] == expected["global_step"]
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in expected["state_dict"].items())
    assert epochs(run) == epochs(tmp_path / "whole")


@pytest.mark.parametrize(
    ("signum", "flags"),
    [(signal.SIGTERM, []), (signal.SIGUSR1, ["--signals-to-handle", "SIGTERM,SIGINT,SIGUSR1"])],
)
def test_torchrun_passes_on_that_it_is_told_to_end(
    signum: signal.Signals, flags: list[str], fit_options: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    """Both processes save together within the 30 seconds it leaves them, in the middle of an epoch."""
    options = [*fit_options, "--trainer.max_epochs", "400", "--data.batch_size", "8", "--run_dir", "run"]
    command = [*TORCHRUN, *flags, "--standalone", "--nproc-per-node", "2", "-m", "ner_module", "fit", *options]
    run = tmp_path / "run"
    with (tmp_path / "output.txt").open("w") as output:
        agent = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=output, stderr=output)
        wait_for(lambda: (run / "results.json").exists() and len(epochs(run)) > 1, "the second epoch")
        agent.send_signal(signum)
        assert agent.wait(timeout=60) == 1, "torchrun's own code"
    said = (tmp_path / "output.txt").read_text()
    stopped = re.search(r"Stopped after step ([\d,]+); saved run/checkpoints/last.ckpt", said)
    assert stopped is not None, said
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == int(
        stopped[1].replace(",", "")
    )
    assert "lost contact" not in said


def test_without_a_rendezvous_id_all_processes_have_one_run_directory(
    fit_options: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    """Two agents, as on two machines, whose static rendezvous names no job."""
    common = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", "29611"]
    agents = [
        subprocess.Popen(
            [*TORCHRUN, *common, "--node-rank", str(rank), "-m", "ner_module", "fit", *fit_options],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [agent.communicate(timeout=300)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(outputs)
    (run,) = (tmp_path / "runs" / "fit").iterdir()
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_the_sweep_s_command_trains_on_two_processes(
    tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """The command as W&B's agent makes it of the file and of a trial's values; offline, with a tiny model."""
    from wandb.sdk.launch.sweeps import utils

    sweep = yaml.safe_load((ROOT / "cluster" / "sweep.yaml").read_text())
    trial = {"model.learning_rate": 3e-5, "model.warmup_ratio": 0.1, "seed_everything": 2}
    assert set(trial) == set(sweep["parameters"])
    values = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in trial.items()}})
    values |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable]}
    command = []
    for part in utils.create_sweep_command(sweep["command"]):
        found = part[2:-1] if part.startswith("${") else None
        command += values[found] if found else [part]
    for split in ("train", "validation", "test"):
        command.append(f"--data.{split}_file={corpus / split}.conll")
    command += [f"--model.model_name_or_path={tiny_model()}", "--trainer.max_epochs=1"]
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    environment |= {"WANDB_MODE": "offline", "WANDB_RUN_ID": "trial1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "quickstart").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["learning_rate"] == 3e-5
    assert config["seed_everything"] == 2
    assert (run / "wandb_id").read_text() == "trial1\n"
    assert len(list((run / "wandb").glob("offline-run-*-trial1"))) == 1, "one run for both processes"


# ---------------------------------------------------------------------- SLURM

# $NER_SLURM: what to type before a SLURM command to reach the controller, where that is not this machine.
SLURM = shlex.split(os.environ.get("NER_SLURM", ""))


def slurm(*command: str) -> str:
    done = subprocess.run([*SLURM, *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def nodes() -> int:
    try:
        return len(set(slurm("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()))
    except (OSError, subprocess.CalledProcessError):
        return 0


@pytest.mark.parametrize("how", ["preempted", "requeued"])
def test_slurm_job_goes_on_after_a_requeue(
    how: str, fit_options: list[str], tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of two tasks on two nodes is told that its time is nearly up, or requeued without a warning."""
    if nodes() < 2:
        pytest.skip("no SLURM with two idle nodes here")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHON", sys.executable)
    script = tmp_path / "job.sbatch"  # the nodes here have no GPUs
    script.write_text((ROOT / "cluster" / "slurm.sbatch").read_text().replace("#SBATCH --gpus-per-node=1\n", ""))
    options = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--time=00:10:00", f"--chdir={tmp_path}"]
    arguments = [*fit_options, "--trainer.max_epochs", "60", "--save_every_steps", "10", "--trainer.accelerator", "cpu"]
    job = slurm("sbatch", "--parsable", "--export=ALL", *options, str(script), "fit", *arguments)
    run = tmp_path / "runs" / "fit" / job
    output = tmp_path / f"ner-{job}.out"
    wait_for(lambda: (run / "results.json").exists() and len(epochs(run)) > 2, "the third epoch")
    rows = epochs(run)[:2]
    slurm(*(["scancel", "--signal=USR1", job] if how == "preempted" else ["scontrol", "requeue", job]))
    wait_for(lambda: "resuming from" in output.read_text(), "the job to go on", 300)
    wait_for(lambda: slurm("squeue", "-h", "-j", job) == "", "the job to end", 300)
    assert "JobState=COMPLETED" in slurm("scontrol", "show", "job", job), output.read_text()
    assert "Restarts=1" in slurm("scontrol", "show", "job", job)
    found = epochs(run)
    assert len(found) == 60
    assert found[:2] == rows
    assert ("exit code 75: queued again" in output.read_text()) == (how == "preempted")
    assert len(list((tmp_path / "runs" / "fit").iterdir())) == 1
