"""A trained model as a folder: the files of transformers, and what this project needs beside them.

``ner_module.json`` holds what transformers has no place for: the scheme, how long sequences are and how far windows
overlap, by which rules raw text was split into words. With it `NERTagger` finds the same entities as from the
checkpoint; without it any transformers code loads the folder. A folder from elsewhere, without it, is read as far as
its labels explain themselves.

    config.json              with the labels
    model.safetensors        or model.onnx
    tokenizer.json, …        without the truncation and padding that a base model's file may carry
    ner_module.json
    README.md                the model card, where that is written
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ner_module import __version__
from ner_module.data.datamodule import NERDataModule
from ner_module.data.preparation import DEFAULT_MAX_SEQ_LENGTH
from ner_module.data.words import WORDS_VERSION
from ner_module.errors import RunError
from ner_module.files import read_json_object, sealed, sha256_of
from ner_module.inference.onnx_model import OnnxModel
from ner_module.model.encoder import build_from_folder, save_to_folder
from ner_module.model.module import NERModule
from ner_module.pretrained import from_pretrained, load_config, max_sequence_length, resolve_model_path
from ner_module.tagging import OUTSIDE, LabelSet, has_prefix
from ner_module.tokenizer import load_tokenizer, tokenizer_to_files
from ner_module.training.checkpoint_schema import about_problem

ABOUT = "ner_module.json"
ONNX = "model.onnx"

# Raised when an older program could not read what is written here.
_FORMAT_VERSION = 1


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model rather than a run."""
    return (path / "config.json").is_file()


def save_model_folder(module: NERModule, data: NERDataModule, folder: Path, weights: bool = True) -> None:
    """Write a model into a folder, and the SHA-256 of all files that are there then.

    Args:
        module: the model.
        data: its tokenizer, labels and alignment.
        folder: may hold an ONNX file already.
        weights: whether to write ``model.safetensors``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if weights:
        save_to_folder(module.model, str(folder))
        for file in folder.glob("*.safetensors"):  # written for the owner alone, whatever the umask is
            shutil.copymode(folder / "config.json", file)
    else:
        module.model.config.architectures = [type(module.model).__name__]
        module.model.config.save_pretrained(folder)
    state = data.state_dict()
    for name, text in state.pop("tokenizer").items():
        (folder / name).write_text(text, encoding="utf-8")
    state.pop("position")  # where in the training data it stood
    hparams = dict(module.hparams) | {"model_name_or_path": public_name(module.hparams["model_name_or_path"])}
    about = {"format_version": _FORMAT_VERSION, "ner_module_version": __version__, "data": state, "model": hparams}
    about["sha256"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    (folder / ABOUT).write_text(json.dumps(sealed(about), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
    about = _read_about(folder)
    config = load_config(str(folder))
    tokenizer = load_tokenizer(str(folder))
    named = read_json_object(folder / "config.json").get("id2label") or {}
    label_names = [named[index] for index in sorted(named, key=int)]
    if about is None:
        labels = _infer_labels(folder, label_names).to_fields()
        length = min(DEFAULT_MAX_SEQ_LENGTH, max_sequence_length(config, tokenizer))
        alignment = {"max_seq_length": length, "stride": length // 4, "label_all_tokens": False}
        state: dict[str, Any] = {**labels, **alignment, "words_version": WORDS_VERSION, "train_sha256": []}
        hparams = {"model_name_or_path": folder.name, **labels, "decoding": "greedy"}  # the scheme is a guess
    else:
        state, hparams = about["data"], {"decoding": "greedy", **about["model"]}  # not in earlier versions
    if label_names != state["label_names"]:
        raise RunError(f"{folder}: config.json and {ABOUT} name other labels: export the model again")
    data = NERDataModule()
    data.load_state_dict(state | {"tokenizer": tokenizer_to_files(tokenizer)})
    module = NERModule(**hparams)
    if (folder / ONNX).is_file():
        module.model = OnnxModel(folder / ONNX, config, device)
    else:
        module.use_model(build_from_folder(str(folder)))
        module.to(device)
    return module, data


def load_hub_model(name: str, revision: str | None, device: str | torch.device) -> tuple[NERModule, NERDataModule]:
    """A model folder on the hub, by its id.

    Raises:
        PretrainedError: it is not there, or cannot be loaded.
        RunError: see :func:`load_model_folder`.
    """

    def check(path: str, **_: Any) -> Path:
        """Stands where a ``from_pretrained`` of transformers does, with its arguments; nothing is loaded yet."""
        if not is_model_folder(Path(path)):
            raise OSError("neither is it a folder here, nor is it in the cache, and the hub cannot be asked")
        return Path(path)

    return load_model_folder(from_pretrained(check, resolve_model_path(name), revision), device)


def _read_about(folder: Path) -> dict[str, Any] | None:
    """What ``ner_module.json`` says, once the files beside it are those that were written with it."""
    path = folder / ABOUT
    if not path.exists():
        return None
    about = read_json_object(path)
    version = about.get("format_version")
    if isinstance(version, int) and version > _FORMAT_VERSION:
        raise RunError(f"{path} was written by ner-module {about.get('ner_module_version')}: install that version")
    if problem := about_problem(about):
        raise RunError(f"{path} is damaged ({problem}): export the model again")
    for name, digest in about.get("sha256", {}).items():
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing: export the model again")
        if sha256_of(folder / name) != digest:
            raise RunError(
                f"{folder / name} is not the file that was exported: export the model again; or, if you changed it, "
                f"delete sha256 and checksum from {ABOUT}"
            )
    return about


def _infer_labels(folder: Path, names: list[str]) -> LabelSet:
    """What the labels of a tagger that was trained elsewhere mean, as far as they explain themselves."""
    if not names or all(name.startswith("LABEL_") for name in names):
        raise RunError(f"{folder} is no tagger: its config.json names no labels; train it first with `fit`")
    inside = [name for name in names if name != OUTSIDE]
    prefixed = [name for name in inside if has_prefix(name)]
    if not prefixed and inside:
        return LabelSet(tuple(names), "flat", OUTSIDE if OUTSIDE in names else None)
    if len(prefixed) < len(inside):
        raise RunError(f"{folder}: labels with and without a prefix ({', '.join(names)})")
    prefixes = {name[0] for name in prefixed}
    found = [scheme for prefix, scheme in (("S", "bioes"), ("U", "bilou"), ("E", "ioe2")) if prefix in prefixes]
    return LabelSet(tuple(names), [*found, "iob2"][0])
