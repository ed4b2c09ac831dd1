"""Write a trained model as ONNX; `inference/onnx_model.py` runs it.

Written with torch's exporter (``dynamo=True``); its older one loses the attention mask of BERT under transformers 5.23:
logits off by 2, no warning. Needs the optional packages of ``pip install -e '.[onnx]'``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ner_module.errors import RunError
from ner_module.hub_files import first_line
from ner_module.inference.onnx_model import need_package

# A protocol-buffer file holds 2 GiB; larger weights go beside it.
_LARGEST_SINGLE_FILE = 1_800_000_000


def write_onnx(model: Any, path: Path) -> None:
    """Write a model in evaluation mode as ONNX, for any batch size and length.

    Raises:
        RunError: a package is missing, or torch cannot export this architecture.
    """
    need_package("onnxscript")
    example = torch.arange(14).view(2, 7)  # sizes of 0 and 1 would be taken for constants
    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        with _quiet():
            torch.onnx.export(
                model,
                (),
                str(path),
                kwargs={"input_ids": example, "attention_mask": torch.ones_like(example)},
                dynamo=True,
                verbose=False,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes={"input_ids": dimensions, "attention_mask": dimensions},
                external_data=size > _LARGEST_SINGLE_FILE,
            )
    except Exception as error:  # whatever the exporter meets on its way
        raise RunError(
            f"torch cannot export this model to ONNX ({first_line(error)}): use --format transformers"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporters print, log and warn of; the result is compared afterwards (`parity.py`)."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
