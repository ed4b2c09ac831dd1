"""AdamW's groups against the transformers `Trainer`'s, and schedules against values worked by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from tiny_models import FAMILIES
from torch import nn
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from ner_module.model.encoder import build_from_base
from ner_module.model.optimizer import (
    SchedulerType,
    clip_within_step,
    freeze,
    make_optimizer,
    make_scheduler,
)

# `Trainer.get_decay_parameter_names` of transformers 5.23, which needs a whole Trainer to be asked.
NOT_DECAYED = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_and_norms_do_not_decay(family: str, tiny_model: Callable[..., Path]) -> None:
    model = build_from_base(str(tiny_model(family)), None, ["O", "B-A", "I-A"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, spared = make_optimizer(model, 1e-5, 0.01, fused=True).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    found = {names[id(parameter)] for parameter in decayed["params"]}
    assert found == set(get_parameter_names(model, [nn.LayerNorm], NOT_DECAYED))
    rest = {names[id(parameter)] for parameter in spared["params"]}
    assert found | rest == set(names.values())
    assert len(decayed["params"]) + len(spared["params"]) == len(names), "each once"
    # By shape: what decays are matrices, what does not are vectors.
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert {parameter.ndim for parameter in spared["params"]} == {1}
    assert any("norm" in name.lower() for name in rest)
    assert any("embeddings" in name for name in found)


def test_norms_of_any_make_frozen_and_shared_parameters() -> None:
    class OwnNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    model = nn.ModuleDict(
        {
            "rms": nn.RMSNorm(3),
            "own": OwnNorm(),
            "layer": nn.LayerNorm(3),
            "a": nn.Linear(3, 3),
            "frozen": nn.Linear(3, 3),
        }
    )
    model["shared"] = nn.Linear(3, 3)
    model["shared"].weight = model["a"].weight
    model["frozen"].requires_grad_(False)
    decayed, spared = make_optimizer(model, 1e-5, 0.1, fused=True).param_groups
    # What is frozen has its place, should a callback unfreeze it; without a gradient it stays as it is.
    assert [id(parameter) for parameter in decayed["params"]] == [id(model["a"].weight), id(model["frozen"].weight)]
    assert len(spared["params"]) == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_rates_of_head_layers_and_embeddings(family: str, tiny_model: Callable[..., Path]) -> None:
    model = build_from_base(str(tiny_model(family)), None, ["O", "B-A", "I-A"])
    groups = make_optimizer(model, 1.0, 0.01, True, 7.0, 0.5).param_groups
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    rates: dict[float, set[str]] = {}
    for name, parameter in model.named_parameters():
        rates.setdefault(rate_of[id(parameter)], set()).add(name)
    assert sum(len(group["params"]) for group in groups) == sum(map(len, rates.values())), "each once"
    assert [group["lr"] for group in groups[::2]] == [1.0, 0.5, 0.25, 7.0]
    base = {f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_parameters()}
    assert rates[7.0] == {name for names in rates.values() for name in names} - base
    assert all("classifier" in name or name.startswith("head.") for name in rates[7.0])
    assert {name for name in rates[0.5] if "layer" in name} == rates[0.5]
    assert all(re.search(r"layers?\.0\.", name) for name in rates[0.5])
    assert any("word_embeddings" in name or "tok_embeddings" in name for name in rates[0.25])
    assert all("embeddings" in name for name in rates[0.25])
    assert any(re.search(r"layers?\.1\.", name) for name in rates[1.0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("what", ["embeddings", 1, "encoder"])
def test_a_frozen_part_stays_as_it_is(family: str, what: Any, tiny_model: Callable[..., Path]) -> None:
    model = build_from_base(str(tiny_model(family)), None, ["O", "B-A", "I-A"])
    freeze(model, "none")
    assert all(parameter.requires_grad for parameter in model.parameters())
    freeze(model, what)
    bound = {"embeddings": 0.25, 1: 0.5, "encoder": 1.0}[what]
    for group in make_optimizer(model, 1.0, 0.0, True, 7.0, 0.5).param_groups:
        assert {parameter.requires_grad for parameter in group["params"]} <= {group["lr"] > bound}
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, 1e-2, 0.1, fused=True)
    model(input_ids=torch.tensor([[1, 5, 7, 2]]), labels=torch.tensor([[0, 1, 2, 0]])).loss.backward()
    clip_within_step(optimizer, 1.0)
    optimizer.step()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
    assert not torch.equal(model.classifier.weight, before["classifier.weight"])


def test_more_layers_cannot_be_frozen_than_there_are(tiny_model: Callable[..., Path]) -> None:
    model = build_from_base(str(tiny_model()), None, ["O", "B-A", "I-A"])
    with pytest.raises(MisconfigurationException, match=r"--model\.freeze 3: the model has 2 layers"):
        freeze(model, 3)


@pytest.mark.parametrize("fused", [False, True])
def test_the_optimiser_and_its_step_worked_by_hand(fused: bool) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 2.0)
    optimizer = make_optimizer(model, 0.1, 0.5, fused)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.9, 0.999), 1e-8)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([3.0])
    optimizer.step()
    # The first step of Adam is the rate whatever the gradient; decay takes rate · decay of the weight.
    assert model.weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    assert model.bias.item() == pytest.approx(2 - 0.1, abs=1e-6)


def rates(kind: Any, total: int, ratio: float, steps: int) -> list[float]:
    """The rate of each step and after the last, from a peak of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer, kind, total, ratio)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("kind", "ratio", "expected"),
    [
        ("linear", 0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]),
        ("linear", 0.2, [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]),
        ("linear", 0.11, [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]),  # 1.1 steps are 2
        ("constant", 0.0, [1] * 11),
        ("constant", 0.2, [0, 0.5, *[1] * 9]),
        ("cosine", 0.0, [(1 + math.cos(math.pi * step / 10)) / 2 for step in range(11)]),
        ("cosine", 0.2, [0, 0.5, *[(1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]]),
        ("linear", 1.0, [step / 10 for step in range(10)] + [0]),
    ],
)
def test_schedules_worked_by_hand(kind: str, ratio: float, expected: list[float]) -> None:
    assert rates(kind, 10, ratio, 10) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", get_args(SchedulerType))
