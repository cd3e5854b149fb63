"""One Transformer layer: attention and feed-forward, each normed first and added to the stream.

Shapes: T tokens of all samples, M wanted rows, R rows of a cache, H hidden.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.model.attention import Attention, Sight
from glmctl.core.model.cache import LayerCache
from glmctl.core.model.position import RelativePositions
from glmctl.recipe.schema import ModelConfig


class FeedForward(nn.Module):
    """Two linears with the tanh form of GELU between them, as the released models."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.ffn_hidden_size)
        self.down = nn.Linear(config.ffn_hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A layer; the last one computes the wanted rows only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.hidden_size, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = nn.LayerNorm(config.hidden_size, config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        sight: Sight,
        wanted: Tensor | None,
        relative: RelativePositions | None,
        cache: LayerCache | None,
    ) -> Tensor:
        """[T, H] to [T, H], or to [M, H] when rows are wanted."""
        mixed = self.attention(self.attention_norm(x), sight, wanted, relative, cache)
        x = (x if wanted is None else x[wanted]) + self.drop(mixed)
        return x + self.drop(self.ffn(self.ffn_norm(x)))

    def step(self, x: Tensor, cache: LayerCache) -> Tensor:
        """One more token for every row of the cache, [R, H]."""
        x = x + self.attention.step(self.attention_norm(x), cache)
        return x + self.ffn(self.ffn_norm(x))  # type: ignore[no-any-return]

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
