"""Packed execution: the numbers of the padded batch, family by family, and the losses of a whole epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForTokenClassification, DebertaV2Config, EuroBertConfig, ModernBertConfig

from ner_module.data.batching import Plan, TrainingSampler
from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import BatchAssembler
from ner_module.model import packed
from ner_module.model.blocks import BLOCK_COST, Layout, plan_blocks
from ner_module.model.loss import sum_of_losses
from ner_module.model.module import NERModule
from ner_module.model.optimizer import make_optimizer
from ner_module.model.packed import EXACT_FAMILIES, is_exact, packed_logits, padded_logits, prepare

LABELS = ["O", "B-A", "I-A", "B-B", "I-B"]
CPU = torch.device("cpu")

# Empty sequences (special tokens alone), one, equal ones, the longest the tiny models take, every block count.
BATCHES = {
    "one": [7],
    "one-empty": [2],
    "equal": [5, 5, 5, 5],
    "two-lengths": [9, 3, 9],
    "many": [3, 17, 40, 9, 9, 2, 64, 33, 12, 64, 2, 28],
}


@pytest.fixture(scope="module")
def families(tiny_model: Callable[..., Path]) -> dict[str, Any]:
    from tiny_models import FAMILIES

    models: dict[str, Any] = {}
    for family in FAMILIES:
        torch.manual_seed(1)
        models[family] = AutoModelForTokenClassification.from_pretrained(
            tiny_model(family), dtype=torch.float32, num_labels=len(LABELS)
        ).eval()
    return models


def reference(model: Any, input_ids: Tensor, labels: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor, Any]:
    """transformers' own attention on a padded batch, written without the functions under test."""
    model.set_attn_implementation("sdpa")
    pad = model.config.pad_token_id or 0
    padded = torch.full((len(lengths), max(lengths)), pad)
    mask = torch.zeros_like(padded)
    gold = torch.full_like(padded, -100)
    start = 0
    for row, length in enumerate(lengths):
        padded[row, :length] = input_ids[start : start + length]
        gold[row, :length] = labels[start : start + length]
        mask[row, :length] = 1
        start += length
    model.zero_grad()
    logits = model(input_ids=padded, attention_mask=mask).logits
    loss = F.cross_entropy(logits.flatten(0, 1), gold.flatten(), reduction="sum")
    loss.backward()
    return logits[mask.bool()].detach(), loss.detach(), gradients(model)


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(found: tuple[Tensor, Tensor, Any], expected: tuple[Tensor, Tensor, Any]) -> None:
    torch.testing.assert_close(found[0], expected[0], atol=4e-6, rtol=1e-6)
    torch.testing.assert_close(found[1], expected[1], atol=0, rtol=1e-6)
    assert found[2].keys() == expected[2].keys()
    largest = max(gradient.abs().max().item() for gradient in expected[2].values())
    for name in expected[2]:
        torch.testing.assert_close(found[2][name], expected[2][name], atol=1e-6 * largest, rtol=1e-5, msg=name)


def batch_of(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, len(LABELS), (sum(lengths),), generator=chance)
    return torch.randint(5, 300, (sum(lengths),), generator=chance), labels.where(labels >= 0, -100)


def exact(model: Any, input_ids: Tensor, labels: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor, Any]:
    prepare(model)
    model.zero_grad()
    logits = packed_logits(model, input_ids, lengths)
    loss = sum_of_losses(logits, {"labels": labels})
    loss.backward()
    return logits.detach(), loss.detach(), gradients(model)


_SMALL: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.18,
    "num_labels": len(LABELS),
}


