"""Devices, communication between processes, and disks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from ner_module.extras.cpu.threads import usable_cpus
from ner_module.extras.doctor.finding import Finding
from ner_module.training.runs import RUNS

_GIB = 1 << 30
# A checkpoint of a BERT-base with its optimiser is 1.3 GB, and a run keeps three.
_LITTLE_DISK, _NO_DISK = 5 * _GIB, 200 << 20
# Docker gives 64 MiB, which a few loader workers or one NCCL ring fill.
_LITTLE_SHARED_MEMORY = 128 << 20


def devices() -> Iterator[Finding]:
    """GPUs, and how many CPU threads; which of them compute in bf16."""
    import torch

    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        text = f"{device.name}, {device.total_memory / _GIB:.0f} GiB, compute {device.major}.{device.minor}, {bf16}"
        yield Finding("devices", f"cuda:{index}", "ok", text)
    if not torch.cuda.is_available():
        built = torch.version.cuda
        if not Path("/dev/nvidiactl").exists():
            text = "none" if built else "none, and PyTorch is built without CUDA"
            yield Finding("devices", "CUDA", "info", text)
        elif built:
            advice = f"the driver does not fit CUDA {built}, or CUDA_VISIBLE_DEVICES hides it: see `nvidia-smi`"
            yield Finding("devices", "CUDA", "warning", "there is a GPU that PyTorch cannot use", advice)
        else:
            advice = "PyTorch is built without CUDA: install the build of PyPI, `make clean` and `make setup`"
            yield Finding("devices", "CUDA", "warning", "there is a GPU that PyTorch cannot use", advice)
    if torch.backends.mps.is_available():
        yield Finding("devices", "MPS", "ok", "available; one process only")
    usable, threads = usable_cpus(), torch.get_num_threads()
    text = f"{threads} threads on {usable:g} usable cores, bf16 {_cpu_bf16()}"
    if threads > max(1.0, usable):
        advice = f"more threads than cores slow each other down: OMP_NUM_THREADS={max(1, int(usable))}"
        yield Finding("devices", "CPU", "warning", text, advice)
    else:
        yield Finding("devices", "CPU", "ok", text)


def _cpu_bf16() -> str:
    import torch

    # Private functions: what a build has not got counts as no.
    for name, query in (("AMX", "_is_amx_tile_supported"), ("AVX-512", "_is_avx512_bf16_supported")):
        if getattr(torch.cpu, query, bool)():
            return f"by {name}"
    return "without instructions of its own: correct, and slower than float32"


def communication() -> Iterator[Finding]:
    """A sum over gloo, and over NCCL where there is a GPU."""
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        advice = "this build of PyTorch cannot run several processes; one works"
        yield Finding("communication", "torch.distributed", "warning", "not in this build", advice)
        return
    yield _sum_over("gloo", "cpu")
    if torch.cuda.is_available() and dist.is_nccl_available():
        yield _sum_over("nccl", "cuda:0", ".".join(map(str, torch.cuda.nccl.version())))  # type: ignore[no-untyped-call]
    elif torch.cuda.device_count() > 1:
        advice = "several GPUs need it: install a build of PyTorch with NCCL"
        yield Finding("communication", "nccl", "warning", "not in this build", advice)


def _sum_over(backend: str, device: str, version: str = "") -> Finding:
    """Set up a group of this process alone, and sum a tensor over it."""
    import torch
    import torch.distributed as dist

    try:
        # A store of its own: the variables of a launcher around us, and its ports, are left alone.
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timedelta(seconds=20))
        values = torch.arange(4.0, device=device)
        dist.all_reduce(values)
        correct = values.tolist() == [0.0, 1.0, 2.0, 3.0]
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        advice = "does the host name resolve, and does NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME name an interface?"
        status = "warning" if backend == "gloo" else "error"  # one CPU process needs none
        return Finding("communication", backend, status, f"{type(error).__name__}: {text}", advice)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if not correct:
        return Finding("communication", backend, "error", f"a wrong sum: {values.tolist()}", "do not train here")
    return Finding("communication", backend, "ok", f"{version} sums".strip())


def storage() -> Iterator[Finding]:
    """Where runs and caches are written, and the shared memory through which processes hand each other batches."""
    tokenised = Path(os.environ.get("NER_MODULE_CACHE") or Path.home() / ".cache" / "ner_module")
    hub = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    yield check_folder("runs", RUNS)
    yield check_folder("tokenised data", tokenised)
    # Where nothing is downloaded, a filled cache may well be read-only.
    yield check_folder("hub cache", hub.expanduser(), needed=False)
    yield check_folder("temporary files", Path(tempfile.gettempdir()), little=_GIB)
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        if size < _LITTLE_SHARED_MEMORY:
            advice = "loader workers and NCCL need more: `docker run --shm-size 1g`, or --data.num_workers 0"
            yield Finding("storage", "shared memory", "warning", as_size(size), advice)
        else:
            yield Finding("storage", "shared memory", "ok", as_size(size))


def check_folder(name: str, folder: Path, needed: bool = True, little: int = _LITTLE_DISK) -> Finding:
    """Whether there is room in a folder and a file can be written into it, or into the nearest one that exists.

    Args:
        name: what the folder is for.
        folder: the folder; it is not made.
        needed: whether no run works without it.
        little: from how many free bytes on all is well.
    """
    folder = folder.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    broken = "error" if needed else "warning"
    try:
        free = shutil.disk_usage(nearest).free
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        advice = "mount a folder there that this user may write, or run elsewhere"
        return Finding("storage", name, broken, f"{folder}: {error.strerror}", advice)
    text = f"{folder}, {as_size(free)} free"
    if free < _NO_DISK:
        return Finding("storage", name, broken, text, "make room: no checkpoint fits")
    if free < little:
        return Finding("storage", name, "warning", text, "make room: a few checkpoints fill it")
    return Finding("storage", name, "ok", text)


def as_size(size: int) -> str:
    """Bytes for people.

    >>> as_size(64 << 20), as_size(3 << 29)
    ('64 MiB', '1.5 GiB')
    """
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / (1 << 20):.0f} MiB"
