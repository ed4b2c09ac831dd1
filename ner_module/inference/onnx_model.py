"""Runs an ONNX file written by ``export`` in place of the torch model."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ner_module.errors import RunError


class OnnxModel(nn.Module):
    """An ONNX file with the interface of a transformers model.

    Args:
        path: the ``.onnx`` file.
        config: the model's config, for the padding token.
        device: ``cpu``, or a CUDA device with the GPU build of onnxruntime.

    Raises:
        RunError: onnxruntime is missing, cannot use the device, or cannot read the file.
    """

    def __init__(self, path: Path, config: Any, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.config = config
        runtime = need_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        provider = "CPUExecutionProvider" if torch.device(device).type == "cpu" else "CUDAExecutionProvider"
        if provider not in runtime.get_available_providers():
            raise RunError(f"this onnxruntime has no {provider}: install onnxruntime-gpu, or load on the CPU")
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime has a class for each status code
            problem = f"{path} cannot be read as an ONNX model ({type(error).__name__})"
            raise RunError(f"{problem}: export it again") from error

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """An object with ``logits`` ``[S, L, C]`` for ``input_ids`` ``[S, L]``, on their device."""
        feed = {"input_ids": input_ids.cpu().numpy(), "attention_mask": attention_mask.cpu().numpy()}
        (logits,) = self.session.run(["logits"], feed)
        return SimpleNamespace(logits=torch.from_numpy(logits).to(input_ids.device))


def need_package(name: str) -> Any:
    """Import a package for ONNX models, or raise a :class:`RunError` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RunError(f"ONNX needs the package {name!r}: pip install -e '.[onnx]'") from error
