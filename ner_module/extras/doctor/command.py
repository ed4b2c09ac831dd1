"""``python -m ner_module doctor``: the checks as generators, and their list as lines or JSON.

Not here: what is wrong with the data, whether a model fits into memory, the hub, and the network between hosts.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import ner_module
from ner_module.extras.cpu.threads import usable_cpus
from ner_module.help import CommandParser
from ner_module.training.runs import RUNS

# The dependencies in pyproject.toml; an image holds the code alone, and no metadata that name them.
LIBRARIES = (
    *("torch", "lightning", "jsonargparse", "transformers", "tokenizers", "safetensors", "datasets"),
    *("huggingface-hub", "torchmetrics", "wandb", "numpy", "pyarrow", "pydantic", "pyyaml", "regex"),
    *("rich", "jinja2", "matplotlib", "scipy", "typing-extensions"),
)
# A checkpoint of a BERT-base with its optimiser state is 1.3 GB, and a run has three of them.
_LITTLE_DISK = 5 << 30


class Check(NamedTuple):
    """One thing that was checked; ``error``: every run needs it and does not have it, ``warning``: some runs."""

    name: str
    status: str
    value: str
    advice: str = ""


def _warning_if(condition: bool, name: str, value: str, advice: str) -> Check:
    return Check(name, "warning", value, advice) if condition else Check(name, "ok", value)


def tested_versions() -> dict[str, str]:
    """The versions in requirements/ by name; empty where there is no such folder."""
    package = Path(ner_module.__file__).parent
    for folder in (package.parent / "requirements", package / "requirements"):  # a clone, or an installed wheel
        if (folder / "core.txt").is_file():
            lock = "".join((folder / name).read_text(encoding="utf-8") for name in ("torch.txt", "core.txt"))
            return dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    return {}


def libraries() -> Iterator[Check]:
    """Python and :data:`LIBRARIES`: each that has a problem, then the others together; nothing is imported."""
    version = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("Python", "ok" if sys.version_info >= (3, 11) else "error", version)
    tested, fine = tested_versions(), []
    for name in LIBRARIES:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, "error", "not installed", "`make setup`, or install ner-module again")
            continue
        pin = tested.get(name, found)
        if found.partition("+")[0] != pin.partition("+")[0]:
            yield Check(name, "warning", found, f"tested with {pin}: `pip install {name}=={pin}`")
        else:
            fine.append(f"{name} {found}")
    yield Check("as tested" if tested else "installed", "ok", ", ".join(fine))


def devices() -> Iterator[Check]:
    """GPUs, and CPU threads beside usable cores."""
    import torch

    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Check(f"cuda:{index}", "ok", f"{device.name}, {_size(device.total_memory)}")
    if not torch.cuda.is_available() and Path("/dev/nvidiactl").exists():
        advice = "PyTorch is built without CUDA: install the build of PyPI, `make clean` and `make setup TORCH=cuda`"
        if built := torch.version.cuda:
            advice = f"the driver does not fit CUDA {built}, or CUDA_VISIBLE_DEVICES hides it: see `nvidia-smi`"
        yield Check("CUDA", "warning", "there is a GPU that PyTorch cannot use", advice)
    usable, threads = usable_cpus(), torch.get_num_threads()
    advice = f"more threads than cores slow each other down: OMP_NUM_THREADS={max(1, int(usable))}"
    yield _warning_if(threads > max(1.0, usable), "CPU", f"threads: {threads}, usable cores: {usable:g}", advice)


def storage() -> Iterator[Check]:
    """The folders for runs and caches."""
    tokenised = Path(os.environ.get("NER_MODULE_CACHE") or Path.home() / ".cache" / "ner_module")
    hub_cache = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    yield check_folder("runs", RUNS)
    yield check_folder("tokenised data", tokenised)
    yield check_folder("hub cache", hub_cache.expanduser(), broken="warning")  # a filled cache may well be read-only


def check_folder(name: str, folder: Path, broken: str = "error") -> Check:
    """Whether a file can be written into a folder, or into the nearest parent that exists, and how much room there is.

    ``broken`` is the status of a folder that cannot be used.
    """
    folder = folder.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        free = shutil.disk_usage(nearest).free
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        advice = "mount a folder there that this user may write to, or run elsewhere"
        return Check(name, broken, f"{folder}: {error.strerror}", advice)
    text = f"{folder}, {_size(free)} free"
    return _warning_if(free < _LITTLE_DISK, name, text, "free some space: a few checkpoints fill it")


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def diagnose(quick: bool = False) -> list[tuple[str, Check]]:
    """All checks with their sections; a section that raises is an error of its own, and the others still run.

    Args:
        quick: leave out the devices, which need torch.
    """
    found: list[tuple[str, Check]] = []
    for section in (libraries, storage) if quick else (libraries, devices, storage):
        try:
            found += ((section.__name__, check) for check in section())
        except Exception as error:
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            found.append((section.__name__, Check("check", "error", problem, "this part of the setup is broken")))
    return found


def main(arguments: list[str]) -> int:
    """Print the checks.

    Returns:
        The exit code: 1 when something every run needs is broken, else 0.
    """
    exit_code = "Exit code: 1 when something that every run needs is broken, else 0."
    parser = CommandParser("doctor", "Check libraries, devices and disks.", exit_code)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="only what needs no torch")
    options = parser.parse_args(arguments)
    found = diagnose(options.quick)
    ok = all(check.status != "error" for _, check in found)
    if options.json:
        checks = [{"section": section} | check._asdict() for section, check in found]
        print(json.dumps({"version": ner_module.__version__, "ok": ok, "checks": checks}, indent=2), flush=True)
        return 0 if ok else 1
    for section, check in found:
        print(f"{section:14}{check.name:16}{check.status:9}{check.value}")
        if check.advice:
            print(f"{'':39}-> {check.advice}")
    print("Ready." if ok else "Not ready: see the errors.", flush=True)
    return 0 if ok else 1
