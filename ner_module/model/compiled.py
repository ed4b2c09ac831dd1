"""``torch.compile`` for training: few shapes, so that what was compiled, or captured as a CUDA graph, is used again.

Every batch has another number of subword tokens. A model is therefore compiled once, for any number (``dynamic``), and
the packed sequence is padded to one of a few lengths, eight to each doubling, with sequences that no real token attends
to. With CUDA graphs each of these lengths is captured once. Logits of the padding are dropped, so that loss and
gradients are those of the batch.

Not here: evaluation and prediction, which run as they are. On CPU this is slower (`benchmarks/README.md`); it is meant
for GPUs, where short sentences wait for kernels to be launched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ner_module.model.packed import packed_logits

Compile = Literal["none", "kernels", "graphs"]


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
