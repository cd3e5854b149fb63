"""Positions that work inside the attention of each layer.

Rotary ones turn queries and keys by the place of their token. Relative ones add a score for the
distance of each pair, as the Transformer-XL option of the original does.

Shapes: T tokens, S tokens of a sample, N heads, D per head, H hidden, G places that turn a share
each (1 or 2), P pairs of a share.
"""

from dataclasses import dataclass
from math import ceil, floor, log, pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.recipe.model import ModelConfig, RotaryConfig, YarnConfig


@dataclass(frozen=True)
class Turns:
    """The angles of some tokens, as cosines and sines [T, 1, G, P]."""

    cos: Tensor
    sin: Tensor
    pair_dim: int
    """-1: the two of a pair are neighbours; -2: they are half a share apart."""

    def of(self, rows: Tensor | None) -> "Turns":
        """The angles of these tokens only, [M]; None for all."""
        return self if rows is None else Turns(self.cos[rows], self.sin[rows], self.pair_dim)

    def turn(self, x: Tensor) -> Tensor:
        """Rotate each pair of the dimensions that turn, [T, N, D]."""
        groups, pairs = self.cos.shape[2:]
        width = 2 * groups * pairs
        sizes = (groups, pairs, 2) if self.pair_dim == -1 else (groups, 2, pairs)
        a, b = x[..., :width].unflatten(2, sizes).unbind(self.pair_dim)  # [T, N, G, P]
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        turned = torch.stack([a * cos - b * sin, b * cos + a * sin], self.pair_dim).flatten(2)
        return turned if width == x.shape[2] else torch.cat([turned, x[..., width:]], 2)


class RotaryPositions(nn.Module):
    """Makes the angles of a batch, once for all layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.settings = config.rotary or RotaryConfig()
        self.num_places = 2 if config.position == "rotary_2d" else 1
        self.turned = int(config.head_width * self.settings.fraction) // self.num_places

    def frequencies(self, device: torch.device) -> Tensor:
        """Radians a place for each pair, [P]; float32, as the released code has them."""
        exponents = torch.arange(0, self.turned, 2, device=device).float() / self.turned
        base = self.settings.base * self.settings.ratio
        frequencies = 1.0 / base**exponents
        if self.settings.yarn is not None:
            return slowed(frequencies, base, self.settings.yarn)
        if self.settings.half_precision_frequencies:
            return frequencies.half().float()
        return frequencies

    def forward(self, position_ids: Tensor) -> Turns:
        """The angles of tokens at [2, T]; the second row counts for `rotary_2d` only."""
        places = position_ids[: self.num_places].T.float() / self.settings.scaling  # [T, G]
        angles = places[:, None, :, None] * self.frequencies(places.device)  # [T, 1, G, P]
        growth = 1.0 if self.settings.yarn is None else self.settings.yarn.growth
        pair_dim = -1 if self.settings.interleaved else -2
        return Turns(angles.cos() * growth, angles.sin() * growth, pair_dim)


def slowed(frequencies: Tensor, base: float, yarn: YarnConfig) -> Tensor:
    """The frequencies of YaRN: between two pairs they fall from what they were to a share of it."""
    num_pairs = len(frequencies)

    def pair_that_turns(times: float) -> float:
        return num_pairs * log(yarn.original_positions / (times * 2 * pi)) / log(base)

    first = max(floor(pair_that_turns(yarn.beta_fast)), 0)
    last = min(ceil(pair_that_turns(yarn.beta_slow)), 2 * num_pairs - 1)
    pair = torch.arange(num_pairs, device=frequencies.device).float()
    slow = ((pair - first) / max(last - first, 0.001)).clamp(0, 1)
    return frequencies / yarn.factor * slow + frequencies * (1 - slow)


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

    def bias(self, q: Tensor, distances: Tensor, first: int, last: int) -> Tensor:
        """Scaled scores of the distances for the query rows first..last.

        The original shifts the square [S, S] of scores by padding, reshaping and cropping, which
        gives keys after the query the scores of the next row; those are seen inside Part A, so
        the same elements are taken here, for a block of rows.

        Args:
            q: queries of samples of one length, [samples, N, S, D].
            distances: projected sinusoids, [S, N, D].
            first, last: the rows, without `last`.

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
