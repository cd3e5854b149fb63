"""Keys and values of past tokens, so that each token is computed once.

Shapes: R rows, K beams of a row, N heads of keys and values, C places, D per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.recipe.model import ModelConfig


@dataclass(frozen=True)
class Places:
    """Where the next token of each beam goes, and what it sees."""

    num_beams: int
    num_keys: int
    row: Tensor | None  # [R x K]; None: the last keys of every row
    place: Tensor | None  # [R x K]
    bias: Tensor | None  # [R, 1, K, num_keys]; None: every row sees every key


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
        """Put [R x K, N, D] into the next places; give all keys, all values and what is seen."""
        assert self.places is not None
        row, place, num_keys = self.places.row, self.places.place, self.places.num_keys
        if row is None:
            last = slice(num_keys - self.places.num_beams, num_keys)
            self.keys[:, :, last] = by_row(keys, len(self.keys))
            self.values[:, :, last] = by_row(values, len(self.keys))
        else:
            self.keys[row, :, place] = keys.to(self.keys.dtype)
            self.values[row, :, place] = values.to(self.values.dtype)
        return self.keys[:, :, :num_keys], self.values[:, :, :num_keys], self.places.bias


class KeyValueCache:
    """Room for `num_rows` texts in every layer, which grows when `capacity` tokens are passed.

    The beams of a text share its row. What is settled (Part A, earlier blanks) stands there once
    and all of them see it; behind it stand the open tokens of all beams, and each beam sees those
    on its path. So a beam goes on from another one's past by its path alone, and nothing is copied.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_rows: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        num_beams: int = 1,
    ) -> None:
        capacity += config.num_prefix_tokens
        shape = (num_rows, config.kv_heads, capacity, config.head_width)
        self.num_beams = num_beams
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.lengths = [0] * num_rows
        self.num_open = [0] * num_rows
        self.paths: list[tuple[int, ...]] = []

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the other rows."""
        index = torch.tensor(rows, device=self.keys[0].device)
        self.keys = [keys[index] for keys in self.keys]
        self.values = [values[index] for values in self.values]
        self.lengths = [self.lengths[row] for row in rows]
        self.num_open = [self.num_open[row] for row in rows]

    def settle(self, row: int, path: Sequence[int]) -> None:
        """Keep those of the row's open tokens that stand at these places, in their order."""
        start = self.lengths[row] - self.num_open[row]
        index = torch.tensor(path, dtype=torch.long, device=self.keys[0].device)
        for layer in (*self.keys, *self.values):
            layer[row, :, start : start + len(path)] = layer[row, :, index]
        self.lengths[row], self.num_open[row] = start + len(path), 0

    def follow(self, paths: Sequence[tuple[int, ...]]) -> None:
        """Say which open places each beam of each row has behind it, R x K."""
        self.paths = [*paths]

    def next_places(self) -> Places:
        """Take one more place for every beam of every row."""
        beams, first = self.num_beams, self.lengths
        self.lengths = [length + beams for length in first]
        num_keys, is_even = max(self.lengths), len(set(first)) == 1
        if num_keys > self.capacity:
            self.grow(max(num_keys, self.capacity * 3 // 2))
        if beams == 1 and is_even:
            return Places(1, num_keys, None, None, None)
        device = self.keys[0].device
        place = torch.tensor(first, device=device)[:, None] + torch.arange(beams, device=device)
        settled = torch.tensor(first, device=device) - torch.tensor(self.num_open, device=device)
        seen = torch.arange(num_keys, device=device) < settled[:, None, None]  # [R, 1, C]
        seen = seen.repeat(1, beams, 1)  # [R, K, C]
        if beams > 1:
            self.num_open = [number + beams for number in self.num_open]
            owners = [beam for beam, path in enumerate(self.paths) for _ in path]
            seen.view(-1, num_keys)[owners, [*chain.from_iterable(self.paths)]] = True
        seen.scatter_(2, place[..., None], True)
        bias = torch.zeros_like(seen, dtype=self.keys[0].dtype).masked_fill_(~seen, float("-inf"))
        if is_even:
            return Places(beams, num_keys, None, None, bias[:, None])
        rows = torch.arange(len(first), device=device).repeat_interleave(beams)
        return Places(beams, num_keys, rows, place.flatten(), bias[:, None])

    def grow(self, capacity: int) -> None:
        more = capacity - self.capacity
        for layers in (self.keys, self.values):
            for i, layer in enumerate(layers):  # one by one, so that just one is held twice
                layers[i] = F.pad(layer, (0, 0, 0, more))

    def layer(self, index: int, places: Places | None = None) -> LayerCache:
        return LayerCache(self.keys[index], self.values[index], places)


def by_row(x: Tensor, num_rows: int) -> Tensor:
    """The beams of a row as its sequence, [R x K, N, D] -> [R, N, K, D]."""
    return x.unflatten(0, (num_rows, -1)).transpose(1, 2)  # type: ignore[no-any-return]
