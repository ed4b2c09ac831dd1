"""Attention by the formula: values, gradients and the mean over dropout, beside torch's own and a hand-written one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ner_module.extras.cpu.attention import attention, draw_mask, num_kept


def by_hand(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, seed: int) -> Tensor:
    """Attention's formula, operator by operator, with the mask that this seed gives."""
    scores = torch.einsum("nhid,nhjd->nhij", query, key) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    torch.manual_seed(seed)
    shares = scores.softmax(-1) * draw_mask(scores.shape, p) * (65536 / num_kept(p))
    return torch.einsum("nhij,nhjd->nhid", shares, value)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients(masked: bool, p: float) -> None:
    torch.manual_seed(3)
    inputs = [torch.randn(3, 1, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    mask = (torch.arange(5) < torch.tensor([5, 3, 1])[:, None])[:, None, None] if masked else None

    def attended(*tensors: Tensor) -> Tensor:
        torch.manual_seed(7)
        return attention(*tensors, mask, p)

    found, expected = attended(*inputs), by_hand(*inputs, mask, p, 7)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    of_found = torch.autograd.grad((found * weights).sum(), inputs)
    of_expected = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(of_found, of_expected)
    assert torch.autograd.gradcheck(attended, inputs)


def test_attention_s_mean_is_that_without_dropout() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 6, 8) for _ in range(3))
    draws = torch.stack([attention(query, key, value, None, 0.2) for _ in range(4000)])
    expected = F.scaled_dot_product_attention(query, key, value)
    assert ((draws.mean(0) - expected).abs() < 5 * draws.std(0) / 4000**0.5).all()


def test_attention_under_autocast_is_half_throughout() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, 9, 8, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(7)
        found = attention(query, key, value, None, 0.2)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert query.grad is not None
    assert query.grad.dtype == torch.float32
    torch.testing.assert_close(found.float(), by_hand(query, key, value, None, 0.2, 7), atol=0.05, rtol=0.05)


def test_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda query, *_, **__: asked.append(query))
    query = torch.ones(1, 1, 2, 4)
    for taken, p in ((query, 0.1), (query.bfloat16(), 0.0)):
        attention(taken, taken, taken, None, p)
    assert not asked
    for taken, p in ((query, 0.0), (query, 1.0), (query.to("meta"), 0.1)):  # with 1.0 everything is dropped
        attention(taken, taken, taken, None, p)
    with torch.no_grad():
        attention(query, query, query, None, 0.1)
    assert len(asked) == 4
