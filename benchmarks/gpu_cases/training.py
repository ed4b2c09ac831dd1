"""A training step on one device, by shape, precision, padding and batch: forward, backward, clipping and AdamW alone.

Not here: data, callbacks and what other programs take for the same batches (`programs.py`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from gpu_cases.made_up import LABELS, batches, build
from gpu_cases.report import Report, device, time_steps

# Name -> autocast, precision of float32 products.
PRECISIONS: dict[str, tuple[torch.dtype | None, str]] = {
    "fp32": (None, "highest"),
    "tf32": (None, "high"),
    "fp16": (torch.float16, "highest"),
    "bf16": (torch.bfloat16, "highest"),
}
# Name -> sentences, most subword tokens.
SIZES: dict[str, tuple[int, int | None]] = {"16": (16, None), "32": (32, None), "4k": (0, 4096), "16k": (0, 16384)}
_WARM_UP, _STEPS, _SECONDS = 4, 24, 2.5


def grid(shape: str, precisions: list[str], sizes: list[str], compile: bool, profile: bool) -> Any:
    """A case: all combinations, packed and (uncompiled) padded."""
    return partial(_grid, shape=shape, precisions=precisions, sizes=sizes, compile=compile, profile=profile)


def _grid(
    report: Report,
    small: bool,
    work: Path,
    shape: str,
    precisions: list[str],
    sizes: list[str],
    compile: bool,
    profile: bool,
) -> None:
    from ner_module.model.module import NERModule
    from ner_module.model.packed import compile_training

    module = NERModule(shape)
    module.use_model(build(shape, small, device()))
    module.to(device()).train()
    encoder = sum(p.numel() for p in module.model.parameters()) - module.model.get_input_embeddings().weight.numel()
    report["model"] = {"weights": sum(p.numel() for p in module.parameters()), "without_embeddings": encoder}
    if small:
        precisions, sizes = [name for name in precisions if name in ("fp32", "bf16")], sizes[:1]
    logits_of = compile_training(module.model) if compile else module
    for precision in precisions:
        step = TrainingStep(module, logits_of, *PRECISIONS[precision])
        for size in sizes:
            step.batches = [_tensors(lengths) for lengths in batches("conll2003", *SIZES[size], _WARM_UP + _STEPS)]
            real = sum(sum(lengths) for _, _, lengths in step.batches) / len(step.batches)
            for padding in ("none",) if compile else ("none", "longest"):
                name = f"{precision} {size} {padding}" + (" compiled" if compile else "")
                with report.attempt(name):
                    # A padded batch with a mask is computed as in a model that is not packed.
                    module.packed = padding == "none"
                    warm_up = 2 if small else 20 if compile else _WARM_UP
                    found = time_steps(step, warm_up, 2 if small else _STEPS, _SECONDS)
                    rate = 1000 * real / found["ms"]
                    found |= {"tokens_per_second": round(rate), "tflops": round(6 * encoder * rate / 1e12, 3)}
                    if padding == "none" and size == "16" and precision == "bf16" and profile:
                        found |= _profile(step, 3 if small else 10)
                    report[name] = found


class TrainingStep:
    """One step on the next of some batches, again and again."""

    def __init__(self, module: Any, logits_of: Any, dtype: torch.dtype | None, products: str) -> None:
        from ner_module.model.optimizer import make_optimizer

        torch.set_float32_matmul_precision(products)
        self.module, self.logits_of, self.dtype = module, logits_of, dtype
        self.optimizer = make_optimizer(module, 1e-5, 0.01, fused=dtype != torch.float16)
        self.scaler = torch.amp.GradScaler(device().type, enabled=dtype == torch.float16)
        self.batches: list[tuple[torch.Tensor, torch.Tensor, list[int]]] = []

    def __call__(self, index: int) -> None:
        """As the module trains."""
        from ner_module.model.optimizer import clip_within_step

        ids, labels, lengths = self.batches[index % len(self.batches)]
        with torch.autocast(device().type, self.dtype, enabled=self.dtype is not None):
            logits = self.logits_of(ids, lengths)
        loss = F.cross_entropy(logits.float(), labels)
        if self.dtype == torch.float16:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            clip_within_step(self.optimizer, 1.0)
            self.optimizer.step()
        self.optimizer.zero_grad()


def _tensors(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    chance = torch.Generator().manual_seed(len(lengths))
    ids = torch.randint(5, 900, (sum(lengths),), generator=chance)
    return ids.to(device()), (ids % len(LABELS)).to(device()), lengths


def _profile(step: TrainingStep, steps: int) -> dict[str, Any]:
    """How busy the device is, and with what."""
    import time

    from torch.profiler import ProfilerActivity, profile

    cuda = device().type == "cuda"
    chosen = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=chosen) as profiler:
        begun = time.perf_counter()
        for index in range(steps):
            step(index)
        if cuda:
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - begun
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    # On CUDA an operator and the kernels that it launches are rows of their own; only kernels took the device's time.
    rows = [row for row in profiler.key_averages() if not row.is_user_annotation]
    rows = [row for row in rows if not cuda or row.device_type.name == "CUDA"]
    times = {row.key: getattr(row, name) / 1e6 for row in rows}
    busy = sum(times.values())
    largest = sorted(times.items(), key=lambda item: -item[1])[:12]
    return {
        "profiled_ms": round(1000 * elapsed / steps, 3),
        "busy_share": round(busy / elapsed, 3),
        "launches_a_step": round(sum(row.count for row in rows) / steps),
        "largest": {key[:80]: round(spent / busy, 3) for key, spent in largest},
    }
