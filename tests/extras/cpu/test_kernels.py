"""The door to the CPU kernels: what it puts into a model, and which lengths a packed sequence has then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ner_module.extras.cpu import kernels
from ner_module.extras.cpu.attention import FastDropout, attention
from ner_module.model.encoder import build_from_base
from ner_module.model.packed import padded_length, prepare

CPU = torch.device("cpu")


def test_a_model_gets_all_of_them(tiny_model: Callable[..., Path]) -> None:
    model = build_from_base(str(tiny_model()), None, ["O", "B-A", "I-A"])
    prepare(model)
    kernels.use_cpu_kernels(model)
    assert all(type(part) is FastDropout for part in model.modules() if isinstance(part, torch.nn.Dropout))
    assert model.kernels.attend is attention


@pytest.mark.parametrize("multiplies", [True, False])
def test_lengths_come_again_where_onednn_multiplies(
    multiplies: bool, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: multiplies)
    model = build_from_base(str(tiny_model()), None, ["O", "B-A", "I-A"])
    prepare(model)
    kernels.use_cpu_kernels(model)
    expected = [16, 16, 32] if multiplies else [1, 16, 17]
    assert [padded_length(model, total, CPU) for total in (1, 16, 17)] == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert padded_length(model, 17, CPU) == 32
    assert padded_length(model, 17, torch.device("meta")) == 17
