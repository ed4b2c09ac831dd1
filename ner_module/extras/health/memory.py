"""How much memory a training uses, and how much there is: of the GPU, or of this process's share of the machine.

Both are counters of the host: asking synchronises nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_in_use(device: torch.device) -> tuple[float, float] | None:
    """Bytes in use at most so far, and bytes there are; ``None`` where that is not known.

    On CUDA it is the peak of what tensors took (what PyTorch only keeps in reserve it gives back before it runs out).
    On a CPU under Linux it is what this process holds now, of the container's limit or else the machine's memory.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)), float(
            torch.cuda.get_device_properties(device).total_memory
        )
    if device.type == "cpu" and sys.platform == "linux":
        page = os.sysconf("SC_PAGE_SIZE")
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page
        return float(resident), float(min(os.sysconf("SC_PHYS_PAGES") * page, _cgroup_limit()))
    return None


def _cgroup_limit() -> float:
    """The container's memory limit; infinity where there is none."""
    for name in _CGROUP_LIMITS:
        path = Path(name)
        if path.is_file():
            text = path.read_text(encoding="ascii").strip()
            return float(text) if text.isdigit() else float("inf")
    return float("inf")
