"""Packed execution: the sequences of a batch laid end to end as one, so that none is padded.

Embeddings, linear layers, norms and the head see one packed sequence ``(1, T)`` with the position that each subword
token has in its own sequence. Only attention needs to know where sequences end. It is registered with transformers
(``AttentionInterface``), and the layout reaches it as a keyword argument of ``forward``:

* On CPU, and where flash attention cannot be used, sequences are regrouped into at most four blocks of similar length,
  and each block is one call of ``scaled_dot_product_attention``, without a mask where all its lengths are equal.
* On CUDA in half precision the packed sequence goes to variable-length flash attention as it is.

Logits, loss and gradients are those of the padded batch (``tests/unit/test_packed.py`` proves it family by family, and
by the losses of a whole epoch). A family that is not in :data:`EXACT_FAMILIES` is computed padded.

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

_OFFSET_FAMILIES = ("roberta", "xlm-roberta")  # their positions begin after the id of the padding token

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
    config = model.config
    if config.model_type == "deberta-v2" and not deberta.is_published_kind(config):
        return False
    return config.model_type in EXACT_FAMILIES and not getattr(config, "is_decoder", False)


def prepare(model: Any) -> None:
    """Make a model's attention accept a :class:`Layout`; a padded batch with a mask is computed as before.

    An extra may replace ``model.attend``, which computes a block, and ``model.length_multiple``, which gives for a
    device the number that the length of a packed sequence is padded to a multiple of.
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
    """Logits ``[T, C]`` of sequences that lie one after the other, from a :func:`prepare`-d model.

    ``lengths`` are on the host: attention is planned there, without waiting for the device. ``forward`` is the model's
    own, compiled.
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
    """Append sequences of padding, none longer than the others, up to the length that the model's kernels like."""
    missing = -len(input_ids_T) % model.length_multiple(input_ids_T.device)
    if not missing:
        return input_ids_T, lengths
    longest = max(lengths)
    padding = [min(longest, missing - start) for start in range(0, missing, longest)]
    return F.pad(input_ids_T, (0, missing), value=model.config.pad_token_id or 0), [*lengths, *padding]


def takes_flash(model: Any, device: torch.device) -> bool:
    """Whether there is variable-length flash attention for a model: by build, GPU, precision and size of heads."""
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


def _positions(config: Any, layout: Layout) -> Tensor:
    """``[T]``: the position id of each token in its own sequence, as the family counts them.

    Where a text itself holds the padding token ("<pad>"), RoBERTa in transformers does not count it; here it counts.
    """
    lengths = np.asarray(layout.lengths, dtype=np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    first = config.pad_token_id + 1 if config.model_type in _OFFSET_FAMILIES else 0
    return send(np.arange(layout.total) - starts + first, layout.device)


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
    whole_graph = not model.is_gradient_checkpointing and (device.type == "cpu" or takes_flash(model, device))
    if not packed or not whole_graph:
        raise MisconfigurationException(
            "--model.compile kernels needs --model.padding none, a family that is computed without padding, "
            "--model.gradient_checkpointing false and, on a GPU, flash attention (--trainer.precision bf16-mixed, and "
            "another family than DeBERTa)"
        )


def compile_training(model: Any) -> Callable[[Tensor, Sequence[int]], Tensor]:
    """:func:`packed_logits` of a model, compiled once for batches of any length, at the first call."""
    forward: Callable[..., Any] = torch.compile(model.forward, dynamic=True)
    return lambda input_ids_T, lengths: packed_logits(model, input_ids_T, lengths, forward)
