"""Packed execution: the sequences of a batch laid end to end as one, so that none is padded.

Embeddings, linear layers, norms and the head see one packed sequence ``(1, T)`` with the position that each subword
token has in its own sequence. Only attention needs to know where sequences end. It is registered with transformers
(``AttentionInterface``), and the layout reaches it as a keyword argument of ``forward``:

* On CPU, and where flash attention cannot be used, sequences are regrouped into at most four blocks of similar length,
  and each block is one call of ``scaled_dot_product_attention``, without a mask where all its lengths are equal.
* On CUDA in half precision the packed sequence goes to variable-length flash attention as it is.

Logits, loss and gradients are those of the padded batch (``tests/unit/test_packed.py`` proves it family by family, and
by the losses of a whole epoch). A family that is not in :data:`EXACT_FAMILIES` is computed padded.

``torch.compile``, for training alone: every batch has another number of subword tokens, so a model is compiled once,
for any number (``dynamic``), and the packed sequence is padded to one of a few lengths, eight to each doubling, with
sequences that no real token attends to.

Shapes: T subword tokens of all sequences, S sequences, L tokens of the longest, H heads, D units of a head, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from ner_module.model import deberta
from ner_module.model.blocks import Attend, in_blocks
from ner_module.model.layout import Layout, bucket, pad_to_length, plan_blocks, send

EXACT_FAMILIES = ("bert", "deberta-v2", "distilbert", "electra", "eurobert", "modernbert", "roberta", "xlm-roberta")
"""Values of ``config.model_type`` whose packed results are proven equal to the padded ones."""

_OFFSET_FAMILIES = ("roberta", "xlm-roberta")  # their positions begin after that of the padding token

_NAME = "ner_module_packed"

Compile = Literal["none", "kernels"]


class Kernels(NamedTuple):
    """How a prepared model computes; an extra may put faster functions in their place."""

    attend: Attend = F.scaled_dot_product_attention
    length_multiple: Callable[[torch.device], int] = lambda device: 1
    """A packed sequence is padded to a multiple of this, for kernels that are specialised by length."""


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    attend: Attend = F.scaled_dot_product_attention,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it in each layer: query, key and value ``(1, H, T, D)`` to ``(1, T, H, D)``.

    Without a layout the batch is a padded one with a mask, from other code that uses the model.
    """
    if (shared := query.shape[1] // key.shape[1]) > 1:  # several heads of queries share one of keys and values
        key, value = (states.repeat_interleave(shared, 1) for states in (key, value))
    if layout is None:
        out = F.scaled_dot_product_attention(query, key, value, attention_mask, dropout, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    # transformers adds one, for its flash attention excludes the border.
    window = None if sliding_window is None else sliding_window - 1
    states_THD = [states.transpose(1, 2).squeeze(0) for states in (query, key, value)]
    if layout.blocked:
        return in_blocks(states_THD, layout, dropout, scaling, window, attend), None
    # What torch.nn.attention.varlen.varlen_attn calls; it fixes dropout at 0, and training wants it.
    # No window is None: -1 is a window on ROCm. Rotary positions leave queries and keys in float32 under autocast.
    out = torch.ops.aten._flash_attention_forward(
        *(states.to(value.dtype) for states in states_THD),
        layout.offsets,
        layout.offsets,
        layout.longest,
        layout.longest,
        dropout,
        False,  # causal
        False,  # debug mask
        scale=scaling,
        window_size_left=window,
        window_size_right=window,
    )[0]
    return out.unsqueeze(0), None


def _mask(attention_mask: Tensor | None = None, **arguments: Any) -> Tensor | None:
    """No mask for a packed sequence; transformers' own for a padded batch of other code."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None:
        return None
    # Always made: whether it could be left out is a value on the device, to wait for.
    mask: Tensor = sdpa_mask(attention_mask=attention_mask, **{**arguments, "allow_is_bidirectional_skip": False})
    return mask


def is_exact(model: Any) -> bool:
    """Whether a transformers model can be computed without padding."""
    return model.config.model_type in EXACT_FAMILIES and not getattr(model.config, "is_decoder", False)


def prepare(model: Any) -> None:
    """Make a model's attention accept a :class:`Layout`; a padded batch with a mask is computed as before."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _mask)
    if model.config.model_type == "deberta-v2":
        deberta.prepare(model)
    else:
        model.set_attn_implementation(_NAME)
    model.kernels = Kernels()


def packed_logits(
    model: Any, input_ids_T: Tensor, lengths: Sequence[int], compiled: Callable[..., Any] | None = None
) -> Tensor:
    """Logits ``[T, C]`` of sequences that lie one after the other, from a :func:`prepare`-d model.

    ``lengths`` are on the host: attention is planned there, without waiting for the device. ``compiled`` is the model's
    compiled ``forward``, which is given few shapes.
    """
    device, few_shapes = input_ids_T.device, compiled is not None
    size = padded_length(model, sum(lengths), device, few_shapes)
    filled, lengths = pad_to_length(input_ids_T, lengths, size, model.config.pad_token_id or 0)
    layout = Layout(lengths, device, not takes_flash(model, device), few_shapes)
    outputs = (compiled or model)(
        input_ids=filled[None],
        position_ids=positions(model.config, filled, layout)[None],
        attention_mask=None,
        layout=layout,
        **({} if compiled else {"attend": model.kernels.attend}),
    )
    logits: Tensor = outputs.logits[0]
    return logits[: len(input_ids_T)]


def padded_length(model: Any, length: int, device: torch.device, few_shapes: bool = False) -> int:
    """The length at which a packed sequence is computed: the next multiple for the model's kernels, or one of few."""
    if few_shapes:
        return bucket(length)
    multiple: int = model.kernels.length_multiple(device)
    return -(-length // multiple) * multiple


def attention_tokens(model: Any, device: torch.device, lengths: Sequence[int]) -> int:
    """Tokens that attention computes for sequences of these lengths, padding inside the blocks included."""
    if takes_flash(model, device):
        return sum(lengths)
    rising = sorted(lengths)
    return sum((last - first) * rising[last - 1] for first, last in plan_blocks(rising))


def takes_flash(model: Any, device: torch.device) -> bool:
    """Whether variable-length flash attention can be used: a build and a GPU that have it, half precision, its heads.

    In float32 and before Ampere ``aten::_efficient_attention_forward`` could replace the blocks: it takes offsets, too,
    but its derivative no window. Nobody has measured whether it is faster.
    """
    if device.type != "cuda" or not torch.backends.cuda.is_flash_attention_available():
        return False
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return False
    if model.config.model_type == "deberta-v2":  # its scores are more than products of queries and keys
        return False
    half = (torch.float16, torch.bfloat16)
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else model.dtype
    head = model.config.hidden_size // model.config.num_attention_heads
    # Past 192 units its derivative needs more shared memory than these have (torch's own check refuses them, too).
    limit = 192 if capability in ((8, 6), (8, 9), (12, 0), (12, 1)) else 256
    return dtype in half and head <= limit and head % 8 == 0


def positions(config: Any, input_ids_T: Tensor, layout: Layout) -> Tensor:
    """``[T]``: the position id of each token in its own sequence, as the family counts them."""
    lengths = np.asarray(layout.lengths, dtype=np.int64)
    if config.model_type not in _OFFSET_FAMILIES:
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return layout.send(np.arange(layout.total) - starts)
    # As in transformers, a padding token inside the text (someone wrote "<pad>") has no place of its own.
    counted = (input_ids_T != config.pad_token_id).long()
    seen = counted.cumsum(0)
    sequences = layout.send(np.repeat(np.arange(len(lengths)), lengths))
    before = (seen - counted).index_select(0, layout.offsets[: len(lengths)].long())
    place: Tensor = (seen - before.index_select(0, sequences)) * counted
    return place + int(config.pad_token_id)


def padded_logits(model: Any, input_ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
    """The same logits ``[T, C]``, computed padded to the longest sequence, under a mask."""
    input_ids_SL, real_SL = pad_sequences(input_ids_T, lengths, model.config.pad_token_id or 0)
    logits_SLC: Tensor = model(input_ids=input_ids_SL, attention_mask=real_SL.long()).logits
    return torch.cat([logits[:length] for logits, length in zip(logits_SLC, lengths, strict=True)])


def pad_sequences(values_T: Tensor, lengths: Sequence[int], fill: int) -> tuple[Tensor, Tensor]:
    """Sequences ``[S, L]`` padded with ``fill``, and which places are real: bool ``[S, L]``."""
    sequences = list(torch.split(values_T, list(lengths)))
    padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=fill)
    real = torch.arange(padded.shape[1], device=padded.device) < send(np.array(lengths), padded.device)[:, None]
    return padded, real


def check_compile(model: Any, packed: bool, device: torch.device) -> None:
    """Refuse to compile what is padded, and where the graph would break in each layer."""
    problem = None
    if not packed:
        problem = "it needs --model.padding none and a family that is computed without padding"
    elif model.is_gradient_checkpointing:
        problem = "it does not go with --model.gradient_checkpointing, which breaks the graph at each layer"
    elif device.type != "cpu" and not takes_flash(model, device):
        problem = (
            "attention block by block breaks the graph at each layer; it needs a GPU with flash attention, "
            "--trainer.precision bf16-mixed and another family than DeBERTa"
        )
    if problem:
        raise MisconfigurationException(f"--model.compile kernels: {problem}")


def compile_training(model: Any) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """:func:`packed_logits` of a model, compiled at the first call."""
    forward: Callable[..., Any] = torch.compile(model.forward, dynamic=True)
    return lambda input_ids_T, lengths: packed_logits(model, input_ids_T, lengths, forward)
