"""As many threads as this process has cores, and threads that soon sleep while they wait. Before torch is imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path, PurePosixPath

WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""How OpenMP's threads wait: in libgomp (torch's wheels) and in libiomp (conda's builds).

A waiting thread of libgomp spins 300,000 times before it sleeps, some 3 milliseconds of a core that others may need:
beside busy processes a training step was five times as fast with 1,000 spins, which libgomp itself allows where more
threads than cores wait actively (figures: ``benchmarks/README.md``). Sleeping at once was slower on quiet cores.
"""


def limit_threads(root: Path = Path("/")) -> None:
    """Set OpenMP's variables where the user has not.

    torch starts a thread for each core that the process is bound to, whatever a container's quota is; then the kernel
    stops all of them for most of each period. ``root`` is where ``proc`` and ``sys`` are.
    """
    cores = usable_cpus(root)
    if cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(cores))))
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)


def usable_cpus(root: Path = Path("/")) -> float:
    """How many cores this process may use: those it is bound to, within the quotas of its control groups."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min([float(bound), *_quotas(root)])


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in cores, of the control groups that this process is in, and of those around them.

    A group is limited by all that it is nested in. ``/proc/self/cgroup`` names them; in a container it may name them as
    the host sees them, and the container's own group is then the root of what is mounted.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree, version 1 one for each controller.
        mounts = [controllers, "cpu"] if controllers else [""]
        files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"] if controllers else ["cpu.max"]
        group = PurePosixPath(name)
        for mount, path in product(mounts, (group, *group.parents)):
            folder = root / "sys/fs/cgroup" / mount / str(path).lstrip("/")
            with contextlib.suppress(OSError, ValueError):
                quota, period = " ".join((folder / file).read_text(encoding="ascii") for file in files).split()
                if int(quota) > 0:  # "max", or -1, where there is none
                    yield int(quota) / int(period)
