"""When one of two processes fails: the other ends at once, and what went wrong is what is read first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_files import write_config

ROOT = Path(__file__).parents[2]

# What a user's own callback may do, on one of the processes only.
CALLBACK = """
import time
from lightning.pytorch import Callback

class FailsOn(Callback):
    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            print("FAILED AT", time.time(), flush=True)
            raise ValueError("the callback of rank %d has failed" % self.rank)
"""


@pytest.mark.ddp
@pytest.mark.timeout(200)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("launcher", ["torchrun", "lightning"])
def test_a_failure_on_one_process_ends_the_other(
    launcher: str, rank: int, fit_options: list[str], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "failing.py").write_text(CALLBACK)
    callback = {"class_path": "failing.FailsOn", "init_args": {"rank": rank, "step": 3}}
    config = write_config(tmp_path / "failing.yaml", {"trainer": {"callbacks": [callback]}})
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    itself = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    command = [sys.executable, *(torchrun if launcher == "torchrun" else []), "-m", "ner_module", "fit"]
    command += ["--config", str(config), *fit_options, *(itself if launcher == "lightning" else [])]
    variables = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
    done = subprocess.run(
        [*command, "--run_dir", "run"],
        cwd=tmp_path,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    ended = time.time()
    failed = re.search(r"FAILED AT (\S+)", done.stdout)
    assert failed is not None, done.stdout
    assert done.returncode == 1, done.stdout
    assert ended - float(failed[1]) < 15, "far less than the 10 minutes that processes wait for each other"
    cause = done.stdout.find(f"ValueError: the callback of rank {rank} has failed")
    assert cause >= 0, done.stdout
    # What the other process has to say of it, if it is not ended before that, comes after.
    for consequence in ("lost contact", "Connection closed", "ChildFailedError", "SIGTERM"):
        place = done.stdout.find(consequence)
        assert place == -1 or place > cause, done.stdout
