"""A trained model as ONNX: writing it, making it smaller, and running it in the place of the torch model.

:class:`OnnxModel` takes and gives what the transformers model takes and gives, so windows, decoding and entities around
it are the same code. Written with torch's exporter (``dynamo=True``); its older one loses the attention mask of BERT
under transformers 5.23: logits off by 2, no warning.

Needs the optional packages of ``pip install 'ner-module[onnx]'``; only onnxruntime to run a model.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ner_module.runs import RunError

_INPUTS = ("input_ids", "attention_mask")

# A protocol-buffer file holds 2 GiB; larger weights go beside it.
_LARGEST_SINGLE_FILE = 1_800_000_000


class OnnxModel(nn.Module):
    """An ONNX file behind the interface of a transformers model.

    Args:
        path: the ``.onnx`` file.
        config: the model's, which names the padding token.
        device: ``cpu``, or a CUDA device if the GPU build of onnxruntime is installed.

    Raises:
        RunError: onnxruntime is missing, cannot use the device, or cannot read the file.
    """

    def __init__(self, path: Path, config: Any, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.config = config
        runtime = _need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        provider = "CPUExecutionProvider" if torch.device(device).type == "cpu" else "CUDAExecutionProvider"
        if provider not in runtime.get_available_providers():
            raise RunError(f"this onnxruntime has no {provider}: install onnxruntime-gpu, or load on the CPU")
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # onnxruntime has a class of its own for each status code
            raise RunError(
                f"{path} cannot be read as an ONNX model ({type(error).__name__}): export it again"
            ) from error

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """An object with ``logits`` ``[R, L, C]``, on the device of ``input_ids``."""
        feed = {"input_ids": input_ids.cpu().numpy(), "attention_mask": attention_mask.cpu().numpy()}
        (logits,) = self.session.run(["logits"], feed)
        return SimpleNamespace(logits=torch.from_numpy(logits).to(input_ids.device))


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def write_onnx(model: Any, path: Path) -> None:
    """Write a model in evaluation mode as ONNX, for any number of rows of any length.

    Raises:
        RunError: a package is missing, or torch cannot export this architecture.
    """
    _need("onnxscript")
    # Sizes of 0 and 1 would be taken for constants.
    example = torch.arange(14).view(2, 7)
    shapes = {name: {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")} for name in _INPUTS}
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        with _quiet():
            torch.onnx.export(
                _Logits(model),
                (example, torch.ones_like(example)),
                str(path),
                dynamo=True,
                verbose=False,
                input_names=list(_INPUTS),
                output_names=["logits"],
                dynamic_shapes=shapes,
                external_data=size > _LARGEST_SINGLE_FILE,
            )
    except Exception as error:  # whatever the exporter meets on its way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"torch cannot export this model to ONNX ({reason}): use --format transformers") from error


def quantize_onnx(source: Path, path: Path) -> None:
    """Write a copy of an ONNX model with int8 weights; activations are quantised as they come ("dynamic").

    Raises:
        RunError: a package is missing.
    """
    _need("onnx")
    _need("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        # Weights per channel; only matrix products, the place of nearly all weights but the embeddings.
        quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])


def _need(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise RunError(f"ONNX needs the package {name!r}: pip install 'ner-module[onnx]'") from error


@contextlib.contextmanager
def _quiet() -> Any:
    """Hide what the exporters print, log and warn of; what counts is compared afterwards (`parity.py`)."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            tempfile.TemporaryFile("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
