"""Flash attention without a GPU: torch's operator registered for the CPU by its formula, or on tensors without data.

What reaches the operator, its derivative and what comes of both are torch's own and the project's; only the kernel is
another (`flash_on_cpu.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flash_on_cpu import flash_on_cpu
from test_packed import _SMALL, BATCHES, LABELS, assert_equal, batch_of, exact, reference
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForTokenClassification, EuroBertConfig

from ner_module.model import blocks, packed
from ner_module.model.packed import packed_logits, prepare, takes_flash

FAMILIES = ("bert-uncased", "distilbert", "electra", "eurobert", "modernbert", "roberta", "xlm-roberta")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Dtype and window of each call of the operator, on the CPU."""
    found: list[Any] = []
    monkeypatch.setattr(packed, "takes_flash", lambda model, device: True)
    with flash_on_cpu(calls=found):
        yield found


def model_of(family: str, tiny_model: Callable[..., Path]) -> Any:
    torch.manual_seed(1)
    if family == "eurobert":
        config = EuroBertConfig(**_SMALL, num_key_value_heads=2)
        return AutoModelForTokenClassification.from_config(config).eval()
    return AutoModelForTokenClassification.from_pretrained(
        tiny_model(family), dtype=torch.float32, num_labels=len(LABELS)
    ).eval()


def test_the_operator_is_the_one_that_is_called() -> None:
    """Private to torch: a version that changes it must fail here, not on a GPU. Later ones may add arguments."""
    forward = str(torch.ops.aten._flash_attention_forward.default._schema)
    assert forward.startswith(
        "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? cum_seq_q, Tensor? cum_seq_k, "
        "SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None, "
        "SymInt? window_size_left=None, SymInt? window_size_right=None, "
    )
    assert forward.partition(" -> ")[2].startswith("(Tensor output, ")
    backward = str(torch.ops.aten._flash_attention_backward.default._schema)
    assert "SymInt? window_size_left=None, SymInt? window_size_right=None" in backward


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_loss_and_gradients_are_those_of_the_padded_batch(
    family: str, checkpointing: bool, tiny_model: Callable[..., Path], calls: list[Any]
) -> None:
    model, lengths = model_of(family, tiny_model), BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    expected = reference(model, input_ids, labels, lengths)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
            if hasattr(part, "attention_dropout"):
                part.attention_dropout = 0.0
    assert_equal(exact(model, input_ids, labels, lengths), expected)
    assert {dtype for dtype, _ in calls} == {torch.float32}
    windows = {window for _, window in calls}
    assert windows == ({None, model.config.sliding_window} if family == "modernbert" else {None})
    assert len(calls) == model.config.num_hidden_layers * (1 + checkpointing)


@pytest.mark.parametrize("family", FAMILIES)
def test_under_autocast_bfloat16_reaches_it_and_little_is_lost(
    family: str, tiny_model: Callable[..., Path], calls: list[Any]
) -> None:
    model, lengths = model_of(family, tiny_model), BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    expected = reference(model, input_ids, labels, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        logits, loss, gradients = exact(model, input_ids, labels, lengths)
    assert {dtype for dtype, _ in calls} == {torch.bfloat16}
    torch.testing.assert_close(loss, expected[1], atol=0, rtol=0.02)
    for found, true in (
        (logits, expected[0]),
        *((gradients[name], expected[2][name]) for name in ("classifier.weight",)),
    ):
        assert (found.float() - true).norm() < 0.05 * true.norm()


def test_dropout_reaches_it(tiny_model: Callable[..., Path], calls: list[Any]) -> None:
    model, lengths = model_of("bert-uncased", tiny_model), BATCHES["many"]
    prepare(model)
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    input_ids, _ = batch_of(lengths)
    same = [packed_logits(model, input_ids, lengths) for _ in range(2)]
    assert torch.equal(*same)
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout.p = 0.1
    one, other = (packed_logits(model, input_ids, lengths) for _ in range(2))
    assert not torch.equal(one, other)
    one.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heads_of_keys", [4, 2])
def test_cuda_tensors_without_data_are_taken_and_none_is_read(
    window: int | None, dtype: torch.dtype, heads_of_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own checks of device, dtype and shapes for CUDA; reading a value would raise."""

    def send(values: Any, device: torch.device) -> torch.Tensor:  # `to` wants a build with CUDA
        return torch.ops.aten._to_copy(torch.from_numpy(values), device=device)

    monkeypatch.setattr(blocks, "send", send)
    with FakeTensorMode(allow_non_fake_inputs=True):
        packed_layout = blocks.Layout([12, 5], torch.device("cuda"), blocked=False)
        assert packed_layout.offsets.device.type == "cuda"
        query, key, value = (
            torch.empty(1, heads, 17, 32, dtype=kind, device="cuda")
            # Rotary positions leave float32 under autocast.
            for heads, kind in ((4, torch.float32), (heads_of_keys, torch.float32), (heads_of_keys, dtype))
        )
        module = torch.nn.Module()
        out, _ = packed._attention(module, query, key, value, None, 0.1, sliding_window=window, layout=packed_layout)
    assert (out.shape, out.device.type, out.dtype) == ((1, 17, 4, 32), "cuda", dtype)


@pytest.mark.parametrize(
    ("capability", "head", "available", "expected"),
    [
        ((8, 0), 64, True, True),
        ((9, 0), 256, True, True),
        ((8, 6), 192, True, True),
        ((8, 6), 256, True, False),
        ((8, 9), 224, True, False),
        ((12, 0), 256, True, False),
        ((9, 0), 264, True, False),
        ((9, 0), 60, True, False),
        ((7, 5), 64, True, False),
        ((9, 0), 64, False, False),
    ],
)
def test_where_it_is_used(
    capability: tuple[int, int], head: int, available: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch has the same limits: `check_head_dim_size_flash` and what follows it in `sdp_utils.cpp`."""
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    config = AutoConfig.for_model("bert", hidden_size=2 * head, num_attention_heads=2, vocab_size=9)
    model: Any = type("Model", (), {"config": config, "dtype": torch.float32})
    device = torch.device("cuda")
    assert not takes_flash(model, device), "not in float32"
    model.dtype = torch.bfloat16
    assert takes_flash(model, device) is expected
