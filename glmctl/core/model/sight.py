"""What each token of a packed batch sees.

Part A sees all of Part A; Part B sees Part A and its own past (paper, section 2.1). So the rows
of A need no mask, and the rows of B a small [|B|, S] bias; a square of all tokens is never made.
Part B may be cut into pieces that share Part A and do not see each other, as the candidates of a
question. Neighbouring samples of one shape form a run, which shares a kernel call.

Shapes: T tokens of all samples, M wanted rows, S tokens of one sample, A of its Part A, P prefix
tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Segments:
    """Where each packed sample lies: its length and the length of its Part A."""

    lengths: tuple[int, ...]
    part_a_lengths: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...] | None = None
    """Lengths of the pieces of each Part B that do not see each other; None: each is whole."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        return tuple(accumulate(self.lengths, initial=0))[:-1]

    @property
    def shapes(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Length of each sample, that of its Part A, and its pieces; () for a whole Part B."""
        pieces = self.pieces or ((),) * len(self.lengths)
        for length, a, cut in zip(self.lengths, self.part_a_lengths, pieces, strict=True):
            yield length, a, cut if len(cut) > 1 else ()


@dataclass(frozen=True)
class Queries:
    """The rows that ask in a run of neighbouring samples of one shape.

    In each sample they are some of its Part A, then some of its Part B.
    """

    num_samples: int
    part_a_length: int
    length: int
    num_in_a: int
    num_in_b: int
    in_b: Tensor | None  # their places in Part B, [num_in_b]; None: all of Part B
    pieces: tuple[int, ...] = ()  # of Part B; (): it is whole

    @property
    def num_rows(self) -> int:
        return self.num_samples * (self.num_in_a + self.num_in_b)

    @property
    def shape(self) -> object:
        """Equal for neighbours that share a kernel call."""
        if self.in_b is not None or self.num_in_a not in (0, self.part_a_length):
            return object()
        return self.length, self.part_a_length, self.pieces, self.num_in_a


class Sight:
    """What the rows of a batch see: one bias table, of which every sample takes a window.

    Args:
        wanted: the rows that ask, ascending, [M]; None for all.
        like: gives type and device of the table.
        num_prefix: keys in front of each sample that all of its rows see.
    """

    def __init__(
        self, segments: Segments, wanted: Tensor | None, like: Tensor, num_prefix: int = 0
    ) -> None:
        self.longest_a = max(segments.part_a_lengths)
        self.longest_b = max(
            n - a for n, a in zip(segments.lengths, segments.part_a_lengths, strict=True)
        )
        self.like = like
        self.apart = {
            cut: between_pieces(cut, like) for cut in {*(segments.pieces or ())} if len(cut) > 1
        }
        self.num_prefix = num_prefix
        single = all_rows(segments) if wanted is None else some_rows(segments, wanted)
        self.runs = list(merge(single))

    @cached_property
    def table(self) -> Tensor:
        """Made on demand: where every token is in Part B, no row needs it."""
        future = self.like.new_full((self.longest_b, self.longest_b), float("-inf")).triu_(1)
        longest_a = self.num_prefix + self.longest_a
        return F.pad(future, (longest_a, 0))  # [max |B|, P + max A + max |B|]

    def bias(self, run: Queries) -> Tensor:
        """0 where a row of Part B sees the key and -inf where it does not, [num_in_b, P + S]."""
        a, length = run.part_a_length, self.num_prefix + run.length
        front = self.num_prefix + a
        if run.in_b is None:
            start = self.longest_a - a
            bias = self.table[: run.length - a, start : start + length]
        else:  # a few rows of what may be many: the table of all is not worth its memory
            key = torch.arange(length, device=run.in_b.device)
            future = key > front + run.in_b[:, None]
            bias = self.like.new_zeros(future.shape).masked_fill_(future, float("-inf"))
        if run.pieces:
            apart = self.apart[run.pieces]
            bias = bias + F.pad(apart if run.in_b is None else apart[run.in_b], (front, 0))
        return bias

    def is_causal(self, run: Queries) -> bool:
        """Whether every row sees its past and nothing else, which kernels do without a bias."""
        has_front = run.part_a_length or self.num_prefix
        return not (has_front or run.pieces) and run.num_in_b == run.length


def between_pieces(pieces: tuple[int, ...], like: Tensor) -> Tensor:
    """-inf where a row and a key of Part B belong to different pieces, else 0, [|B|, |B|]."""
    lengths = torch.tensor(pieces, device=like.device)
    piece = torch.arange(len(pieces), device=like.device).repeat_interleave(lengths)  # [|B|]
    others = piece[:, None] != piece
    return torch.zeros_like(others, dtype=like.dtype).masked_fill_(others, float("-inf"))


def all_rows(segments: Segments) -> Iterator[Queries]:
    for length, a, pieces in segments.shapes:
        yield Queries(1, a, length, a, length - a, None, pieces)


def some_rows(segments: Segments, wanted: Tensor) -> Iterator[Queries]:
    """Share out the wanted rows, given in ascending order, among the samples, [M]."""
    starts = wanted.new_tensor(segments.starts)
    middles = starts + wanted.new_tensor(segments.part_a_lengths)
    from_a = torch.searchsorted(wanted, starts).tolist()
    from_b = torch.searchsorted(wanted, middles).tolist()
    ends = [*from_a[1:], len(wanted)]
    for i, (length, a, pieces) in enumerate(segments.shapes):
        num_in_b = ends[i] - from_b[i]
        in_b = None if num_in_b == length - a else wanted[from_b[i] : ends[i]] - middles[i]
        yield Queries(1, a, length, from_b[i] - from_a[i], num_in_b, in_b, pieces)


def merge(samples: Iterable[Queries]) -> Iterator[Queries]:
    """Join neighbours of one shape into runs: one kernel call instead of many."""
    for _, run in groupby(samples, key=lambda sample: sample.shape):
        first, *others = run
        yield replace(first, num_samples=1 + len(others))
