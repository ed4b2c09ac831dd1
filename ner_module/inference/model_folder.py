"""A trained model as a folder: the files of transformers, and what this project needs beside them.

``ner_module.json`` holds what transformers has no place for: the scheme, how long rows are and how far windows overlap,
by which rules raw text was split into words. With it `NERTagger` finds the same entities as
from the checkpoint; without it any transformers code loads the folder. A folder from elsewhere, without it, is read as
far as its labels explain themselves.

    config.json              with the labels
    model.safetensors        or model.onnx
    tokenizer.json, …        without the truncation and padding that a base model's file may carry
    ner_module.json
    README.md                the model card, by `card.py`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ner_module import __version__
from ner_module.data.datamodule import NERDataModule
from ner_module.data.options import DEFAULT_MAX_SEQ_LENGTH
from ner_module.data.schemes import SchemeCensus
from ner_module.data.words import WORDS_VERSION
from ner_module.errors import RunError, SchemeError
from ner_module.inference.onnx_model import OnnxModel
from ner_module.model.encoder import build_from_folder, save_to_folder
from ner_module.model.module import NERModule
from ner_module.pretrained import (
    from_pretrained,
    load_tokenizer,
    max_sequence_length,
    resolve_model_path,
    tokenizer_to_files,
)
from ner_module.tagging import OUTSIDE

ABOUT = "ner_module.json"
ONNX = "model.onnx"

# Raised when an older program could not read what is written here.
_FORMAT_VERSION = 1


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model rather than a run."""
    return (path / "config.json").is_file()


def save_model_folder(module: NERModule, data: NERDataModule, folder: Path, weights: bool = True) -> None:
    """Write a model into a folder; ``weights=False`` leaves ``model.safetensors`` out."""
    folder.mkdir(parents=True, exist_ok=True)
    if weights:
        save_to_folder(module.model, str(folder))
    else:
        module.model.config.architectures = [type(module.model).__name__]
        module.model.config.save_pretrained(folder)
    state = data.state_dict()
    for name, text in state.pop("tokenizer").items():
        (folder / name).write_text(text, encoding="utf-8")
    state.pop("position")  # where in the training data it stood
    hparams = dict(module.hparams) | {"model_name_or_path": public_name(module.hparams["model_name_or_path"])}
    about = {"format_version": _FORMAT_VERSION, "ner_module_version": __version__, "data": state, "model": hparams}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def public_name(model_name_or_path: str) -> str:
    """A base model's name as others know it: of a folder on this machine the last part only."""
    path = Path(model_name_or_path)
    return path.name if path.is_absolute() or path.is_dir() else model_name_or_path


def load_model_folder(folder: Path, device: str | torch.device = "cpu") -> tuple[NERModule, NERDataModule]:
    """The inverse of :func:`save_model_folder`, for ONNX folders too.

    Raises:
        RunError: the folder lacks something, or was written by a newer version.
        PretrainedError: its weights or tokenizer cannot be read.
    """
    from transformers import AutoConfig

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    about = _read_about(folder) or _infer_about(folder, config)
    state = about["data"]
    labels = config.get("id2label") or {}
    if [labels[index] for index in sorted(labels, key=int)] != state["label_names"]:
        raise RunError(f"{folder}: config.json and {ABOUT} name other labels: export the model again")
    data = NERDataModule()
    files = tokenizer_to_files(load_tokenizer(str(folder)))
    data.load_state_dict(state | {"tokenizer": files, "position": [0, 0]})
    module = NERModule(**about["model"])
    if (folder / ONNX).is_file():
        module.model = OnnxModel(folder / ONNX, from_pretrained(AutoConfig.from_pretrained, str(folder), None), device)
    else:
        module.use_model(build_from_folder(str(folder)))
        module.to(device)
    return module, data


def load_hub_model(name: str, revision: str | None, device: str | torch.device) -> tuple[NERModule, NERDataModule]:
    """A model folder on the hub, by its id.

    Raises:
        PretrainedError: it is not there, or cannot be had.
        RunError: see :func:`load_model_folder`.
    """
    return load_model_folder(from_pretrained(_folder, resolve_model_path(name), revision), device)


def _folder(path: str, **_: Any) -> Path:
    """Stands where a ``from_pretrained`` of transformers does, with its arguments; nothing is loaded yet."""
    if not is_model_folder(Path(path)):
        raise OSError("neither is it a folder here, nor is it in the cache, and the hub cannot be asked")
    return Path(path)


def _read_about(folder: Path) -> dict[str, Any] | None:
    path = folder / ABOUT
    if not path.is_file():
        return None
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = about["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}): export the model again") from error
    if version > _FORMAT_VERSION:
        raise RunError(f"{path} was written by ner-module {about['ner_module_version']}: install that version")
    return about


def _infer_about(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What :data:`ABOUT` would say of a tagger that was trained elsewhere."""
    from transformers import AutoConfig

    labels = config.get("id2label") or {}
    names = [labels[index] for index in sorted(labels, key=int)]
    if not names or all(name.startswith("LABEL_") for name in names):
        raise RunError(f"{folder} is no tagger: its config.json names no labels; train it first with `fit`")
    census = SchemeCensus()
    for name in names:
        census.add([name])
    try:
        scheme = census.detect()
    except SchemeError as error:
        raise RunError(f"{folder}: labels with and without a prefix ({', '.join(names)})") from error
    prefixes = {name[0] for name in names if name != OUTSIDE}
    if scheme != "flat":  # single labels tell less than running text
        scheme = {"S": "bioes", "U": "bilou"}.get(
            (prefixes & set("SU") or {""}).pop(), "ioe2" if "E" in prefixes else "iob2"
        )
    tokenizer = load_tokenizer(str(folder))
    parsed = from_pretrained(AutoConfig.from_pretrained, str(folder), None)
    length = min(DEFAULT_MAX_SEQ_LENGTH, max_sequence_length(parsed, tokenizer))
    outside = OUTSIDE if OUTSIDE in names or scheme != "flat" else None
    labels_known = {"label_names": names, "scheme": scheme, "outside_label": outside}
    rows = {"max_seq_length": length, "stride": length // 4, "label_all_tokens": False}
    return {
        "data": {**labels_known, **rows, "words_version": WORDS_VERSION, "train_sha256": []},
        "model": {"model_name_or_path": folder.name, **labels_known},
    }
