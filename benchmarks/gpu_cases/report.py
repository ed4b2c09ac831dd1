"""What a case has found so far, on disk after every figure: a case that is stopped loses nothing but what it was at."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

Step = Callable[[int], Any]


def write_json(path: Path, content: Any) -> None:
    """The file is whole at any moment."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


class Report:
    """Figures by name, and what could not be measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        self.found[name] = value
        write_json(self.path, self.found)

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Whatever fails inside is recorded under the name, and the case goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()  # into the log of the case
            self[name] = {"error": f"{type(error).__name__}: {str(error).strip()[:600]}"}
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Until the device has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def time_steps(step: Step, warm_up: int, steps: int, seconds: float) -> dict[str, float]:
    """Milliseconds of a step, by the clock and by events on the device, of up to ``steps`` steps in ``seconds``.

    By the clock: from the first to the last, all work done, divided by their number. By events: the median.
    """
    for index in range(warm_up):
        step(index)
    wait()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    marks: list[Any] = []

    def mark() -> None:
        marks.append(torch.cuda.Event(enable_timing=True) if cuda else time.perf_counter())  # type: ignore[no-untyped-call]
        if cuda:
            marks[-1].record()

    begun = time.perf_counter()
    mark()
    for index in range(steps):
        step(warm_up + index)
        mark()
        if time.perf_counter() - begun > seconds:
            break
    wait()
    done = len(marks) - 1
    spent = [a.elapsed_time(b) if cuda else 1000 * (b - a) for a, b in itertools.pairwise(marks)]
    found = {"ms": 1000 * (time.perf_counter() - begun) / done, "device_ms": median(spent), "steps": float(done)}
    if cuda:
        found["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return {name: round(value, 3) for name, value in found.items()}


def offline() -> dict[str, str]:
    """The environment of a process that reaches no network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS")
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
    repository = Path(__file__).resolve().parents[2]
    paths = f"{repository}{os.pathsep}{repository / 'benchmarks'}"
    return {**os.environ, **dict.fromkeys(names, "1"), **quiet, "PYTHONPATH": paths}
