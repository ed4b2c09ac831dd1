"""DeBERTa-v2, DeBERTa-v3 and mDeBERTa as packed sequences.

Their attention is disentangled (He et al. 2021, https://arxiv.org/abs/2006.03654): in addition to content with content,
a score compares the query with the embedding of the key's relative position (``c2p``), and the key with that of the
query (``p2c``). Relative positions are within a sequence, so block-by-block attention gives the scores of each sequence
alone. transformers gathers each score from products with all embeddings; here only those that the batch needs are
projected and multiplied, in the order of relative positions, and shifted into place.

:func:`prepare` installs the forward passes below in a model. Padded batches with a mask are computed as before.

Shapes: T subword tokens, N sequences of a block padded to L, H heads, D units of a head, R embeddings in use.
"""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ner_module.model.blocks import Layout, in_blocks, send

RelativePositions = tuple[slice, Tensor, Tensor]
"""The embeddings of relative positions that a batch with longest sequence L needs; of these, the indices for a query's
keys from L - 1 to its left to L to its right, ``[2 L]``, and for a key's queries, ``[2 L]``."""


def is_published_kind(config: Any) -> bool:
    """Whether attention has the terms that all published models have."""
    relative = config.relative_attention and config.position_buckets > 0 and getattr(config, "share_att_key", False)
    return bool(relative and {*config.pos_att_type} == {"c2p", "p2c"})


def prepare(model: Any) -> None:
    """Make a model's ``forward`` accept a :class:`Layout`."""
    model.forward = MethodType(_forward, model)
    for layer in model.deberta.encoder.layer:
        layer.attention.self.forward = MethodType(_attention, layer.attention.self)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _relative_positions(encoder: Any, layout: Layout) -> RelativePositions:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    span = len(encoder.rel_embeddings.weight) // 2
    steps = torch.arange(1 - layout.longest, layout.longest + 1)
    places = []
    for distance in (-steps, steps):  # query minus key
        bucket = make_log_bucket_position(distance, encoder.position_buckets, encoder.max_relative_positions)
        places.append((bucket.long() + span).clamp(0, 2 * span - 1))
    first, last = (int(edge) for edge in torch.cat(places).aminmax())
    of_keys, of_queries = (send((place - first).numpy(), layout.device) for place in places)
    return slice(first, last + 1), of_keys, of_queries


def _forward(
    model: Any,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    layout: Layout | None = None,
    **named: Any,
) -> Any:
    """Logits ``[1, T, C]`` of a packed sequence; without a layout, the class's own forward pass."""
    from transformers.modeling_outputs import TokenClassifierOutput

    if layout is None:  # the export to ONNX needs the argument names above
        return type(model).forward(model, input_ids, attention_mask, position_ids=position_ids, **named)
    encoder = model.deberta.encoder
    relative = _relative_positions(encoder, layout)
    embeddings_RE = encoder.get_rel_embedding()[relative[0]]
    hidden = first = model.deberta.embeddings(input_ids, position_ids=position_ids)
    for index, layer in enumerate(encoder.layer):
        hidden, _ = layer(hidden, layout, relative_pos=relative, rel_embeddings=embeddings_RE)
        if index == 0 and encoder.conv is not None:
            hidden = _convolve(encoder.conv, first, hidden, layout)
    return TokenClassifierOutput(logits=model.classifier(model.dropout(hidden)))


def _attention(module: Any, hidden: Tensor, mask: Any, *flags: Any, **named: Any) -> tuple[Tensor, Tensor | None]:
    """The layer's ``forward``, with a layout in place of the mask: ``(1, T, H * D)`` to the same shape."""
    if not isinstance(mask, Layout):
        found: tuple[Tensor, Tensor | None] = type(module).forward(module, hidden, mask, *flags, **named)
        return found
    heads, units = module.num_attention_heads, module.attention_head_size
    scaling = (units * 3) ** -0.5  # a score is the sum of three products
    embeddings_RE = module.pos_dropout(named["rel_embeddings"])

    def table(project: Any, places: Tensor) -> Tensor:
        projected: Tensor = (project(embeddings_RE) * scaling).index_select(0, places)
        return projected.view(-1, heads, units).permute(1, 2, 0)

    _, of_keys, of_queries = named["relative_pos"]
    attend = partial(_attend, table(module.key_proj, of_keys), table(module.query_proj, of_queries), module.dropout)
    projections = (module.query_proj, module.key_proj, module.value_proj)
    states = [project(hidden)[0].view(-1, heads, units) for project in projections]
    return in_blocks(states, mask, module.dropout.p, scaling, None, attend).flatten(2), None


def _attend(
    c2p: Tensor, p2c: Tensor, drop: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, p: float, scale: float
) -> Tensor:
    """Attention in a block, from and to ``(N, H, L, D)``; ``c2p`` and ``p2c`` are scaled, ``(H, D, 2 longest)``."""
    number, heads, length, units = query.shape
    # Heads first, so that one product per head serves all sequences: they share the relative positions.
    query, key, value = (
        states.transpose(0, 1).contiguous().view(heads, number * length, units) for states in (query, key, value)
    )
    alone = (heads * number, length, units)
    scores = torch.bmm(query.view(alone) * scale, key.view(alone).transpose(1, 2))
    scores = scores + _shift(query, c2p, length) + _shift(key, p2c, length).transpose(1, 2)
    scores = scores.view(heads, number, length, length)
    if mask is not None:
        scores = scores.masked_fill(~mask.transpose(0, 1), -torch.inf)
    shares = drop(scores.softmax(-1)).view(-1, length, length)
    return torch.bmm(shares, value.view(alone)).view(heads, number, length, units).transpose(0, 1)


def _shift(states: Tensor, positions: Tensor, length: int) -> Tensor:
    """``[i, j]``: state i times the position of j relative to i. ``(H, N * L, D)`` to ``(H * N, L, L)``."""
    middle = positions.shape[-1] // 2
    products = torch.bmm(states, positions[..., middle - length : middle + length])
    # Row i has j at index j - i + L - 1: with rows one shorter and starting L - 1 later, j is at index j.
    rows = products.view(-1, 2 * length * length)[:, length - 1 : -1]
    return rows.view(-1, length, 2 * length - 1)[..., :length]


def _convolve(convolution: Any, first: Tensor, hidden: Tensor, layout: Layout) -> Tensor:
    """DeBERTa-v2's convolution parallel to its first layer, with zeros between sequences, as in padding."""
    gap = convolution.conv.kernel_size[0] // 2
    lengths = np.asarray(layout.lengths)
    place = send(np.arange(layout.total) + np.repeat(np.arange(len(lengths)) * gap, lengths), layout.device)
    total = layout.total + len(lengths) * gap
    spread = [states.new_zeros(1, total, states.shape[2]).index_copy(1, place, states) for states in (first, hidden)]
    mask = spread[0].new_zeros(1, total).index_fill(1, place, 1)
    convolved: Tensor = convolution(*spread, mask).index_select(1, place)
    return convolved
