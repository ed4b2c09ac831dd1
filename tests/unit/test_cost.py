"""What a step costs, by counting: computed subwords, steps, matrix products, tensors. Waits: `test_waits.py`.

Counts are the same on every machine, so that a change that computes more is seen where timing would be noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from ner_module.data.datamodule import NERDataModule
from ner_module.model.blocks import Layout
from ner_module.model.module import NERModule


class Operations(TorchDispatchMode):
    """Counts operations by name, and the bytes of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.rows: Counter[int] = Counter()
        """Rows of the left factor of each product with a weight -> how often."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.calls[name] += 1
        if name == "addmm":
            self.rows[args[1].shape[0]] += 1
        if name == "mkldnn::_linear_pointwise" and args[2] is not None:  # without bias it is a backward pass
            self.rows[args[0].shape[0]] += 1
        return func(*args, **(kwargs or {}))


class Watch(Callback):
    """Watches the steps of a training."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[int], Operations]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((batch["lengths"], Operations()))
        self.steps[-1][1].__enter__()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.steps[-1][1].__exit__(None, None, None)


@pytest.fixture
def watch(tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path) -> Callable[..., list[Any]]:
    """``watch(padding="none", …)``: lengths and operations of each step of one epoch."""

    def run(padding: str = "none", **options: Any) -> list[Any]:
        data = NERDataModule(
            str(tiny_model()),
            train_file=str(corpus / "train.conll"),
            validation_file=str(corpus / "validation.conll"),
            **options,
        )
        module = NERModule(str(tiny_model()), dropout=0.0, padding=padding)  # type: ignore[arg-type]
        seen = Watch()
        trainer = Trainer(
            default_root_dir=tmp_path,
            accelerator="cpu",
            max_epochs=1,
            gradient_clip_val=1.0,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            log_every_n_steps=10**6,
            callbacks=[seen],
        )
        trainer.fit(module, data)
        return seen.steps

    return run


def test_only_real_subwords_are_computed(watch: Callable[..., list[Any]]) -> None:
    steps = watch()
    assert len(steps) == 8
    for lengths, operations in steps:
        # Two layers of six linear layers, and the head: every one on the real subwords, and less than 16 others.
        [(length, calls)] = operations.rows.items()
        assert calls == 13
        assert 0 <= length - sum(lengths) < 16
    assert all(operations.rows == {len(n) * max(n): 13} for n, operations in watch("longest"))


def test_an_epoch_computes_each_subword_once_and_attention_little_more(
    watch: Callable[..., list[Any]], tiny_model: Callable[..., Path], corpus: Path
) -> None:
    steps = watch()
    total = sum(sum(lengths) for lengths, _ in steps)
    data = NERDataModule(
        str(tiny_model()), train_file=str(corpus / "train.conll"), validation_file=str(corpus / "validation.conll")
    )
    data.prepare_data()
    data.setup("fit")
    assert total == data.encoded["train"].sequence_lengths.sum()
    layouts = [Layout(lengths, torch.device("cpu")) for lengths, _ in steps]
    assert sum(len(layout.take) for layout in layouts) < 1.15 * total


def test_a_step_is_one_optimiser_call_and_few_others(watch: Callable[..., list[Any]]) -> None:
    steps = watch()
    assert all(operations.calls["_fused_adamw_"] == 2 for _, operations in steps), "one for each parameter group"
    assert all("mul_" not in operations.calls for _, operations in steps), "clipping has no pass of its own"
    # Attention: at most four blocks in each of two layers, and three gathers and one back per layer, both ways.
    for _, operations in steps:
        assert operations.calls["_scaled_dot_product_flash_attention_for_cpu"] <= 8
        assert operations.calls["index_add"] + operations.calls["index_add_"] == 2 * 4
    assert np.mean([sum(operations.calls.values()) for _, operations in steps[1:]]) < 700
