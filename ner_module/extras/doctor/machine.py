"""Devices, communication between processes, and disks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from ner_module.extras.cpu.threads import usable_cpus
from ner_module.extras.doctor.check import Check, describe, warned_if
from ner_module.training.runs import RUNS

_GIB = 1 << 30
# A checkpoint of a BERT-base with its optimiser state is 1.3 GB, and a run has three of them.
_LITTLE_DISK, _NO_DISK = 5 * _GIB, 200 << 20
# Docker gives 64 MiB, which a few loader workers or one NCCL ring fill.
_LITTLE_SHARED_MEMORY = 128 << 20


def devices() -> Iterator[Check]:
    """GPUs, CPU threads, and which of them compute in bf16."""
    import torch

    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        text = f"{device.name}, {_size(device.total_memory)}, compute {device.major}.{device.minor}, {bf16}"
        yield Check("devices", f"cuda:{index}", "ok", text)
    if not torch.cuda.is_available():
        advice = "PyTorch is built without CUDA: install the build of PyPI, `make clean` and `make setup`"
        if built := torch.version.cuda:
            advice = f"the driver does not fit CUDA {built}, or CUDA_VISIBLE_DEVICES hides it: see `nvidia-smi`"
        if Path("/dev/nvidiactl").exists():
            yield Check("devices", "CUDA", "warning", "there is a GPU that PyTorch cannot use", advice)
        else:
            yield Check("devices", "CUDA", "info", "none" if built else "none, and PyTorch is built without CUDA")
    if torch.backends.mps.is_available():
        yield Check("devices", "MPS", "ok", "available; one process only")
    # Private functions: those a build does not have count as no.
    queries = {"AMX": "_is_amx_tile_supported", "AVX-512": "_is_avx512_bf16_supported"}
    by = [name for name, query in queries.items() if getattr(torch.cpu, query, bool)()]
    bf16 = f"by {by[0]}" if by else "without hardware support: correct, and slower than float32"
    usable, threads = usable_cpus(), torch.get_num_threads()
    text = f"{threads} threads on {usable:g} usable cores, bf16 {bf16}"
    advice = f"more threads than cores slow each other down: OMP_NUM_THREADS={max(1, int(usable))}"
    yield warned_if(threads > max(1.0, usable), "devices", "CPU", text, advice)


def communication() -> Iterator[Check]:
    """A sum over gloo, and over NCCL where there is a GPU."""
    import torch

    yield _sum_over("gloo", "cpu", needed=False)
    if torch.cuda.is_available():
        yield _sum_over("nccl", "cuda:0", needed=torch.cuda.device_count() > 1)


def _sum_over(backend: str, device: str, needed: bool) -> Check:
    """Set up a group of this process alone, and sum a tensor over it."""
    import torch
    import torch.distributed as dist

    try:
        # A store of its own: the variables and ports of a launcher are left alone.
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timedelta(seconds=20))
        values = torch.arange(4.0, device=device)
        dist.all_reduce(values)
        if values.tolist() != [0.0, 1.0, 2.0, 3.0]:
            return Check("communication", backend, "error", f"a wrong sum: {values.tolist()}", "do not train here")
        version = torch.cuda.nccl.version() if backend == "nccl" else ()  # type: ignore[no-untyped-call]
        return Check("communication", backend, "ok", f"{'.'.join(map(str, version))} sums".strip())
    except Exception as error:
        advice = "is it in this build of PyTorch, does the host name resolve, and does NCCL_SOCKET_IFNAME or "
        advice += "GLOO_SOCKET_IFNAME name an interface? One process works without it"
        return Check("communication", backend, "error" if needed else "warning", describe(error), advice)
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def storage() -> Iterator[Check]:
    """The folders for runs and caches, and the shared memory through which processes exchange batches."""
    tokenised = Path(os.environ.get("NER_MODULE_CACHE") or Path.home() / ".cache" / "ner_module")
    hub = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    yield check_folder("runs", RUNS)
    yield check_folder("tokenised data", tokenised)
    yield check_folder("hub cache", hub.expanduser(), broken="warning")  # a filled cache may well be read-only
    yield check_folder("temporary files", Path(tempfile.gettempdir()), little=_GIB)
    if Path("/dev/shm").is_dir():
        size = shutil.disk_usage("/dev/shm").total
        advice = "loader workers and NCCL need more: `docker run --shm-size 1g`, or --data.num_workers 0"
        yield warned_if(size < _LITTLE_SHARED_MEMORY, "storage", "shared memory", _size(size), advice)


def check_folder(name: str, folder: Path, broken: str = "error", little: int = _LITTLE_DISK) -> Check:
    """Whether a file can be written into a folder, or into the nearest parent that exists, and how much room there is.

    Args:
        name: what the folder is for.
        folder: the folder; it is not created.
        broken: the status of a folder that cannot be used.
        little: fewer free bytes than this are a warning.
    """
    folder = folder.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        free = shutil.disk_usage(nearest).free
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        advice = "mount a folder there that this user may write to, or run elsewhere"
        return Check("storage", name, broken, f"{folder}: {error.strerror}", advice)
    text = f"{folder}, {_size(free)} free"
    if free < _NO_DISK:
        return Check("storage", name, broken, text, "free some space: no checkpoint fits")
    return warned_if(free < little, "storage", name, text, "free some space: a few checkpoints fill it")


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
