"""Fast dropout: the right share, the right expectation, the gradients of what was kept, and the generator's seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification

from ner_module.extras.cpu.attention import FastDropout, draw_mask, num_kept
from ner_module.extras.cpu.kernels import use_cpu_kernels
from ner_module.model.packed import packed_logits, prepare


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.25])
def test_the_share_that_is_kept(p: float) -> None:
    torch.manual_seed(0)
    mask = draw_mask(torch.Size([1000, 1001]), p)
    assert mask.dtype == torch.bool
    keep = num_kept(p) / 65536
    assert abs(keep - (1 - p)) < 1e-5
    for lane in range(4):  # four elements share a draw
        part = mask.flatten()[lane::4].double()
        tolerance = 5 * (keep * (1 - keep) / len(part)) ** 0.5
        assert part.mean().item() == pytest.approx(keep, abs=tolerance)


def test_elements_of_one_draw_are_independent() -> None:
    torch.manual_seed(0)
    lanes = draw_mask(torch.Size([400_000]), 0.3).view(-1, 4).double().T
    together = torch.corrcoef(lanes) - torch.eye(4)
    assert together.abs().max() < 5 / 100_000**0.5


@pytest.mark.parametrize("size", [1, 3, 4, 1001])
@pytest.mark.parametrize("p", [1e-7, 0.1, 0.5])
def test_masks_of_all_types_keep_the_same(p: float, size: int) -> None:
    masks = []
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        torch.manual_seed(1)
        masks.append(draw_mask(torch.Size([size]), p, dtype))
    assert [mask.dtype for mask in masks] == [torch.bool, torch.bfloat16, torch.bool]
    assert torch.equal(masks[1], masks[0].to(torch.bfloat16))
    assert p > 1e-6 or masks[0].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_kept_is_scaled_and_gets_the_gradient(dtype: torch.dtype) -> None:
    layer = FastDropout(0.4)
    values = torch.rand(37, 53, dtype=dtype) + 1
    values.requires_grad_()
    dropped = layer(values)
    assert dropped.dtype == dtype
    scale = 65536 / num_kept(0.4)
    kept = dropped != 0
    assert 0.5 < kept.double().mean() < 0.7
    torch.testing.assert_close(dropped[kept], values[kept] * scale)
    weights = torch.rand_like(dropped)
    (dropped * weights).sum().backward()
    torch.testing.assert_close(values.grad, torch.where(kept, weights * scale, 0))


def test_the_generator_decides() -> None:
    layer, values = FastDropout(0.5), torch.ones(100)
    state = torch.get_rng_state()
    first, second = layer(values), layer(values)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(layer(values), first)


def test_the_ends_of_the_scale() -> None:
    values = torch.rand(40)
    assert torch.equal(FastDropout(0.0)(values), values)
    assert torch.equal(FastDropout(1.0)(values), torch.zeros(40))
    assert torch.equal(FastDropout(0.3).eval()(values), values)


def test_a_model_has_no_other_dropout_left(tiny_model: Callable[..., Path]) -> None:
    model = AutoModelForTokenClassification.from_pretrained(tiny_model(), dtype=torch.float32).train()
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    use_cpu_kernels(model)
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert list(found) == names
    assert all(type(module) is FastDropout and module.training for module in found.values())
    # Unpadded, with dropout: the gradient is that of the loss, so a small step lowers it as predicted.
    prepare(model)
    input_ids, lengths = torch.randint(5, 90, (30,)), [10, 13, 7]

    def loss() -> Tensor:
        torch.manual_seed(5)
        return F.cross_entropy(packed_logits(model, input_ids, lengths), input_ids % 2)

    before = loss()
    before.backward()
    slope, step = 0.0, 1e-3
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                slope += float(parameter.grad.square().sum())
                parameter -= step * parameter.grad
    assert (before - loss()).item() == pytest.approx(step * slope, rel=0.05)
