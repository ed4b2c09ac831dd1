"""``torch.compile`` for training: few shapes, so that what was compiled, or captured as a CUDA graph, is used again.

Every batch has another number of subwords. A model is therefore compiled once, for any number (``dynamic``), and the
one row of a batch is filled up to one of a few sizes, eight to each doubling, with rows of padding that no real subword
looks at. With CUDA graphs each of these sizes is captured once. Logits of the padding are dropped, so that loss and
gradients are those of the batch.

Not here: evaluation and prediction, which run as they are. On CPU this is slower (`benchmarks/README.md`); it is meant
for GPUs, where short sentences wait for kernels to be launched.

Shapes: T subwords of all rows, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ner_module.model.layout import Layout, pad_to_length
from ner_module.model.packed import positions, takes_flash

Compile = Literal["none", "kernels", "graphs"]

_LEAST = 64
_FEW = 8


def bucket(size: int) -> int:
    """The next of few sizes: multiples of an eighth of the power of two below, and never under 64.

    >>> [bucket(size) for size in (3, 65, 129, 256, 500, 513)]
    [64, 72, 144, 256, 512, 576]
    """
    step = max(1 << (max(size - 1, 1).bit_length() - 1), _LEAST) // _FEW
    return max(-(-size // step) * step, _LEAST)


def compile_training(model: Any, how: Compile) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """A function that gives the logits ``[T, C]`` of rows, as :func:`~ner_module.model.packed.packed_logits` does.

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
        filled, rows = pad_to_length(input_ids_T, lengths, bucket(sum(lengths)), model.config.pad_token_id or 0)
        layout = Layout(rows, filled.device, not takes_flash(model, filled.device), few_shapes=True)
        places = positions(model.config, filled, layout)
        found: Tensor = forward(
            input_ids=filled[None], position_ids=places[None], attention_mask=None, layout=layout
        ).logits[0]
        return found[: len(input_ids_T)]

    return logits
