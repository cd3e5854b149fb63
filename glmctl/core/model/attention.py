"""Attention over packed samples, in two calls and never one masked square.

Part A sees all of Part A; Part B sees Part A and its own past (paper, section 2.1). So the rows
of A attend to A without a mask, and the rows of B attend to the whole sample under a small
[|B|, S] bias. Neighbouring samples of one shape share a call as its batch dimension, others have
calls of their own, so nothing passes between samples. Part B may be cut into pieces that share
Part A and do not see each other, as the candidates of a question.

Shapes: T tokens of all samples, M wanted rows, S tokens of one sample, A of its Part A,
H hidden, N heads, G heads of keys and values, D per head, P prefix tokens, R rows of a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.model.cache import LayerCache, by_row
from glmctl.core.model.position import RelativePositions
from glmctl.core.model.rotary import Turns
from glmctl.recipe.schema import ModelConfig

# Without AMX, torch's bfloat16 attention takes 1.7 x the time of its float32 one.
CPU_HAS_AMX = torch.cpu._is_amx_tile_supported()


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

    def fits(self, other: Queries) -> bool:
        """Whether the other sample's rows ask for the same."""
        return (
            self.in_b is None
            and other.in_b is None
            and self.length == other.length
            and self.part_a_length == other.part_a_length
            and self.pieces == other.pieces
            and self.num_in_a == other.num_in_a in (0, self.part_a_length)
        )


