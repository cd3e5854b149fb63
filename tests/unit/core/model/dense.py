"""The same function written the plain way: padded rows, one square mask, all logits.

Used as a reference only; it shares the weights of a `GLM` and nothing else.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.model.glm import GLM


def prefix_mask(part_a_length: int, length: int) -> Tensor:
    """True where the query (row) sees the key (column), [S, S]."""
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    return (key <= query) | (key < part_a_length)


def dense_logits(model: GLM, ids: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    """One sample: ids [S], places [2, S], mask [S, S] -> logits [S, V]."""
    x = model.word_embedding.weight[ids]
    x = x + model.position_embedding.weight[places[0]]
    x = x + model.span_position_embedding.weight[places[1]]
    heads, width = model.config.num_attention_heads, model.config.hidden_size
    for block in model.blocks:
        normed = norm(x, block.attention_norm)
        qkv = normed @ block.attention.query_key_value.weight.T
        qkv = qkv + block.attention.query_key_value.bias
        q, k, v = (
            part.view(len(ids), heads, width // heads).transpose(0, 1)
            for part in qkv.split(width, dim=1)
        )
        scores = q @ k.transpose(1, 2) / (width // heads) ** 0.5
        scores = scores.masked_fill(~mask, float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), width)
        x = x + F.linear(mixed, block.attention.output.weight, block.attention.output.bias)
        up = F.linear(norm(x, block.ffn_norm), block.ffn.up.weight, block.ffn.up.bias)
        inner = 0.7978845608028654 * (up + 0.044715 * up**3)
        x = x + F.linear(0.5 * up * (1 + inner.tanh()), block.ffn.down.weight, block.ffn.down.bias)
    return norm(x, model.final_norm) @ model.word_embedding.weight.T


def norm(x: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * layer.weight + layer.bias
