"""Packed execution: the sequences of a batch are concatenated, so that none is padded.

Embeddings, linear layers, norms and the head see one packed sequence ``(1, T)`` with each subword token's position in
its own sequence. Only attention needs the sequence boundaries. It is registered with transformers
(``AttentionInterface``), and gets the layout as a keyword argument of ``forward``:

* On CPU, and where flash attention cannot be used, sequences are regrouped into at most four blocks of similar length,
  and each block is one call of ``scaled_dot_product_attention``, without a mask where all its lengths are equal.
* On CUDA in half precision the packed sequence is passed to variable-length flash attention unchanged.

Logits, loss and gradients equal those of the padded batch (``tests/unit/test_packed.py`` proves it for each family, and
by the losses of a whole epoch). Families that are not in :data:`EXACT_FAMILIES` are padded.

Shapes: T subword tokens of all sequences, S sequences, L tokens of the longest, H heads, D units of a head, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from ner_module.model import deberta
from ner_module.model.blocks import Attend, Layout, in_blocks, send

EXACT_FAMILIES = ("bert", "deberta-v2", "distilbert", "electra", "eurobert", "modernbert", "roberta", "xlm-roberta")
"""Values of ``config.model_type`` whose packed results are proven equal to the padded ones."""

_OFFSET_FAMILIES = ("roberta", "xlm-roberta")  # their positions start after the id of the padding token

_NAME = "ner_module_packed"

Padding = Literal["none", "longest"]
Compile = Literal["none", "kernels"]


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
    """Attention with transformers' interface: query, key and value ``(1, H, T, D)`` to ``(1, T, H, D)``.

    Without a layout the batch is padded and has a mask, from other code that uses the model.
    """
    if (shared := query.shape[1] // key.shape[1]) > 1:  # grouped-query attention
        key, value = (states.repeat_interleave(shared, 1) for states in (key, value))
    if layout is None:
        out = F.scaled_dot_product_attention(query, key, value, attention_mask, dropout, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    # transformers adds one, since its flash attention excludes the boundary.
    window = None if sliding_window is None else sliding_window - 1
    states_THD = [states.transpose(1, 2).squeeze(0) for states in (query, key, value)]
    if layout.blocked:
        return in_blocks(states_THD, layout, dropout, scaling, window, attend), None
    # The operator behind torch.nn.attention.varlen.varlen_attn, which has no dropout. No window is None, since -1 is a
    # window on ROCm. Rotary positions leave queries and keys in float32 under autocast.
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
    """No mask for a packed sequence; transformers' own for a padded batch from other code."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None:
        return None
    # Always built: deciding whether it is needed would wait for the device.
    mask: Tensor = sdpa_mask(attention_mask=attention_mask, **{**arguments, "allow_is_bidirectional_skip": False})
    return mask


def is_exact(model: Any) -> bool:
    """Whether a transformers model can be computed without padding."""
    config = model.config
    if config.model_type == "deberta-v2" and not deberta.is_published_kind(config):
        return False
    return config.model_type in EXACT_FAMILIES and not getattr(config, "is_decoder", False)