def test_schedules_are_those_of_transformers(kind: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = get_scheduler(
        "constant_with_warmup" if kind == "constant" else kind, optimizer, num_warmup_steps=13, num_training_steps=123
    )
    expected = [reference.lr_lambdas[0](step) for step in range(124)]
    assert rates(kind, 123, 0.1, 123) == pytest.approx(expected)


def test_a_training_of_one_step() -> None:
    assert rates("linear", 1, 0.0, 1) == [1, 0]


def assert_clipping_is_equal(size: float, device: str = "cpu") -> None:
    """Weights after four steps are the same, whether gradients of this size are clipped before or within the step."""
    models = []
    for within in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3)).to(device)
        optimizer = make_optimizer(model, 1e-2, 0.1, fused=True)
        for step in range(4):
            for parameter in model.parameters():
                gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
                parameter.grad = gradient.to(device) * size
            if within:
                clip_within_step(optimizer, 1.0)
            else:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        models.append(model)
    for before, after in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_clipping_within_the_step_is_clipping_before_it(size: float) -> None:
    assert_clipping_is_equal(size)


@pytest.mark.parametrize(
    "forged",
    [
        {"exp_avg": torch.zeros(1)},  # a fused step would read and write past its end
        {"exp_avg_sq": torch.zeros(3, 2, dtype=torch.int64)},
        {"exp_avg_sq": torch.zeros(3, 2, dtype=torch.complex64)},
        {"step": torch.zeros(3, 2)},
        {"max_exp_avg_sq": torch.zeros(3, 2)},
        {"exp_avg": None},
    ],
    ids=lambda forged: next(iter(forged)),
)
def test_moments_that_are_not_those_of_the_parameters_are_refused(forged: dict[str, Any]) -> None:
    saved, other = _stepped(), _stepped()
    state = saved.state_dict()
    state["state"][0] = {name: value for name, value in {**state["state"][0], **forged}.items() if value is not None}
    with pytest.raises(ValueError, match=r"state of a parameter \(3, 2\)"):
        other.load_state_dict(state)


def test_a_checkpoint_sets_no_options_of_the_optimiser() -> None:
    saved, other = _stepped(), _stepped()
    state = saved.state_dict()
    state["param_groups"][0].update(lr=0.5, betas="x", weight_decay=1e9, maximize=True, amsgrad=True, fused=False)
    own = {**other.param_groups[0], "params": None}
    other.load_state_dict(state)
    assert {**other.param_groups[0], "params": None} == {**own, "lr": 0.5}


def _stepped() -> torch.optim.AdamW:
    model = nn.Linear(2, 3, bias=False)
    optimizer = make_optimizer(model, 0.1, 0.01, fused=True)
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    return optimizer
