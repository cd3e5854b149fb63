"""Keys and values of past tokens, so that each token is computed once.

Shapes: R rows, N heads, C places, D per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glmctl.recipe.schema import ModelConfig


class KeyValueCache:
    """Room for `num_rows` texts of up to `capacity` tokens, in every layer."""

    def __init__(
        self,
        config: ModelConfig,
        num_rows: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_rows, config.num_attention_heads, capacity, config.head_size)
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.lengths = [0] * num_rows

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def keep(self, rows: list[int]) -> None:
        """Drop the other rows."""
        index = torch.tensor(rows, device=self.keys[0].device)
        self.keys = [keys[index] for keys in self.keys]
        self.values = [values[index] for values in self.values]
        self.lengths = [self.lengths[row] for row in rows]

    def next_places(self) -> Places:
        """Take one more place in every row."""
        assert max(self.lengths) < self.capacity, "the cache is full"
        places, self.lengths = self.lengths, [length + 1 for length in self.lengths]
        if len(set(places)) == 1:
            return Places(len(places), places[0] + 1, None, None)
        device = self.keys[0].device
        place = torch.tensor(places, device=device)
        unseen = torch.arange(max(self.lengths), device=device) > place[:, None]
        bias = torch.zeros_like(unseen, dtype=self.keys[0].dtype).masked_fill_(
            unseen, float("-inf")
        )
        return Places(len(places), max(self.lengths), place, bias[:, None, None])

    def layer(self, index: int, places: Places | None = None) -> LayerCache:
        return LayerCache(self.keys[index], self.values[index], places)


@dataclass(frozen=True)
class Places:
    """Where the next token of each row goes, and what it sees."""

    num_rows: int
    num_keys: int
    place: Tensor | None  # [R]; None: the last key of every row
    bias: Tensor | None  # [R, 1, 1, num_keys]; None: every row sees every key


@dataclass(frozen=True)
class LayerCache:
    """The cache of one layer, keys and values [R, N, C, D]."""

    keys: Tensor
    values: Tensor
    places: Places | None

    def store(self, first: int, keys: Tensor, values: Tensor) -> None:
        """Fill the start of the rows from `first` on with [samples, N, S, D]."""
        rows, places = slice(first, first + len(keys)), slice(keys.shape[2])
        self.keys[rows, :, places] = keys
        self.values[rows, :, places] = values

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Put [R, N, D] into the next places; give all keys, all values and what is seen."""
        assert self.places is not None
        place, num_keys = self.places.place, self.places.num_keys
        if place is None:
            self.keys[:, :, num_keys - 1] = keys
            self.values[:, :, num_keys - 1] = values
        else:
            rows = torch.arange(self.places.num_rows, device=keys.device)
            self.keys[rows, :, place] = keys.to(self.keys.dtype)
            self.values[rows, :, place] = values.to(self.values.dtype)
        return self.keys[:, :, :num_keys], self.values[:, :, :num_keys], self.places.bias
