"""Relative positions as the original's Transformer-XL option computes them.

Shapes: S tokens of a sample, N heads, D per head, H hidden.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.recipe.model import ModelConfig


class RelativePositions(nn.Module):
    """Sinusoids of the distances and the two query biases that all layers share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (config.num_attention_heads, config.head_width)
        self.hidden_size = config.hidden_size
        self.dropout = config.dropout
        self.content_bias = nn.Parameter(torch.zeros(shape))
        self.distance_bias = nn.Parameter(torch.zeros(shape))

    def sinusoids(self, length: int, like: Tensor) -> Tensor:
        """Rows for the distances length - 1 down to 0, [S, H]."""
        exponent = torch.arange(0, self.hidden_size, 2, device=like.device, dtype=like.dtype)
        frequency = 1 / 10_000 ** (exponent / self.hidden_size)
        distance = torch.arange(length - 1, -1, -1, device=like.device, dtype=like.dtype)
        angle = distance[:, None] * frequency
        return F.dropout(torch.cat([angle.sin(), angle.cos()], 1), self.dropout, self.training)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        project: nn.Module,
        future: Tensor | None,
        part_a_length: int,
        dropout: float,
    ) -> Tensor:
        """Attention with a score for the distance of each pair, in the two calls of `Attention`.

        Args:
            q: queries of samples of one shape, all rows, [samples, N, S, D]; `k` and `v` as well.
            project: the layer's projection of the distances.
            future: -inf where a row of Part B does not see the key, [B, S]; None without Part B.
            part_a_length: A, the same in every sample.
            dropout: of the probabilities.

        Returns:
            [samples, N, S, D].
        """
        a, length = part_a_length, q.shape[2]
        distances = project(self.sinusoids(length, q)).unflatten(1, q.shape[1::2])
        asked = q + self.content_bias[:, None]
        out = []
        if a:
            bias = self.bias(q, distances, 0, a)[..., :a].to(q.dtype)
            seen = k[:, :, :a], v[:, :, :a]
            out.append(F.scaled_dot_product_attention(asked[:, :, :a], *seen, bias, dropout))
        if future is not None:
            bias = (self.bias(q, distances, a, length) + future).to(q.dtype)
            out.append(F.scaled_dot_product_attention(asked[:, :, a:], k, v, bias, dropout))
        return torch.cat(out, 2)

    def bias(self, q: Tensor, distances: Tensor, first: int, last: int) -> Tensor:
        """Scaled scores of the distances for the query rows first..last.

        The original shifts the square [S, S] of scores by padding, reshaping and cropping, which
        gives keys after the query the scores of the next row; those are seen inside Part A, so
        the same elements are taken here, for a block of rows.

        Args:
            q: queries of samples of one length, [samples, N, S, D].
            distances: projected sinusoids, [S, N, D].
            first: first row of the block.
            last: row after the block.

        Returns:
            [samples, N, last - first, S].
        """
        length = q.shape[2]
        rows = q[:, :, first : last + 1] + self.distance_bias[:, None]
        scores = rows @ distances.permute(1, 2, 0) * q.shape[3] ** -0.5  # [.., rows (+ 1), S]
        padded = F.pad(scores, (1, 0)).flatten(2)
        # Element (i, j) of the shifted square is element S + i S + j of the padded one, whose
        # rows are S + 1 wide.
        offset = length + first * length - first * (length + 1)
        wanted: Tensor = padded[..., offset : offset + (last - first) * length]
        return wanted.unflatten(2, (last - first, length))  # type: ignore[no-any-return]
