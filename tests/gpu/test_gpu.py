"""What a machine with a GPU proves first: ``pytest -m gpu tests/gpu``.

Each test runs on the CPU, too, where that means something, so that it works the first time a GPU is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome
from lightning.pytorch import Callback, Trainer
from run_files import checkpoint
from test_compiled import losses_and_gradients
from test_optim import assert_clipping_is_equal
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification

from ner_module.data.datamodule import NERDataModule
from ner_module.model import packed
from ner_module.model.blocks import Layout
from ner_module.model.module import NERModule
from ner_module.model.optimizer import clips_within_step
from ner_module.model.packed import compile_training, packed_logits, prepare, takes_flash
from ner_module.model.selfcheck import find_problem

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
DEVICES = [CUDA, "cpu"]

# Heads of the published sizes; two layers of each kind are compared.
SIZES: dict[str, dict[str, Any]] = {
    "bert": {},
    "deberta-v2": {
        "relative_attention": True,
        "share_att_key": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 256,
    },
    "distilbert": {},
    "electra": {},
    "eurobert": {"num_key_value_heads": 12},
    "modernbert": {},
    "roberta": {"max_position_embeddings": 514},
    "xlm-roberta": {"max_position_embeddings": 514},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("device", [CUDA, pytest.param("cpu", marks=pytest.mark.slow)])
def test_packed_is_as_near_to_float32_as_padded(
    device: str, family: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NER_MODULE_CACHE", str(tmp_path))
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    config = AutoConfig.for_model(family, num_hidden_layers=2 if family != "modernbert" else 4, **SIZES[family])
    config.vocab_size, config.pad_token_id = 400, 1
    model = AutoModelForTokenClassification.from_config(config).to(device)
    prepare(model)

    def context() -> Any:
        return nullcontext() if half is None else torch.autocast(device, half)

    with context():
        flash = takes_flash(model, torch.device(device))
    assert flash == (device == "cuda" and half is not None and family != "deberta-v2")
    assert find_problem(model, torch.device(device, *[0] * (device == "cuda")), context) is None


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_keeps_the_share_that_it_should(device: str) -> None:
    """Of even attention to values of one: each output is the share that is kept, scaled up."""
    lengths = [512] * 8
    flash = device == "cuda"
    layout = Layout(lengths, torch.device(device), blocked=not flash)
    dtype = torch.bfloat16 if flash else torch.float32
    query = torch.zeros(1, 4, sum(lengths), 64, dtype=dtype, device=device)
    for p in (0.1, 0.5):
        out, _ = packed._attention(nn.Module(), query, query, torch.ones_like(query), None, p, layout=layout)
        kept = out[..., 0].double()
        assert kept.mean() == pytest.approx(1, abs=0.005)
        assert kept.std() == pytest.approx((p / (1 - p) / 512) ** 0.5, rel=0.1)


@pytest.mark.parametrize("device", DEVICES)
def test_clipping_within_the_step_is_clipping_before_it(device: str) -> None:
    assert clips_within_step(torch.device(device))
    assert_clipping_is_equal(1.0, device)


@pytest.mark.parametrize("device", [CUDA, pytest.param("cpu", marks=pytest.mark.slow)])
def test_two_deterministic_runs_and_a_resumed_one_have_the_same_bits(
    device: str, fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    common = ["--trainer.accelerator", device, "--trainer.devices", 1, "--trainer.deterministic", "true"]
    options = [*fit_options, *common, "--model.dropout", 0.1, "--save_every_steps", 5]
    for name in ("one", "other"):
        run_main("fit", *options, "--run_dir", name)
    found = [checkpoint(tmp_path / name, "last")["state_dict"] for name in ("one", "other")]
    part = tmp_path / "one" / "checkpoints" / "previous.ckpt"
    assert checkpoint(tmp_path / "one", "previous")["global_step"] % 8 != 0, "in the middle of an epoch"
    run_main("fit", *options, "--run_dir", "resumed", "--ckpt_path", part)
    found.append(checkpoint(tmp_path / "resumed", "last")["state_dict"])
    for name, weight in found[0].items():
        assert all(torch.equal(weight, other[name]) for other in found[1:]), name


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["bert-uncased", "roberta", "modernbert", "deberta-v3"])
def test_no_step_waits_for_the_gpu(family: str, tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    """As `test_waits.py` counts, but as CUDA itself sees it."""

    class Strict(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            torch.cuda.set_sync_debug_mode("error" if trainer.global_step > 2 else "default")

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    data = NERDataModule(str(tiny_model(family)), train_file=str(corpus / "train.conll"))
    module = NERModule(str(tiny_model(family)))
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    Trainer(
        accelerator="cuda",
        devices=1,
        precision="bf16-mixed",
        max_epochs=1,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        callbacks=[Strict()],
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        **quiet,
    ).fit(module, data)


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["bert-uncased", "roberta", "modernbert"])
def test_compiled_losses_and_gradients_are_those_of_the_uncompiled(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    torch._dynamo.reset()
    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_pretrained(tiny_model(family), dtype=torch.float32, num_labels=5)
    model.eval().cuda()
    prepare(model)
    random = np.random.default_rng(0)
    batches = []
    for _ in range(40):
        lengths = random.integers(2, 65, random.integers(1, 20)).tolist()
        batches.append((torch.from_numpy(random.integers(5, 300, sum(lengths))).cuda(), lengths))
    with torch.autocast("cuda", torch.bfloat16):
        expected = losses_and_gradients(model, batches, lambda ids, lengths: packed_logits(model, ids, lengths))
        found = losses_and_gradients(model, batches, compile_training(model))
    for (loss, gradients), (true_loss, true_gradients) in zip(found, expected, strict=True):
        assert loss == pytest.approx(true_loss, rel=0.02)
        for name, gradient in true_gradients.items():
            error = (gradients[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
            assert error < 0.1, name
