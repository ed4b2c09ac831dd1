"""The transformers model: built from base weights, with an old or a new head, or from a config alone."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, make_tiny_model
from torch import nn
from transformers import AutoModel, AutoModelForTokenClassification
from transformers.utils import logging as transformers_logging

from ner_module.errors import PretrainedError
from ner_module.model.encoder import build_from_base, build_from_config

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
OTHERS = ["O", "B-ORG", "I-ORG", "B-GPE", "I-GPE"]
IDS = torch.tensor([[2, 17, 40, 133, 61, 3], [2, 90, 3, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tagger("electra")`` is the folder of a model that is a tagger for ``LABELS``."""
    folder = tmp_path_factory.mktemp("taggers")

    def make(family: str) -> Path:
        if not (folder / family).is_dir():
            make_tiny_model(family, folder / family, label_names=LABELS)
        return folder / family

    return make


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=IDS, attention_mask=MASK).logits
    return found


# ---------------------------------------------------------------- from base weights


@pytest.mark.parametrize("family", FAMILIES)
def test_base_weights_with_a_new_head_in_float32_and_training_mode(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    model = build_from_base(str(tiny_model(family)), None, LABELS)
    assert model.training, "from_pretrained gives eval mode, and dropout would be off"
    assert all(module.training for module in model.modules())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.classifier.out_features == 5
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {name: index for index, name in enumerate(LABELS)}
    base = AutoModel.from_pretrained(tiny_model(family)).state_dict()
    encoder = model.base_model.state_dict()
    assert all(torch.equal(encoder[name], base[name]) for name in encoder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_loaded_in_float32(
    dtype: torch.dtype, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    AutoModel.from_pretrained(tiny_model()).to(dtype).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["dtype"] in ("float16", "bfloat16")
    model = build_from_base(str(tmp_path), None, LABELS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_seed_decides_the_new_head(tiny_model: Callable[..., Path]) -> None:
    def head(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        weight: torch.Tensor = build_from_base(str(tiny_model()), None, LABELS).classifier.weight
        return weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_is_the_configs_or_the_one_asked_for(family: str, tiny_model: Callable[..., Path]) -> None:
    def probabilities(dropout: float | None) -> set[float]:
        model = build_from_base(str(tiny_model(family)), None, LABELS, dropout)
        return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}

    assert probabilities(0.37) == {0.37}
    assert probabilities(0.0) == {0.0}
    assert probabilities(None) == ({0.0} if family == "modernbert" else {0.1})


@pytest.mark.parametrize("family", FAMILIES)
def test_without_dropout_training_is_deterministic_and_with_it_not(
    family: str, tiny_model: Callable[..., Path]
) -> None:
    for dropout, same in ((0.0, True), (0.5, False)):
        model = build_from_base(str(tiny_model(family)), None, LABELS, dropout)
        first, second = (model(input_ids=IDS, attention_mask=MASK).logits for _ in range(2))
        assert torch.equal(first, second) == same


# ---------------------------------------------------------------- a base model that is a tagger


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_is_reused_when_labels_agree_in_any_order(
    family: str, tagger: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    reference = logits(AutoModelForTokenClassification.from_pretrained(tagger(family)))
    assert torch.equal(logits(build_from_base(str(tagger(family)), None, LABELS)), reference)
    order = [3, 0, 4, 2, 1]
    names = [LABELS[index] for index in order]
    with caplog.at_level(logging.INFO):
        model = build_from_base(str(tagger(family)), None, names)
    assert model.config.id2label == dict(enumerate(names))
    torch.testing.assert_close(logits(model), reference[..., order])
    assert "its head is reused" in caplog.text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (OTHERS, "is kept for O, is new for B-ORG, I-ORG, B-GPE, I-GPE, no longer knows B-PER, I-PER, B-LOC, I-LOC"),
        (LABELS[2::-1], "is kept for I-PER, B-PER, O, no longer knows B-LOC, I-LOC"),
        (["B-X", *LABELS, "I-X"], "is kept for O, B-PER, I-PER, B-LOC, I-LOC, is new for B-X, I-X"),
        (["A", "B"], "is new for A, B, no longer knows O, B-PER, I-PER, B-LOC, I-LOC"),
    ],
)
@pytest.mark.parametrize("family", ["bert-uncased", "modernbert"])
def test_rows_of_the_head_are_kept_where_label_names_agree(
    family: str, names: list[str], said: str, tagger: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    old = AutoModelForTokenClassification.from_pretrained(tagger(family))
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with caplog.at_level(logging.INFO):
            model = build_from_base(str(tagger(family)), None, names)
        assert model.classifier.weight.shape == (len(names), 32)
        assert model.config.id2label == dict(enumerate(names))
        heads.append(model.classifier.weight.detach())
    assert f"is a tagger: its head {said}" in caplog.text
    assert torch.equal(heads[0], heads[1])
    new = [index for index, name in enumerate(names) if name not in LABELS]
    assert not new or not torch.equal(heads[0][new], heads[2][new])
    assert not model.classifier.bias[new].any()
    assert not new or 0.02 < heads[0][new].std() < 0.5
    kept = [index for index, name in enumerate(names) if name in LABELS]
    reference = logits(old)[..., [LABELS.index(names[index]) for index in kept]]
    torch.testing.assert_close(logits(model)[..., kept], reference)
    # The encoder is the tagger's own.
    for name, weight in model.base_model.state_dict().items():
        assert torch.equal(weight, old.base_model.state_dict()[name])


# ---------------------------------------------------------------- files that do not fit


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_lack_a_tensor_of_the_encoder_are_refused(
    family: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(family), tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    lost = max(name for name in weights if "layers.1" in name or "layer.1" in name)
    del weights[lost]
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        PretrainedError, match=r"lack 1 tensors of the encoder, such as .*, which would be random"
    ) as raised:
        build_from_base(str(tmp_path / "model"), None, LABELS)
    assert lost in str(raised.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"vocab_size": 301}, r"lack 1 tensors of the encoder, such as bert\.embeddings\.word_embeddings"),
        ({"num_hidden_layers": 3}, r"lack 16 tensors of the encoder"),
    ],
)
def test_weights_of_another_model_are_refused(
    change: dict[str, Any], problem: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(PretrainedError, match=problem):
        build_from_base(str(tmp_path / "model"), None, LABELS)


def test_transformers_is_as_talkative_as_before(
    tiny_model: Callable[..., Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    capfd.readouterr()
    build_from_base(str(tiny_model()), None, LABELS)
    said = capfd.readouterr()
    assert "newly initialized" not in said.err + said.out
    assert "MISSING" not in said.err + said.out
    with pytest.raises(PretrainedError):
        build_from_base(str(tmp_path), None, LABELS)
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


# ---------------------------------------------------------------- from a config alone


@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_builds_the_same_architecture_without_any_file(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_model(family, tmp_path / "model")
    model = build_from_base(str(folder), None, LABELS, dropout=0.25)
    text, weights = model.config.to_json_string(use_diff=False), model.state_dict()
    shutil.rmtree(folder)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)

    again = build_from_config(text)
    again.load_state_dict(weights)
    assert type(again) is type(model)
    assert again.training
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    assert {module.p for module in again.modules() if isinstance(module, nn.Dropout)} == {0.25}
    assert torch.equal(logits(again), logits(model))
    assert again.config.to_json_string(use_diff=False) == text
    assert not list(tmp_path.iterdir()), "no file is read or written"


def test_a_config_of_a_half_precision_model_builds_in_float32(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    AutoModel.from_pretrained(tiny_model()).to(torch.bfloat16).save_pretrained(tmp_path)
    text = build_from_base(str(tmp_path), None, LABELS).config.to_json_string(use_diff=False)
    assert {parameter.dtype for parameter in build_from_config(text).parameters()} == {torch.float32}
