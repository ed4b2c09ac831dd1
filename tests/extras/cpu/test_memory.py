"""Keeping freed memory: the second allocation of a large tensor takes no page from the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

_FAULTS = """
import resource, sys, torch
from ner_module.extras.cpu.kernels import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
found = []
for number in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(10, 2**20).fill_(1)  # 40 MB
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))  # the first few may still have to find their place
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has mallopt")
def test_a_large_tensor_is_allocated_without_page_faults() -> None:
    found = {}
    for mode in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", _FAULTS, mode], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 3:
            pytest.skip("this C library has no mallopt")
        found[mode] = int(done.stdout)
    assert found["keep"] < 10
    assert found["leave"] > 5_000, "as it is without"
