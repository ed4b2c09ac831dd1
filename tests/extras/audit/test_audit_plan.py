"""Steps and memory of a planned training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForTokenClassification

from ner_module.extras.audit.plan import count_devices, count_memory, count_steps, saved_bytes, schedule_findings


@pytest.mark.parametrize(
    ("rows", "batch", "options", "per_epoch", "steps", "epochs"),
    [
        (16, 8, {"max_epochs": 3}, 2, 6, 3),  # the published few-shot recipe
        (17, 8, {"max_epochs": 3}, 3, 9, 3),
        (64, 8, {"max_epochs": 2, "accumulate_grad_batches": 4}, 2, 4, 2),
        (65, 8, {"max_epochs": 1, "accumulate_grad_batches": 4}, 3, 3, 1),
        (64, 8, {"max_epochs": 2, "devices": 4}, 2, 4, 2),
        (64, 8, {"max_epochs": 2, "devices": 2, "num_nodes": 2}, 2, 4, 2),
        (64, 8, {"max_epochs": 10, "max_steps": 20}, 8, 20, 3),
        (64, 8, {"max_epochs": -1, "max_steps": 20}, 8, 20, 3),
        (64, 8, {"max_epochs": 3, "limit_train_batches": 0.5}, 4, 12, 3),
        (64, 8, {"max_epochs": 3, "limit_train_batches": 5}, 5, 15, 3),
        (64, 8, {"max_epochs": -1}, 8, None, None),
    ],
)
def test_steps(
    rows: int, batch: int, options: dict[str, Any], per_epoch: int, steps: int | None, epochs: int | None
) -> None:
    schedule = count_steps([1] * rows, batch, None, {"devices": 1, **options}, warmup_ratio=0.1)
    assert (schedule["steps_per_epoch"], schedule["steps"], schedule["epochs"]) == (per_epoch, steps, epochs)
    [code] = [finding.code for finding in schedule_findings(schedule)]
    assert code == ("no_end" if steps is None else "few_steps")


def test_enough_steps_are_no_finding_and_the_advice_is_enough() -> None:
    assert schedule_findings(count_steps([1] * 1600, 16, None, {"max_epochs": 1, "devices": 1})) == []
    [found] = schedule_findings(count_steps([1] * 16, 8, None, {"max_epochs": 3, "devices": 1}))
    assert "6 steps in all (3 epochs of 2)" in found.message
    advised = int(found.advice.split("max_epochs ")[1].split(",")[0])
    assert schedule_findings(count_steps([1] * 16, 8, None, {"max_epochs": advised, "devices": 1})) == []


@pytest.mark.parametrize(
    ("devices", "expected"), [(2, 2), ("2", 2), ([0, 1, 2], 3), ("0,1", 2), ("auto", 1), (-1, 1), (None, 1)]
)
def test_devices(devices: Any, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert count_devices({"devices": devices}) == expected


@pytest.mark.parametrize("family", ["bert-uncased", "distilbert", "roberta", "electra"])
def test_memory_is_what_a_real_step_on_the_cpu_keeps(tiny_model: Callable[..., Path], family: str) -> None:
    config = AutoConfig.from_pretrained(tiny_model(family))
    memory = count_memory(config, 5, 4, 32)
    real = AutoModelForTokenClassification.from_config(config).train()
    count = sum(parameter.numel() for parameter in real.parameters())
    assert (memory["parameters"], memory["weights"], memory["optimizer"]) == (count, 4 * count, 8 * count)
    assert memory["activations"] == saved_bytes(real, 4, 32, "cpu") > 4 * 32 * 32 * 4


def test_an_architecture_that_asks_for_values_has_no_figure(tiny_model: Callable[..., Path]) -> None:
    assert count_memory(AutoConfig.from_pretrained(tiny_model("deberta-v3")), 5, 4, 32)["activations"] is None
