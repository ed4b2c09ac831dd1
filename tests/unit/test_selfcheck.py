"""The check of a device, made to run on the CPU: what is right passes, and each way to be wrong is found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Outcome
from flash_on_cpu import Fault, flash_on_cpu
from test_packed import _SMALL
from transformers import AutoModelForTokenClassification, EuroBertConfig

from ner_module.model import blocks, optimizer, packed, selfcheck
from ner_module.model.packed import EXACT_FAMILIES, prepare
from ner_module.model.selfcheck import find_problem

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NER_MODULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "selfcheck"


def half() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def model_of(family: str, tiny_model: Callable[..., Path]) -> Any:
    model = AutoModelForTokenClassification.from_pretrained(tiny_model(family), dtype=torch.float32, num_labels=5)
    prepare(model)
    return model


@pytest.mark.parametrize("flash", [False, True], ids=["blocks", "flash"])
@pytest.mark.parametrize("context", [nullcontext, half], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert-uncased", "deberta-v3", "electra", "modernbert", "roberta"])
def test_what_is_right_passes_once_and_leaves_random_numbers_alone(
    family: str,
    context: Any,
    flash: bool,
    tiny_model: Callable[..., Path],
    own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(family, tiny_model)
    if flash and family != "deberta-v3":
        monkeypatch.setattr(packed, "takes_flash", lambda model, device: True)
    state = torch.get_rng_state()
    with flash_on_cpu(), torch.inference_mode():
        assert find_problem(model, CPU, context) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    compared: list[Any] = []
    monkeypatch.setattr(selfcheck, "_compare", lambda *arguments: compared.append(arguments))
    assert find_problem(model, CPU, context) is None
    assert not compared, "the verdict is kept"
    monkeypatch.setattr(torch, "__version__", "another")
    assert find_problem(model, CPU, context) is None
    assert len(compared) == 1


@pytest.mark.parametrize("context", [nullcontext, half], ids=["fp32", "bf16"])
@pytest.mark.parametrize("fault", ["scale", "window", "offset", "gradient", "nan", "dropout"])
def test_a_broken_kernel_is_found(
    fault: Fault, context: Any, tiny_model: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("modernbert", tiny_model)
    monkeypatch.setattr(packed, "takes_flash", lambda model, device: True)
    with flash_on_cpu(fault):
        problem = find_problem(model, CPU, context)
    assert problem is not None
    assert ("with dropout" if fault == "dropout" else "packed sequences are off by") in problem
    for said in (f"torch {torch.__version__}", "modernbert", "bfloat16" if context is half else "float32"):
        assert said in problem
    assert not own_cache.exists(), "what failed is tried again"


def test_a_cache_that_cannot_be_written_costs_the_next_run_a_check(
    tiny_model: Callable[..., Path], own_cache: Path
) -> None:
    own_cache.parent.parent.mkdir(exist_ok=True)
    own_cache.parent.write_text("a file")
    assert find_problem(model_of("bert-uncased", tiny_model), CPU, nullcontext) is None


def test_an_operator_that_is_not_there_is_found(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "takes_flash", lambda model, device: True)
    problem = find_problem(model_of("bert-uncased", tiny_model), CPU, nullcontext)
    assert problem is not None
    assert "_flash_attention_forward" in problem


def test_a_wrong_place_in_the_blocks_is_found(tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right = blocks.Layout.mask

    def one_too_long(self: Any, index: int, window: int | None) -> Any:
        mask = right(self, index, window)
        return None if mask is None else mask | mask.roll(1, -1)

    monkeypatch.setattr(blocks.Layout, "mask", one_too_long)
    for family in ("bert-uncased", "modernbert", "deberta-v3"):
        for context in (nullcontext, *[half] * (family != "deberta-v3")):
            problem = find_problem(model_of(family, tiny_model), CPU, context)
            assert problem is not None, (family, context)


def test_a_run_on_a_device_that_fails_is_padded_and_says_so(
    fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "TRUSTED", ())
    monkeypatch.setattr(packed, "takes_flash", lambda model, device: True)
    quick = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2]
    with flash_on_cpu("offset"):
        outcome = run_main("fit", *fit_options, *quick, "--run_dir", "run")
    [line] = [line for line in outcome.err.splitlines() if "batches are padded" in line]
    assert "please report" in line
    with flash_on_cpu():
        tested = run_main("test", "--run_dir", "run", "--ckpt_path", "best")
    assert "padded" not in tested.err


@pytest.mark.parametrize("ignored", [False, True])
def test_clipping_is_within_the_step_only_where_that_clips(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if ignored:  # as MPS does
        step = torch.optim.AdamW.step

        def forgetful(self: Any, closure: Any = None) -> Any:
            del self.grad_scale
            return step(self, closure)

        monkeypatch.setattr(torch.optim.AdamW, "step", forgetful)
    optimizer.clips_within_step.cache_clear()
    assert optimizer.clips_within_step(CPU) is not ignored
    optimizer.clips_within_step.cache_clear()


def test_every_family_that_is_packed_can_be_checked(tiny_model: Callable[..., Path]) -> None:
    from tiny_models import FAMILIES

    models = [model_of(family, tiny_model) for family in FAMILIES]
    models.append(AutoModelForTokenClassification.from_config(EuroBertConfig(**_SMALL, num_key_value_heads=2)))
    prepare(models[-1])
    assert {model.config.model_type for model in models} == set(EXACT_FAMILIES)
    assert [find_problem(model, CPU, half) for model in models] == [None] * len(models)


@pytest.mark.parametrize("agreed", [True, False])
def test_one_process_that_fails_makes_all_pad(
    agreed: bool, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    class Strategy:
        def reduce_boolean_decision(self, decision: bool) -> bool:
            asked.append(decision)
            return agreed

    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext), strategy=Strategy())
    monkeypatch.setattr(selfcheck, "TRUSTED", ())
    monkeypatch.setattr(logging.getLogger("ner_module"), "propagate", True)
    assert selfcheck.passes(model_of("bert-uncased", tiny_model), CPU, trainer) is agreed
    assert asked == [True]
    assert ("batches are padded" in caplog.text) is not agreed