class Sight:
    """What the rows of a batch see: one bias table, of which every sample takes a window.

    Args:
        segments: where the samples lie.
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
        window = self.table[: run.length - a, self.longest_a - a : self.longest_a - a + length]
        if run.pieces:
            window = window + F.pad(self.apart[run.pieces], (length - run.length + a, 0))
        return window if run.in_b is None else window[run.in_b]

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
    run: Queries | None = None
    for sample in samples:
        if run is not None and run.fits(sample):
            run = replace(run, num_samples=run.num_samples + 1)
            continue
        if run is not None:
            yield run
        run = sample
    if run is not None:
        yield run


class Projection(nn.Linear):
    """A linear of which some outputs can be had without the others."""

    def part(self, x: Tensor, outputs: slice) -> Tensor:
        bias = None if self.bias is None else self.bias[outputs]
        return F.linear(x, self.weight[outputs], bias)


class Attention(nn.Module):
    """Attention with one projection for queries, keys and values; groups may share the latter."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, head = config.hidden_size, config.head_width
        self.heads = (config.num_attention_heads, config.kv_heads, config.kv_heads)
        self.head_width = head
        self.is_grouped = config.kv_heads != config.num_attention_heads
        self.dropout = config.attention_dropout
        self.query_key_value = Projection(width, sum(self.heads) * head, config.qkv_bias)
        self.relative = nn.Linear(width, width) if config.position == "relative_xl" else None
        self.output = nn.Linear(self.heads[0] * head, width, config.linear_bias)
        self.num_prefix = config.num_prefix_tokens
        if self.num_prefix:
            self.prefix = nn.Parameter(torch.zeros(2, config.kv_heads, self.num_prefix, head))

    def forward(
        self,
        x: Tensor,
        sight: Sight,
        wanted: Tensor | None,
        positions: RelativePositions | Turns | None,
        cache: LayerCache | None,
    ) -> Tensor:
        """Mix the rows of each sample.

        Args:
            x: normed hidden states, [T, H].
            sight: what each row sees.
            wanted: rows whose result is needed, ascending, [M]; None for all.
            positions: distances of a Transformer-XL model, or the angles of the tokens.
            cache: takes the keys and values of sample r into its row r.

        Returns:
            [M, H], or [T, H] without `wanted`.
        """
        q, k, v = self.project(x, wanted)
        if isinstance(positions, Turns):
            q, k = positions.of(wanted).turn(q), positions.turn(k)
        if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not CPU_HAS_AMX:
            q, k, v = q.float(), k.float(), v.float()
        dropout = self.dropout if self.training else 0.0
        asked = [run.num_rows for run in sight.runs]
        held = [run.num_samples * run.length for run in sight.runs]
        mixed = []
        first = 0
        for run, *parts in zip(
            sight.runs, q.split(asked), k.split(held), v.split(held), strict=True
        ):
            q_run, k_run, v_run = (
                part.unflatten(0, (run.num_samples, -1)).transpose(1, 2) for part in parts
            )
            if self.num_prefix:
                k_run, v_run = self.behind_prefix(k_run, v_run)
            if cache is not None:
                cache.store(first, k_run, v_run)
            first += run.num_samples
            if isinstance(positions, RelativePositions):
                assert self.relative is not None
                bias = sight.bias(run) if run.length > run.part_a_length else None
                a = run.part_a_length
                out = positions.attend(q_run, k_run, v_run, self.relative, bias, a, dropout)
            else:
                out = self.attend(q_run, k_run, v_run, sight, run)
            mixed.append(out.transpose(1, 2).flatten(0, 1))
        return self.output(torch.cat(mixed).flatten(1).to(x.dtype))  # type: ignore[no-any-return]

    def project(self, x: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [M, N, D] and keys and values [T, G, D]."""
        if wanted is None:
            joined = self.query_key_value(x).unflatten(1, (-1, self.head_width))
            q, k, v = joined.split(self.heads, 1)
            return q, k, v
        split = self.heads[0] * self.head_width
        q = self.query_key_value.part(x[wanted], slice(split))
        kv = self.query_key_value.part(x, slice(split, None)).unflatten(1, (-1, self.head_width))
        k, v = kv.chunk(2, 1)
        return q.unflatten(1, (-1, self.head_width)), k, v

    def behind_prefix(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values with the learned ones in front, [samples, G, P + S, D]."""
        keys, values = self.prefix.to(k.dtype).expand(len(k), *self.prefix.shape).unbind(1)
        return torch.cat([keys, k], 2), torch.cat([values, v], 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sight: Sight, run: Queries) -> Tensor:
        """A run of samples: q [samples, N, rows, D], k and v [samples, G, P + S, D] -> as q."""
        dropout = self.dropout if self.training else 0.0
        if sight.is_causal(run):
            return F.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=self.is_grouped
            )
        a = self.num_prefix + run.part_a_length
        q_a, q_b = q.split([run.num_in_a, run.num_in_b], 2)
        out = []
        if run.num_in_a:
            seen = k[:, :, :a], v[:, :, :a]
            out.append(
                F.scaled_dot_product_attention(
                    q_a, *seen, dropout_p=dropout, enable_gqa=self.is_grouped
                )
            )
        if run.num_in_b:
            bias = sight.bias(run).to(q.dtype)
            out.append(
                F.scaled_dot_product_attention(q_b, k, v, bias, dropout, enable_gqa=self.is_grouped)
            )
        return torch.cat(out, 2) if out else q

    def step(self, x: Tensor, turns: Turns | None, cache: LayerCache) -> Tensor:
        """One more token for every beam of the cache, which sees all of its past, [R x K, H]."""
        q, k, v = self.project(x, None)  # [R x K, N, D], [R x K, G, D]
        if turns is not None:
            q, k = turns.turn(q), turns.turn(k)
        keys, values, bias = cache.append(k, v)
        q = by_row(q, len(keys))  # [R, N, K, D]
        if not self.is_grouped:
            mixed = F.scaled_dot_product_attention(q, keys, values, bias)
        else:
            mixed = self.attend_grouped(q, keys, values, bias)
        return self.output(mixed.transpose(1, 2).reshape(len(x), -1))  # type: ignore[no-any-return]

    def attend_grouped(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """The queries of a group as one matrix, so that its keys are read once, [R, N, K, D]."""
        heads, groups, _ = self.heads
        stacked = q.unflatten(1, (groups, -1)).flatten(2, 3)  # [R, G, N / G x K, D]
        if bias is not None:
            bias = bias.repeat(1, 1, heads // groups, 1)
        mixed = F.scaled_dot_product_attention(stacked, k, v, bias)
        return mixed.view(q.shape[0], heads, *q.shape[2:])
