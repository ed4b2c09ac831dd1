"""As many threads as there are cores to use, and threads that sleep while they wait. Before torch is imported."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """How many cores this process may use: those it is bound to, within the container's quota (cgroup v2)."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = cgroup.read_text(encoding="ascii").split()
        return min(float(bound), int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return float(bound)


def limit_threads() -> None:
    """Set OpenMP's variables where the user has not."""
    cores = usable_cpus()
    if cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(cores))))