def deberta(**options: Any) -> DebertaV2Config:
    """As DeBERTa-v3 but for some options: those of other published models, and what the code knows beside."""
    published = {"relative_attention": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0}
    published |= {"share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
    return DebertaV2Config(**_SMALL | published | options)


KINDS: dict[str, Any] = {
    "DeBERTa-v2-xlarge": deberta(conv_kernel_size=3, conv_act="gelu"),
    "few buckets": deberta(position_buckets=4, max_relative_positions=20, norm_rel_ebd="none"),
    "absolute positions beside": deberta(position_biased_input=True),
    "narrow embeddings": deberta(embedding_size=16, type_vocab_size=2),
    "mmBERT": ModernBertConfig(**_SMALL, local_attention=16, global_attn_every_n_layers=2, norm_bias=False),
    "EuroBERT": EuroBertConfig(**_SMALL, num_key_value_heads=4),
    "EuroBERT-2.1B": EuroBertConfig(**_SMALL, num_key_value_heads=2),
}


def test_the_families_are_those_named_and_no_other(families: dict[str, Any]) -> None:
    assert all(map(is_exact, families.values()))
    for options in (
        {"relative_attention": False, "pos_att_type": []},
        {"position_buckets": -1},
        {"share_att_key": False},
        {"pos_att_type": ["c2p"]},
    ):
        assert not is_exact(AutoModelForTokenClassification.from_config(deberta(**options)))
    tested = {model.config.model_type for model in families.values()} | {type(c).model_type for c in KINDS.values()}
    assert tested == set(EXACT_FAMILIES)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    "family",
    ["bert-uncased", "bert-cased", "distilbert", "electra", "roberta", "xlm-roberta", "modernbert", "deberta-v3"],
)
def test_logits_loss_and_gradients_are_those_of_the_padded_batch(
    family: str, batch: str, families: dict[str, Any]
) -> None:
    model, lengths = families[family], BATCHES[batch]
    input_ids, labels = batch_of(lengths)
    expected = reference(model, input_ids, labels, lengths)
    assert_equal(exact(model, input_ids, labels, lengths), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_attention_is_exact(kind: str) -> None:
    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_config(KINDS[kind]).eval()
    batches = [(*batch_of(lengths), lengths) for lengths in BATCHES.values()]
    expected = [reference(model, *batch) for batch in batches]  # before anything is put into the model
    for batch, numbers in zip(batches, expected, strict=True):
        assert_equal(exact(model, *batch), numbers)


@pytest.mark.parametrize("family", ["bert-uncased", "roberta", "modernbert", "deberta-v3"])
def test_the_padded_path_is_transformers_own(family: str, families: dict[str, Any]) -> None:
    model, lengths = families[family], BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    expected = reference(model, input_ids, labels, lengths)
    for _ in range(1 + is_exact(model)):
        assert torch.equal(padded_logits(model, input_ids, lengths), expected[0])
        if is_exact(model):
            prepare(model)  # a padded batch from other code is computed as before


@pytest.mark.parametrize("family", ["bert-uncased", "modernbert", "deberta-v3"])
def test_gradient_checkpointing_changes_no_gradient(family: str, families: dict[str, Any]) -> None:
    model, lengths = families[family], BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    expected = reference(model, input_ids, labels, lengths)
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    saved = {m: m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    model.config.attention_dropout, dropout = 0.0, getattr(model.config, "attention_dropout", None)
    try:
        for m in saved:
            m.p = 0.0
        assert_equal(exact(model, input_ids, labels, lengths), expected)
    finally:
        for m, p in saved.items():
            m.p = p
        model.config.attention_dropout = dropout
        model.activation_checkpointing_disable()
        model.eval()


@pytest.mark.parametrize("family", ["bert-uncased", "modernbert", "deberta-v3"])
def test_in_bfloat16_it_is_no_further_from_float32_than_the_padded_batch(family: str, families: dict[str, Any]) -> None:
    model, lengths = families[family], BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    wanted = reference(model, input_ids, labels, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        padded, found = reference(model, input_ids, labels, lengths), exact(model, input_ids, labels, lengths)
    assert found[0].dtype == padded[0].dtype == torch.bfloat16

    def errors(results: tuple[Tensor, Tensor, Any]) -> list[float]:
        gradients = [(results[2][name] - wanted[2][name]).norm().item() for name in wanted[2]]
        return [(results[0] - wanted[0]).norm().item(), sum(gradients)]

    for error, allowed in zip(errors(found), errors(padded), strict=True):
        assert 0 < error < 1.2 * allowed


# ---------------------------------------------------------------- blocks


@given(st.lists(st.integers(1, 90), min_size=1, max_size=9), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_no_other_grouping_costs_less(lengths: list[int], max_blocks: int) -> None:
    rising = sorted(lengths)
    groups = plan_blocks(rising, max_blocks)
    assert len(groups) <= max_blocks
    assert [first for first, _ in groups] == [0, *[last for _, last in groups[:-1]]]
    assert groups[-1][1] == len(rising)

    def cost(cuts: tuple[int, ...]) -> int:
        groups = list(itertools.pairwise((0, *cuts, len(rising))))
        return sum((last - first) * rising[last - 1] + BLOCK_COST for first, last in groups)

    fewest = min(
        cost(cuts)
        for number in range(min(max_blocks, len(rising)))
        for cuts in itertools.combinations(range(1, len(rising)), number)
    )
    assert sum((last - first) * rising[last - 1] + BLOCK_COST for first, last in groups) == fewest


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_regrouping_moves_every_subword_and_back(lengths: list[int]) -> None:
    layout = Layout(lengths, CPU)
    values = torch.arange(sum(lengths))
    regrouped = values[layout.take]
    assert torch.equal(regrouped[layout.place], values)
    sizes = [len(block) * block[-1] for block in layout.blocks]
    found = []
    for block, part in zip(layout.blocks, regrouped.split(sizes), strict=True):
        found += [row[:length].tolist() for row, length in zip(part.view(-1, block[-1]), block, strict=True)]
    assert sorted(found) == sorted(row.tolist() for row in values.split(lengths))
    assert layout.offsets.tolist() == [0, *np.cumsum(lengths)]
    assert layout.offsets.dtype == torch.int32


def test_no_mask_where_a_block_has_no_padding() -> None:
    layout = Layout([40, 90, 40, 90, 200, 20], CPU)
    assert [block.tolist() for block in layout.blocks] == [[20], [40, 40], [90, 90], [200]]
    assert all(layout.mask(index, None) is None for index in range(4))
    local = layout.mask(2, 3)
    assert local is not None
    assert local.sum() == sum(abs(i - j) <= 3 for i in range(90) for j in range(90))
    padded = Layout([60, 90, 120, 150, 180], CPU)
    assert [block.tolist() for block in padded.blocks] == [[60], [90], [120], [150, 180]]
    mask = padded.mask(3, None)
    assert mask is not None
    assert mask[:, 0, 0].tolist() == [[True] * 150 + [False] * 30, [True] * 180]


@pytest.mark.parametrize("family", ["bert-uncased", "roberta", "modernbert", "deberta-v3"])
def test_a_longer_packed_sequence_changes_nothing(family: str, families: dict[str, Any]) -> None:
    model = families[family]
    prepare(model)
    for lengths in BATCHES.values():
        input_ids, _ = batch_of(lengths)
        expected = packed_logits(model, input_ids, lengths)
        model.length_multiple = lambda device: 16
        filled, padded_lengths = packed._pad_to_multiple(input_ids, lengths, model)
        assert len(filled) == sum(padded_lengths) == -(-len(input_ids) // 16) * 16
        assert max(padded_lengths) == max(lengths)
        found = packed_logits(model, input_ids, lengths)
        torch.testing.assert_close(found, expected, atol=4e-6, rtol=1e-6)
        model.length_multiple = lambda device: 1


# ---------------------------------------------------------------- a whole epoch


@pytest.fixture
def epoch_losses(tiny_model: Callable[..., Path], corpus: Path) -> Callable[[str], list[float]]:
    """``epoch_losses("none")``: the loss of each step of an epoch, learning, dropout off."""
    data = NERDataModule(str(tiny_model()), train_file=str(corpus / "train.conll"), batch_size=8)
    data.prepare_data()
    data.setup("fit")

    def run(padding: str) -> list[float]:
        torch.manual_seed(0)
        module = NERModule(str(tiny_model()), dropout=0.0, padding=padding)  # type: ignore[arg-type]
        module.set_labels(data.labels)
        module.build()
        assert module.packed == (padding == "none")
        optimizer = make_optimizer(module, 1e-3, 0.0, fused=True)
        split = data.encoded["train"]
        assembler = BatchAssembler(split, data.labels)
        losses = []
        for item in TrainingSampler(split, None, Plan(8, "random", 0)):
            batch = assembler.micro_batch(item)
            loss = sum_of_losses(module(batch["input_ids"], batch["lengths"]), batch) / item.labelled_in_step
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    return run


def test_every_loss_of_an_epoch_is_that_of_the_padded_path(epoch_losses: Callable[[str], list[float]]) -> None:
    padded, found = epoch_losses("longest"), epoch_losses("none")
    assert len(padded) == 15
    assert padded[-1] < 0.8 * padded[0], "it learns, so that an error would add up"
    np.testing.assert_allclose(found, padded, rtol=1e-5)


def _shifted(layout: Layout) -> None:
    layout.take = layout.take.roll(1)


def _one_too_long(layout: Layout) -> None:
    layout.blocks = [np.minimum(lengths + 1, lengths[-1]) for lengths in layout.blocks]


def _one_too_short(layout: Layout) -> None:
    layout.blocks = [np.append(lengths[:-1] - 1, lengths[-1]) for lengths in layout.blocks]


@pytest.mark.parametrize("mistake", [_shifted, _one_too_long, _one_too_short])
def test_an_off_by_one_in_the_blocks_does_not_pass(
    mistake: Callable[[Layout], None], epoch_losses: Callable[[str], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = epoch_losses("longest")
    regroup = Layout._regroup
    monkeypatch.setattr(Layout, "_regroup", lambda self: (regroup(self), mistake(self)))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(epoch_losses("none"), padded, rtol=1e-5)


# ---------------------------------------------------------------- CUDA


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["bert-uncased", "roberta", "modernbert"])
def test_variable_length_flash_attention_equals_the_blocks(family: str, families: dict[str, Any]) -> None:
    model, lengths = families[family].to("cuda", torch.bfloat16), BATCHES["many"]
    input_ids = batch_of(lengths)[0].cuda()
    prepare(model)
    assert packed.takes_flash(model, input_ids.device)
    found = packed_logits(model, input_ids, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "takes_flash", lambda *_: False)
        expected = packed_logits(model, input_ids, lengths)
    torch.testing.assert_close(found.float(), expected.float(), atol=0.1, rtol=0.05)
    model.to("cpu", torch.float32)


@pytest.mark.gpu
def test_float32_on_cuda_is_computed_in_blocks(families: dict[str, Any]) -> None:
    model, lengths = families["bert-uncased"], BATCHES["many"]
    input_ids, labels = batch_of(lengths)
    expected = exact(model, input_ids, labels, lengths)
    model.to("cuda")
    found = packed_logits(model, input_ids.cuda(), lengths)
    model.to("cpu")
    torch.testing.assert_close(found.cpu(), expected[0], atol=1e-4, rtol=1e-4)
