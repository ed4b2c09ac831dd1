"""What computes, with which libraries, and how fast it multiplies at most."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gpu_cases.report import Report, device, offline, time_steps

ROOT = Path(__file__).resolve().parents[2]
_PRECISIONS: dict[str, tuple[torch.dtype, str]] = {
    "fp32": (torch.float32, "highest"),
    "tf32": (torch.float32, "high"),
    "fp16": (torch.float16, "highest"),
    "bf16": (torch.bfloat16, "highest"),
}


def machine(report: Report, small: bool, work: Path) -> None:
    """Names, versions, and the best rate of matrix products in each precision."""
    report["system"] = {"platform": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count()}
    versions: dict[str, str | None] = {}
    for name in ("torch", "lightning", "transformers", "accelerate", "triton", "flash-attn", "kernels"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    report["versions"] = versions | {"cuda": torch.version.cuda, "hip": torch.version.hip}
    report["gpus"] = [_properties(index) for index in range(torch.cuda.device_count())]
    for name, (dtype, precision) in _PRECISIONS.items():
        with report.attempt(f"peak_{name}"):
            torch.set_float32_matmul_precision(precision)
            report[f"peak_{name}"] = _peak(dtype, 256 if small else 8192)
    torch.set_float32_matmul_precision("highest")


def _properties(index: int) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(index)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory_mb": found.total_memory // 2**20,
        "multiprocessors": found.multi_processor_count,
        "flash_attention": torch.backends.cuda.is_flash_attention_available(),
    }


@torch.no_grad()
def _peak(dtype: torch.dtype, size: int) -> dict[str, float]:
    """Of products of random numbers: ones and zeros take less power, and the clock stays higher."""
    left, right = (torch.randn(size, size, device=device(), dtype=torch.float32).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    spent = time_steps(lambda _: torch.mm(left, right, out=out), 3, 20, 3.0)
    return {"tflops": round(2 * size**3 / spent["device_ms"] / 1e9, 3), "size": size}


def gpu_tests(report: Report, small: bool, work: Path) -> None:
    """The tests that need a GPU; without one, two of their siblings on the CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "tests/gpu"]
    command += ["-m", "gpu", "tests/unit"] if torch.cuda.is_available() else ["-k", "cpu and (dropout or clipping)"]
    outcome = work / "gpu-tests.xml"
    subprocess.run([*command, "--junitxml", str(outcome)], cwd=ROOT, env=offline(), check=False)
    cases = ElementTree.parse(outcome).getroot().iter("testcase")
    results = {f"{case.get('classname')}::{case.get('name')}": [child.tag for child in case] for case in cases}
    failed = sorted(name for name, tags in results.items() if {"failure", "error"} & set(tags))
    report["tests"] = {"number": len(results), "failed": failed, "names": sorted(results)}
    if failed or not results:
        raise RuntimeError(f"{len(failed)} of {len(results)} GPU tests fail: {', '.join(failed)[:500]}")
