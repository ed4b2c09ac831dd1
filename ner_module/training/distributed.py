"""The trainer's setup for the machine and the job it runs in, and errors when other processes fail.

The job itself is described in `cluster.py`; `data/batching.py` shares out the data.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import socket
import sys
import traceback
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.distributed import _destroy_dist_connection, _distributed_is_initialized
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed as dist
from torch.distributed.constants import default_pg_timeout

from ner_module.errors import RunError
from ner_module.training import cluster
from ner_module.training.checkpoints import DurableCheckpointIO

TIMEOUT = timedelta(minutes=10)
"""How long processes wait for each other, unless a DDPStrategy is configured. Lightning's 30 minutes would keep an
allocation busy after a network failure; much less would end a job whose first process is downloading."""

# What gloo, NCCL and the store say when the other side is gone; torch has no exception of its own for it.
_LOST = re.compile(
    "Connection (closed by peer|reset by peer|refused)|Broken pipe|Timed out waiting|timed out after|Wait timeout|"
    "Application timeout caused pair closure|connectFullMesh|NCCL error"
)


def with_own_plugins(configured: list[Any], strategy: Any) -> list[Any]:
    """The configured plugins, durable checkpoints, and SLURM without requeueing.

    Lightning's saves within the signal handler, together with the other processes, and sometimes hangs.

    Raises:
        RunError: a `CheckpointIO` is configured, as a plugin or of the strategy; a power cut can empty its files.
    """
    for plugin in (*configured, getattr(strategy, "_checkpoint_io", None)):
        if isinstance(plugin, CheckpointIO):
            own_one = "would replace the run's own, which survives a power cut and a full disk"
            raise RunError(f"{type(plugin).__name__} {own_one}: leave it out")
    own: list[Any] = [DurableCheckpointIO()]
    if cluster.under_slurm() and not cluster.under_torchrun():
        own.append(SLURMEnvironment(auto_requeue=False))
    return [*configured, *own]


def choose_precision(trainer: Any) -> bool:
    """Take bfloat16, and TF32 for the rest, on a CUDA device that has it, unless a precision is asked for.

    In float32 such a device is several times as slow: torch uses its tensor cores only when it is told to.

    Args:
        trainer: the trainer's options; changed in place, so that the saved configuration says what was chosen.

    Returns:
        Whether something was chosen.
    """
    asked = trainer.precision is not None or "precision" in str(trainer.plugins).lower()
    if asked or trainer.accelerator not in ("auto", "gpu", "cuda") or not CUDAAccelerator.is_available():
        return False
    torch.set_float32_matmul_precision("high")
    trainer.precision = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return True


def fit_to_launcher(trainer: Any) -> None:
    """Take the number of nodes and processes from srun or torchrun into the trainer's options, in place."""
    topology = cluster.topology()
    if topology is not None:
        trainer["num_nodes"], trainer["devices"] = topology
        if topology != (1, 1) and trainer.get("strategy") == "auto":
            trainer["strategy"] = "ddp"


def set_up_ddp(strategy: Any) -> None:
    """Bound how long processes wait, and spare copies; options that a configuration gives stay.

    No buffer of a model changes in training, so none is sent around; gradients lie where they are summed.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs = {"broadcast_buffers": False, "gradient_as_bucket_view": True, **strategy._ddp_kwargs}
        if strategy._timeout == default_pg_timeout:
            strategy._timeout = TIMEOUT
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _join_restarted_group(strategy)


def _join_restarted_group(strategy: DDPStrategy) -> None:
    """Join the group of processes in the place of Lightning, under keys of this restart.

    torchrun (of torch 2.13) keeps one store for all restarts, where the addresses of the dead processes still are: the
    new ones would try these, and end.
    """
    job = strategy.cluster_environment
    assert job is not None
    store = dist.TCPStore(job.main_address, job.main_port, job.world_size(), is_master=False)  # type: ignore[attr-defined]
    dist.init_process_group(
        strategy._get_process_group_backend(),
        store=dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store),  # type: ignore[attr-defined]
        rank=job.global_rank(),
        world_size=job.world_size(),
        timeout=strategy._timeout,
    )


def leave_group() -> None:
    """Close the connection to the other processes after a success; gloo may abort where it is left open."""
    if _distributed_is_initialized():
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def end_failed(error: BaseException | None, code: int) -> None:
    """End a process of a group that has failed, once its error is printed; return where there is no group.

    The group is not closed: under NCCL that can wait for ever for a process that is gone, with the error unseen
    (pytorch#141510). Here the others see the connection break after the error was printed.
    """
    if not _distributed_is_initialized():
        return
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    atexit.unregister(_destroy_dist_connection)
    atexit._run_exitfuncs()  # loggers and temporary files
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def lost_contact(error: RuntimeError) -> str | None:
    """One line for an error that means that another process is gone or cannot be reached; ``None`` for others."""
    if not _LOST.search(str(error)):
        return None
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0")
    cause = re.sub(r"^\[\S*\] ", "", str(error).strip()).splitlines()[0].rstrip(".")  # without gloo's own source line
    return (
        f"process {rank} on {socket.gethostname()} lost contact with another process of this job ({cause}). "
        "That process ended, see its own error, or the network is down."
    )
