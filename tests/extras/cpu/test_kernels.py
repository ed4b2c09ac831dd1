"""The door to the CPU kernels: what it puts into a model, and which lengths a packed sequence has then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ner_module.extras.cpu import kernels
from ner_module.extras.cpu.attention import attention
from ner_module.model.encoder import build_from_base
from ner_module.model.packed import prepare

CPU = torch.device("cpu")


@pytest.mark.parametrize("multiplies", [True, False])
def test_lengths_come_again_where_onednn_multiplies(
    multiplies: bool, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: multiplies)
    model = build_from_base(str(tiny_model()), None, ["O", "B-A", "I-A"])
    prepare(model)
    kernels.use_cpu_kernels(model)
    assert model.attend is attention
    assert model.length_multiple(CPU) == (16 if multiplies else 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.length_multiple(CPU) == 16
    assert model.length_multiple(torch.device("meta")) == 1
