"""Sets up the trainer for its machine and job, and explains errors when processes of the job are lost.

`cluster.py` describes the job; `data/batching.py` distributes the data.
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
"""How long processes wait for each other, unless a DDPStrategy is configured. Lightning's 30 minutes would waste an
allocation after a network failure; a much shorter timeout would end a job whose first process is downloading."""

# Messages of gloo, NCCL and the store when the peer is lost; torch has no exception class for it.
_LOST = re.compile(
    "Connection (closed by peer|reset by peer|refused)|Broken pipe|Timed out waiting|timed out after|Wait timeout|"
    "Application timeout caused pair closure|connectFullMesh|NCCL error"
)


def with_own_plugins(configured: list[Any], strategy: Any) -> list[Any]:
    """The configured plugins, durable checkpoints, and SLURM without requeueing.

    Lightning's requeueing saves within the signal handler, together with other processes, and sometimes hangs.

    Raises:
        RunError: a `CheckpointIO` is configured, as a plugin or in the strategy; a power cut can empty its files.
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
    """Choose bfloat16, and TF32 for float32 products, on CUDA devices with bfloat16, unless a precision is given.

    By default torch computes in float32 without tensor cores, which is several times slower on such devices.

    Args:
        trainer: the trainer's options; changed in place, so that the saved configuration records the choice.

    Returns:
        Whether a precision was chosen.
    """
    asked = trainer.precision is not None or "precision" in str(trainer.plugins).lower()
    if asked or trainer.accelerator not in ("auto", "gpu", "cuda") or not CUDAAccelerator.is_available():
        return False
    torch.set_float32_matmul_precision("high")
    trainer.precision = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return True


def fit_to_launcher(trainer: Any) -> None:
    """Set the numbers of nodes and processes from srun or torchrun in the trainer's options, in place."""
    topology = cluster.topology()
    if topology is not None:
        trainer["num_nodes"], trainer["devices"] = topology
        if topology != (1, 1) and trainer.get("strategy") == "auto":
            trainer["strategy"] = "ddp"


def set_up_ddp(strategy: Any) -> None:
    """Set the timeout of DDP and avoid copies, unless configured otherwise.

    No buffer of a model changes in training, so none is broadcast; gradients are views of the reduction buckets.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs = {"broadcast_buffers": False, "gradient_as_bucket_view": True, **strategy._ddp_kwargs}
        if strategy._timeout == default_pg_timeout:
            strategy._timeout = TIMEOUT
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _join_restarted_group(strategy)


def _join_restarted_group(strategy: DDPStrategy) -> None:
    """Join the process group instead of Lightning, with store keys specific to this restart.

    torchrun (of torch 2.13) keeps one store for all restarts, which still has the addresses of dead processes: new ones
    would fail to connect to them.
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
    """Destroy the process group after success; gloo may abort if it stays open."""
    if _distributed_is_initialized():
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def end_failed(error: BaseException | None, code: int) -> None:
    """Exit a failed process of a group after printing its error; return if there is no group.

    The group is not destroyed: NCCL can wait forever for a dead process, before the error is printed (pytorch#141510).
    The other processes see the connection break after the error was printed.
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
    """One line for an error that means that another process died or is unreachable; ``None`` for others."""
    if not _LOST.search(str(error)):
        return None
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0")
    cause = re.sub(r"^\[\S*\] ", "", str(error).strip()).splitlines()[0].rstrip(".")  # without gloo's own source line
    return (
        f"process {rank} on {socket.gethostname()} lost contact with another process of this job ({cause}). "
        "That process ended, see its own error, or the network is down."
    )
