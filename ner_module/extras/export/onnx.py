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
from typing import Any

import torch
from torch import Tensor, nn

from ner_module.errors import RunError
from ner_module.inference.onnx_model import need_package

_INPUTS = ("input_ids", "attention_mask")

# A protocol-buffer file holds 2 GiB; larger weights go beside it.
_LARGEST_SINGLE_FILE = 1_800_000_000


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
    need_package("onnxscript")
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
    need_package("onnx")
    need_package("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        # Weights per channel; only matrix products, the place of nearly all weights but the embeddings.
        quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])


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
