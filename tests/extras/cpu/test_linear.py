"""Linear layers by oneDNN: the numbers of torch's own, and only where they are meant to be used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification

from ner_module.extras.cpu import kernels
from ner_module.extras.cpu.kernels import FastLinear, onednn_is_faster, use_cpu_kernels

here = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available(),
    reason="this torch has no oneDNN",
)


def results(layer: nn.Module, values: Tensor, weights: Tensor) -> list[Tensor]:
    values = values.clone().requires_grad_()
    layer.zero_grad()
    out = layer(values)
    (out * weights.to(out.dtype)).sum().backward()
    return [out.detach(), *(part.grad for part in (values, *layer.parameters()) if part.grad is not None)]


@here
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7,), (1, 130), (3, 5), (1, 1)])
def test_values_and_gradients_are_those_of_double_precision(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = FastLinear(48, 33, bias=bias)
    values, weights = torch.randn(*shape, 48), torch.randn(*shape, 33)
    found = results(layer, values, weights)
    expected = results(copy.deepcopy(layer).double(), values.double(), weights.double())
    assert len(found) == len(expected) == 3 + bias
    for mine, true in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), true, atol=1e-5, rtol=1e-5)


@here
def test_a_transposed_view_and_a_frozen_weight() -> None:
    torch.manual_seed(0)
    layer = FastLinear(20, 9)
    values = torch.randn(20, 6).T
    torch.testing.assert_close(layer(values), nn.Linear.forward(layer, values))
    layer.requires_grad_(False)
    values = values.detach().requires_grad_()
    layer(values).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, layer.weight.sum(0).expand(6, 20))
    assert layer.weight.grad is None


@here
def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    layer, values = FastLinear(4, 4), torch.randn(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(values).square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_elsewhere_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Tensor:
        raise AssertionError("oneDNN was called")

    monkeypatch.setattr(kernels, "onednn_linear", fail)
    layer = FastLinear(4, 3)
    assert layer(torch.empty(0, 4)).shape == (0, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 4)).dtype == torch.bfloat16
    assert layer.double()(torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64
    assert layer.to("meta")(torch.ones(2, 4, dtype=torch.float64, device="meta")).shape == (2, 3)
    with pytest.raises(AssertionError, match="oneDNN was called"):
        FastLinear(4, 3)(torch.ones(2, 4))


@pytest.mark.parametrize("faster", [True, False])
def test_a_model_takes_them_where_they_are_faster(
    faster: bool, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "onednn_is_faster", lambda: faster)
    model = AutoModelForTokenClassification.from_pretrained(tiny_model(), dtype=torch.float32)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    use_cpu_kernels(model)
    assert {type(layer) for layer in layers} == {FastLinear if faster else nn.Linear}
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before


@pytest.mark.parametrize(
    ("machine", "capability", "vendor", "faster"),
    [
        ("x86_64", "AVX512", "AuthenticAMD", True),
        ("x86_64", "AVX512", "GenuineIntel", False),
        ("x86_64", "AVX2", "AuthenticAMD", False),
        ("aarch64", "DEFAULT", "", False),
        ("x86_64", "AVX512", None, False),
    ],
)
@here
def test_which_machines(
    machine: str, capability: str, vendor: str | None, faster: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    if vendor is not None:
        file.write_text(f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(kernels, "Path", lambda _: file)
    monkeypatch.setattr(kernels.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert onednn_is_faster.__wrapped__() is faster
