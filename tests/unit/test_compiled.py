"""Compiled training: nothing is compiled again, and the numbers of the padded batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Outcome
from run_files import results
from torch import Tensor
from transformers import AutoConfig, AutoModelForTokenClassification

from ner_module.model.blocks import Layout
from ner_module.model.packed import compile_training, prepare


def losses_and_gradients(
    model: Any, batches: list[tuple[Tensor, list[int]]], logits_of: Callable[[Tensor, list[int]], Tensor]
) -> list[tuple[float, dict[str, Tensor]]]:
    found = []
    for input_ids, lengths in batches:
        model.zero_grad()
        labels = input_ids % 5
        loss = F.cross_entropy(logits_of(input_ids, lengths), labels)
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients))
    return found


def padded(model: Any) -> Callable[[Tensor, list[int]], Tensor]:
    """transformers' own way, written without the functions under test."""

    def logits(input_ids: Tensor, lengths: list[int]) -> Tensor:
        rows = input_ids.split(lengths)
        ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=model.config.pad_token_id)
        real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
        found: Tensor = model(input_ids=ids, attention_mask=real.long()).logits[real]
        return found

    return logits


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert-uncased", "distilbert", "electra", "roberta", "modernbert", "deberta-v3"])
def test_losses_and_gradients_are_those_of_padded_batches_and_nothing_is_compiled_again(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    torch._dynamo.reset()
    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_pretrained(tiny_model(family), dtype=torch.float32, num_labels=5)
    model.eval()  # without dropout
    random = np.random.default_rng(0)
    batches = []
    for _ in range(30):
        lengths = random.integers(2, 65, random.integers(1, 20)).tolist()
        batches.append((torch.from_numpy(random.integers(5, 300, sum(lengths))), lengths))
    model.set_attn_implementation("sdpa")
    expected = losses_and_gradients(model, batches, padded(model))
    prepare(model)
    logits_of = compile_training(model)
    found = losses_and_gradients(model, batches[:5], logits_of)
    compiled = dict(torch._dynamo.utils.counters["stats"])
    assert compiled["unique_graphs"] > 0
    found += losses_and_gradients(model, batches[5:], logits_of)
    assert dict(torch._dynamo.utils.counters["stats"])["unique_graphs"] == compiled["unique_graphs"]
    for (loss, gradients), (true_loss, true_gradients) in zip(found, expected, strict=True):
        assert loss == pytest.approx(true_loss, rel=1e-5)
        assert gradients.keys() == true_gradients.keys()
        largest = max(gradient.abs().max().item() for gradient in true_gradients.values())
        for name, gradient in true_gradients.items():
            torch.testing.assert_close(gradients[name], gradient, atol=3e-6 * largest, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "family",
    ["modernbert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert-uncased", "distilbert", "roberta"))],
)
def test_with_flash_attention_a_step_is_one_graph_whatever_the_batch(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    """On tensors without data: what CUDA compiles is traced here, forward and backward, but not computed."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config = AutoConfig.from_pretrained(tiny_model(family), num_labels=5)
    model = AutoModelForTokenClassification.from_config(config).to("meta", torch.bfloat16).train()
    prepare(model)
    forward = torch.compile(model.forward, backend="aot_eager", fullgraph=True, dynamic=True)
    for lengths in ([30, 34], [64, 60, 4], [9] * 40, [64] * 3 + [2] * 32):
        layout = Layout(lengths, torch.device("meta"), blocked=False)
        row = torch.empty(1, sum(lengths), dtype=torch.int64, device="meta")
        logits = forward(input_ids=row, position_ids=row, attention_mask=None, layout=layout).logits
        assert logits.shape == (1, sum(lengths), 5)
        logits.float().sum().backward()
        assert all(p.grad is not None for name, p in model.named_parameters() if "token_type" not in name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_compiled_training_learns_the_same(
    fit_options: list[str], run_main: Callable[..., Outcome], tmp_path: Path
) -> None:
    rows = {}
    for how in ("none", "kernels"):
        options = ["--model.compile", how, "--model.dropout", 0, "--run_dir", how]
        run_main("fit", *fit_options, *options)
        rows[how] = results(tmp_path / how)
    for expected, found in zip(rows["none"]["epochs"], rows["kernels"]["epochs"], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [["--model.padding", "longest"], ["--model.gradient_checkpointing", "true"]])
def test_what_cannot_be_compiled_is_one_line(
    options: list[str], fit_options: list[str], run_main: Callable[..., Outcome]
) -> None:
    outcome = run_main("fit", *fit_options, "--run_dir", "run", "--model.compile", "kernels", *options, check=False)
    assert outcome.code == 1
    [line] = outcome.errors()
    assert line.startswith("error: --model.compile kernels needs --model.padding none, ")
