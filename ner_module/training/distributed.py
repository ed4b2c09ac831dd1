"""The trainer's setup for the job it runs in, and errors when that job falls apart.

The job itself is described in `cluster.py`; `data/batching.py` shares out the data.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from datetime import timedelta
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed as dist

from ner_module.training import cluster
from ner_module.training.checkpoints import DurableCheckpointIO

TIMEOUT = timedelta(minutes=10)
"""How long processes wait for each other, unless the configuration has a DDPStrategy of its own. Lightning's 30 minutes
would keep an allocation busy after a network failure; much less would end a job whose first process is downloading.
"""

_GRACE = 3.0
"""Seconds for which a process that has lost contact leaves the terminal to the other one's own error."""

# What gloo, NCCL and the store say when the other side is gone; torch has no exception of its own for it.
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "Timed out waiting",
    "Application timeout caused pair closure",
    "timed out after",
    "Wait timeout",
    "connectFullMesh",
    "NCCL error",
)


def with_own_plugins(configured: Any) -> list[Any]:
    """The configured plugins, durable checkpoints unless there is another `CheckpointIO`, and SLURM without requeueing.

    Lightning requeues by saving within the signal handler, together with the other processes, and sometimes hangs;
    `PreemptionCheckpoint` does it at the end of a step.
    """
    plugins = list(configured) if isinstance(configured, (list, tuple)) else [configured] if configured else []
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(DurableCheckpointIO())
    if cluster.under_slurm() and not cluster.under_torchrun():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def fit_to_launcher(trainer: Any) -> None:
    """Take the number of nodes and processes from srun or torchrun, and bound how long processes wait.

    Args:
        trainer: the trainer's options; changed in place.
    """
    topology = cluster.topology()
    if topology is not None:
        trainer["num_nodes"], trainer["devices"] = topology
    several = topology is not None and topology != (1, 1)
    if trainer.get("strategy") == "ddp" or (several and trainer.get("strategy") == "auto"):
        trainer["strategy"] = DDPStrategy(timeout=TIMEOUT)


def leave_group() -> None:
    """Close the connection to the other processes; left to the end of the process, gloo sometimes aborts it."""
    if dist.is_available() and dist.is_initialized():
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def lost_contact(error: RuntimeError) -> str | None:
    """One line for an error that means that another process is gone or cannot be reached; ``None`` for others."""
    if not any(sign in str(error) for sign in _LOST):
        return None
    variables = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    rank = next((os.environ[name] for name in variables if name in os.environ), "0")
    cause = re.sub(r"^\[\S*\] ", "", str(error).strip()).splitlines()[0].rstrip(".")  # without gloo's own source line
    return (
        f"process {rank} on {socket.gethostname()} lost contact with another process of this job ({cause}). "
        "That process ended, see its own error, or the network is down."
    )


def wait_for_peer_error() -> None:
    """Wait a moment before reporting lost contact: a failed process prints why only after its connections are closed.

    SIGTERM ends the wait: a launcher sends it once the other process has ended. This process then ends by itself, after
    its message.
    """
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    deadline = time.monotonic() + _GRACE
    while not received and time.monotonic() < deadline:
        time.sleep(0.05)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if received else previous or signal.SIG_DFL)
