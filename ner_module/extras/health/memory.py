"""How much memory a training uses, and how much there is: on the GPU, or of this process's share of the machine.

Both are counters of the host: reading them synchronises nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_in_use(device: torch.device) -> tuple[float, float] | None:
    """Bytes in use and bytes available; ``None`` where that is not known.

    On CUDA, the peak of what tensors took: memory that PyTorch only reserves it returns before it runs out. On a CPU
    under Linux, what this process holds now, of the container's limit or else of the machine's memory.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return float(torch.cuda.max_memory_allocated(device)), float(total)
    if device.type != "cpu" or sys.platform != "linux":
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    limits = [float(os.sysconf("SC_PHYS_PAGES") * page)]
    for path in map(Path, _CGROUP_LIMITS):
        if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():  # else "max"
            limits.append(float(text))
    return float(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page, min(limits)
