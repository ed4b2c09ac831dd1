"""A trained model as a folder: the files of transformers, and the settings that this project needs in addition.

``ner_module.json`` holds settings that transformers' files cannot: the scheme, the length and overlap of windows, the
version of word splitting, a CRF's transitions. With it `NERTagger` finds the same entities as with the checkpoint;
transformers code loads the folder without it.

    config.json              with the labels
    model.safetensors        or model.onnx
    tokenizer.json, …        without the truncation and padding that a base model's file may set
    ner_module.json
    README.md                the model card, if written
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ner_module import __version__
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError
from ner_module.files import read_json_object, sealed, sha256_of
from ner_module.inference.onnx_model import OnnxModel
from ner_module.model.crf import CRF
from ner_module.model.encoder import build_tagger, save_to_folder
from ner_module.model.module import NERModule
from ner_module.pretrained import from_pretrained, load_config
from ner_module.tokenizer import load_tokenizer, tokenizer_to_files
from ner_module.training.checkpoint_schema import about_problem

ABOUT = "ner_module.json"
ONNX = "model.onnx"

# Increased when older versions cannot read the format.
_FORMAT_VERSION = 1


def save_model_folder(
    module: NERModule,
    data: NERDataModule,
    folder: Path,
    weights: bool = True,
    points: dict[str, Any] | None = None,
) -> None:
    """Write a model into a folder, with the SHA-256 of all its files.

    Args:
        module: the model.
        data: its tokenizer, labels and alignment.
        folder: may already contain an ONNX file.
        weights: whether to write ``model.safetensors``.
        points: its operating points, if measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if weights:
        save_to_folder(module.model, str(folder))
        for file in folder.glob("*.safetensors"):  # written with mode 0600, regardless of the umask
            shutil.copymode(folder / "config.json", file)
    else:
        module.model.config.architectures = [type(module.model).__name__]
        module.model.config.save_pretrained(folder)
    state = data.state_dict()
    for name, text in state.pop("tokenizer").items():
        (folder / name).write_text(text, encoding="utf-8")
    state.pop("position")  # in the training data
    hparams = dict(module.hparams) | {"model_name_or_path": public_name(module.hparams["model_name_or_path"])}
    about = {"format_version": _FORMAT_VERSION, "ner_module_version": __version__, "data": state, "model": hparams}
    if module.crf is not None:
        about["transitions"] = module.crf.transitions.tolist()
    if points is not None:
        about["operating_points"] = points
    about["sha256"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    (folder / ABOUT).write_text(json.dumps(sealed(about), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def public_name(model_name_or_path: str) -> str:
    """A base model's name for publication: of a local folder only the last part."""
    path = Path(model_name_or_path)
    return path.name if path.is_absolute() or path.is_dir() else model_name_or_path


def load_model_folder(
    folder: Path, device: str | torch.device = "cpu"
) -> tuple[NERModule, NERDataModule, dict[str, Any] | None]:
    """The inverse of :func:`save_model_folder`, also for ONNX folders: model, data, operating points.

    Raises:
        RunError: the folder is incomplete, from another program, or written by a newer version.
        PretrainedError: its weights or tokenizer cannot be read.
    """
    about = _read_about(folder)
    named = read_json_object(folder / "config.json").get("id2label") or {}
    if [named[index] for index in sorted(named, key=int)] != about["data"]["label_names"]:
        raise RunError(f"{folder}: config.json and {ABOUT} have different labels: export the model again")
    data = NERDataModule()
    data.load_state_dict(about["data"] | {"tokenizer": tokenizer_to_files(load_tokenizer(str(folder)))})
    module = NERModule(**{"decoding": "greedy", **about["model"]})  # earlier versions decoded greedily
    if module.hparams["crf"]:
        module.crf = CRF(module.labels)
        module.crf.transitions.data = torch.tensor(about["transitions"])
    if (folder / ONNX).is_file():
        module.model = OnnxModel(folder / ONNX, load_config(str(folder)), device)
    else:
        module.use_model(build_tagger(str(folder)))
        module.to(device)
    return module, data, about.get("operating_points")


def fetch_model_folder(name: str, revision: str | None) -> Path:
    """Download a model from the hub and return its folder.

    Raises:
        PretrainedError: it does not exist, or the hub cannot be reached.
    """

    def check(path: str, **_: Any) -> Path:
        """Replaces a ``from_pretrained`` of transformers, without loading anything."""
        if not Path(path).is_dir():
            raise OSError("it is neither a local folder nor in the cache, and the hub cannot be reached")
        return Path(path)

    return from_pretrained(check, name, revision)


def _read_about(folder: Path) -> dict[str, Any]:
    """Read ``ner_module.json`` and verify the checksums of the files beside it."""
    path = folder / ABOUT
    if not path.exists():
        raise RunError(f"{folder} is no tagger of this project: it has no {ABOUT}; `export` writes such folders")
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
