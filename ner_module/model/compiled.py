"""``torch.compile`` for training: few shapes, so that what was compiled, or captured as a CUDA graph, is used again.

Every batch has another number of subword tokens. A model is therefore compiled once, for any number (``dynamic``), and
the packed sequence is padded to one of a few lengths, eight to each doubling, with sequences that no real token attends
to. With CUDA graphs each of these lengths is captured once. Evaluation and prediction are not compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from ner_module.model.packed import packed_logits

Compile = Literal["none", "kernels", "graphs"]


def check_compile(how: Compile, packed: bool, device: torch.device, accumulated: int) -> None:
    """Refuse what compiled training is not proven for.

    Raises:
        MisconfigurationException: padded batches; graphs without CUDA, or with gradients accumulated.
    """
    problem = None
    if not packed:
        problem = "it needs --model.padding none and a family that is computed without padding"
    elif how == "graphs" and device.type != "cuda":
        problem = "CUDA graphs need a GPU, and none is in use here; kernels can be asked for"
    elif how == "graphs" and accumulated > 1:
        problem = "with graphs gradients cannot be accumulated; give a larger --data.batch_size instead"
    if problem:
        raise MisconfigurationException(f"--model.compile {how}: {problem}")


def compile_training(model: Any, how: Compile) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """A function that gives the logits ``[T, C]`` of sequences, as :func:`~ner_module.model.packed.packed_logits` does.

    Args:
        model: a transformers model, :func:`~ner_module.model.packed.prepare`-d. It is compiled at the first call.
        how: ``kernels``, or ``graphs``: captured as CUDA graphs, too.
    """
    forward: Callable[..., Any] = torch.compile(
        model.forward, dynamic=True, options={"triton.cudagraphs": how == "graphs"}
    )

    def logits(input_ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
        if how == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call, unused-ignore]
        return packed_logits(model, input_ids_T, lengths, forward)

    return logits
