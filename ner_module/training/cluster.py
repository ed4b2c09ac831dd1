"""The SLURM or torchrun job of this process: its topology, name and restarts.

All is read from environment variables, so the command is the same everywhere. Processes are launched by ``srun`` or
``torchrun``, never here.
"""

from __future__ import annotations

import os


def under_slurm() -> bool:
    """Whether ``srun`` started this process, as opposed to a shell inside an allocation."""
    return "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def under_torchrun() -> bool:
    """Whether ``torchrun`` started this process; within a SLURM job it takes precedence."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_process() -> bool:
    """Whether this is the first process of its job; works before the process group exists."""
    names = ["RANK"] if under_torchrun() else ["SLURM_PROCID"] if under_slurm() else ["LOCAL_RANK", "NODE_RANK"]
    return all(os.environ.get(name, "0") == "0" for name in names)


def topology() -> tuple[int, int] | None:
    """The number of nodes and of processes per node, as launched; ``None`` without a launcher."""
    if under_torchrun():
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return int(os.environ.get("WORLD_SIZE", "1")) // here, here
    if under_slurm():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return nodes, int(os.environ.get("SLURM_NTASKS", "1")) // nodes
    return None


def is_restart() -> bool:
    """Whether SLURM or torchrun has restarted this job after a requeue, a lost node or a dead process."""
    counts = (os.environ.get(name, "0") for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))
    return any(count.isdigit() and int(count) > 0 for count in counts)


def attempt() -> str:
    """How often torchrun has started this job's processes before."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def job_name() -> str | None:
    """A name shared by all processes of a job, also after a requeue; ``None`` for a single process."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if job and under_slurm():
        task = os.environ.get("SLURM_ARRAY_TASK_ID")
        return f"{job}_{task}" if task else job
    rendezvous = os.environ.get("TORCHELASTIC_RUN_ID")
    return rendezvous if rendezvous and rendezvous != "none" else None


def agree_on(what: str, proposal: str, on_node: bool = False) -> str:
    """The proposal of the first process (``on_node``: of this machine) under ``torchrun``; otherwise one's own.

    It is shared through torchrun's store, before the process group exists. The store outlives the processes: restarted
    ones get the same answer for the same name.
    """
    if not under_torchrun() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return proposal
    from torch.distributed.rendezvous import rendezvous

    store, rank, _ = next(iter(rendezvous("env://")))
    key = f"ner_module/{what}"
    if on_node:
        key, rank = f"{key}/{os.environ.get('GROUP_RANK', '0')}", int(os.environ.get("LOCAL_RANK", "0"))
    if rank == 0 and not store.check([key]):
        store.set(key, proposal)
    answer: bytes = store.get(key)
    return answer.decode()