def prepare(model: Any) -> None:
    """Make a model's attention accept a :class:`Layout`; padded batches with a mask are computed as before.

    An extra may replace ``model.attend``, which computes a block, and ``model.length_multiple``, which returns for a
    device the multiple to which the length of a packed sequence is padded.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _mask)
    if model.config.model_type == "deberta-v2":
        deberta.prepare(model)
    else:
        model.set_attn_implementation(_NAME)
    model.attend, model.length_multiple = F.scaled_dot_product_attention, lambda device: 1


def packed_logits(
    model: Any, input_ids_T: Tensor, lengths: Sequence[int], forward: Callable[..., Any] | None = None
) -> Tensor:
    """Logits ``[T, C]`` of concatenated sequences, from a model after :func:`prepare`.

    ``lengths`` are on the host, where attention is planned without waiting for the device. ``forward`` is the compiled
    one of the model, if any.
    """
    device = input_ids_T.device
    filled, lengths = _pad_to_multiple(input_ids_T, lengths, model)
    layout = Layout(lengths, device, blocked=not takes_flash(model, device))
    outputs = (forward or model)(
        input_ids=filled[None],
        position_ids=_positions(model.config, layout)[None],
        attention_mask=None,
        layout=layout,
        attend=model.attend,
    )
    logits: Tensor = outputs.logits[0]
    return logits[: len(input_ids_T)]


def _pad_to_multiple(input_ids_T: Tensor, lengths: Sequence[int], model: Any) -> tuple[Tensor, Sequence[int]]:
    """Append sequences of padding, none longer than the longest, up to a multiple of ``model.length_multiple``."""
    missing = -len(input_ids_T) % model.length_multiple(input_ids_T.device)
    if not missing:
        return input_ids_T, lengths
    longest = max(lengths)
    padding = [min(longest, missing - start) for start in range(0, missing, longest)]
    return F.pad(input_ids_T, (0, missing), value=model.config.pad_token_id or 0), [*lengths, *padding]


def takes_flash(model: Any, device: torch.device) -> bool:
    """Whether variable-length flash attention supports a model: by build, GPU, precision and head size."""
    if device.type != "cuda" or not torch.backends.cuda.is_flash_attention_available():
        return False
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return False
    if model.config.model_type == "deberta-v2":  # disentangled attention: scores are not only query-key products
        return False
    half = (torch.float16, torch.bfloat16)
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else model.dtype
    head = model.config.hidden_size // model.config.num_attention_heads
    # Above 192 units the backward pass needs more shared memory than these GPUs have (torch's check refuses them, too).
    limit = 192 if capability in ((8, 6), (8, 9), (12, 0), (12, 1)) else 256
    return dtype in half and head <= limit and head % 8 == 0


def _positions(config: Any, layout: Layout) -> Tensor:
    """Position ids ``[T]`` of all tokens in their own sequences, as the family counts them.

    If a text contains the padding token ("<pad>"), RoBERTa in transformers does not count it; here it counts.
    """
    lengths = np.asarray(layout.lengths, dtype=np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    first = config.pad_token_id + 1 if config.model_type in _OFFSET_FAMILIES else 0
    return send(np.arange(layout.total) - starts + first, layout.device)


def padded_logits(model: Any, input_ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
    """The same logits ``[T, C]``, computed with padding to the longest sequence and a mask."""
    input_ids_SL, real_SL = pad_sequences(input_ids_T, lengths, model.config.pad_token_id or 0)
    logits_SLC: Tensor = model(input_ids=input_ids_SL, attention_mask=real_SL.long()).logits
    return torch.cat([logits[:length] for logits, length in zip(logits_SLC, lengths, strict=True)])


def pad_sequences(values_T: Tensor, lengths: Sequence[int], fill: int) -> tuple[Tensor, Tensor]:
    """Sequences ``[S, L]`` padded with ``fill``, and the mask of real tokens: bool ``[S, L]``."""
    sequences = list(torch.split(values_T, list(lengths)))
    padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=fill)
    real = torch.arange(padded.shape[1], device=padded.device) < send(np.array(lengths), padded.device)[:, None]
    return padded, real


def check_compile(model: Any, packed: bool, device: torch.device) -> None:
    """Refuse to compile padded models, and models whose graph would break in each layer."""
    whole_graph = not model.is_gradient_checkpointing and (device.type == "cpu" or takes_flash(model, device))
    if not packed or not whole_graph:
        raise MisconfigurationException(
            "--model.compile kernels needs --model.padding none, a family that is computed without padding, "
            "--model.gradient_checkpointing false and, on a GPU, flash attention (--trainer.precision bf16-mixed, and "
            "another family than DeBERTa)"
        )


def compile_training(model: Any) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """:func:`packed_logits` of a model, compiled at the first call for batches of any length."""
    forward: Callable[..., Any] = torch.compile(model.forward, dynamic=True)
    return lambda input_ids_T, lengths: packed_logits(model, input_ids_T, lengths, forward)
