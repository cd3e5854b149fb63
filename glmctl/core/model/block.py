"""One Transformer layer: attention and feed-forward, each normed first and added to the stream.

Shapes: T tokens of all samples, M wanted rows, R rows of a cache, H hidden.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.model.attention import Attention
from glmctl.core.model.cache import LayerCache
from glmctl.core.model.position import RelativePositions, Turns
from glmctl.core.model.sight import Sight
from glmctl.recipe.model import ModelConfig

SLOPE = 2 * math.sqrt(2 / math.pi)  # of twice the argument of tanh, at 0


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by tanh; without gradients on a CPU by sigmoid, which is 2.6 times as fast there."""
    if torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    doubled = torch.addcmul(x.new_tensor(SLOPE), x, x, value=0.044715 * SLOPE).mul_(x)
    return doubled.sigmoid_().mul_(x)  # x (1 + tanh(u)) / 2 = x sigmoid(2 u)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": gelu_tanh,
    "gelu_erf": F.gelu,
    "geglu": F.gelu,
    "swiglu": F.silu,
}


def make_norm(config: ModelConfig) -> nn.Module:
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.hidden_size, config.norm_eps)


class FeedForward(nn.Module):
    """Two linears with an activation between them; a gated one multiplies by a second product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[config.ffn]
        self.is_gated = config.is_gated
        width, inner, has_bias = config.hidden_size, config.ffn_width, config.linear_bias
        self.up = nn.Linear(width, 2 * inner if self.is_gated else inner, has_bias)
        self.down = nn.Linear(inner, width, has_bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_gated:
            return self.down(self.activate(self.up(x)))  # type: ignore[no-any-return]
        gate, value = self.up(x).chunk(2, -1)
        return self.down(self.activate(gate) * value)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A layer; the last one computes the wanted rows only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.residual_scale = config.residual_scale
        self.adds_to_normed = config.residual_from == "normalised"
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.ffn_norm = make_norm(config)
        self.ffn = FeedForward(config)
        has_out_norms = config.norm_placement == "sandwich"
        self.attention_out_norm = make_norm(config) if has_out_norms else nn.Identity()
        self.ffn_out_norm = make_norm(config) if has_out_norms else nn.Identity()

    def forward(
        self,
        x: Tensor,
        sight: Sight,
        wanted: Tensor | None,
        positions: RelativePositions | Turns | None,
        cache: LayerCache | None,
    ) -> Tensor:
        """[T, H] to [T, H], or to [M, H] when rows are wanted."""
        normed = self.attention_norm(x)
        mixed = self.attention(normed, sight, wanted, positions, cache)
        stream = normed if self.adds_to_normed else x
        return self.feed(stream if wanted is None else stream[wanted], mixed)

    def step(self, x: Tensor, turns: Turns | None, cache: LayerCache) -> Tensor:
        """One more token for every row of the cache, [R, H]."""
        normed = self.attention_norm(x)
        mixed = self.attention.step(normed, turns, cache)
        return self.feed(normed if self.adds_to_normed else x, mixed)

    def feed(self, stream: Tensor, mixed: Tensor) -> Tensor:
        """Add what attention made of the stream, then what the feed-forward part makes of both."""
        x = self.scaled(stream) + self.drop(self.attention_out_norm(mixed))
        normed = self.ffn_norm(x)
        fed = self.drop(self.ffn_out_norm(self.ffn(normed)))
        return self.scaled(normed if self.adds_to_normed else x) + fed

    def scaled(self, stream: Tensor) -> Tensor:
        return stream if self.residual_scale is None else stream * self.residual_scale

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
