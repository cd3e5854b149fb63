"""Attention over packed samples, in two calls and never one masked square.

The rows of Part A attend to Part A without a mask, and the rows of Part B to the whole sample under
a small bias; rows that see their past and nothing else need none. Neighbouring samples of one shape
share a call as its batch dimension, others have calls of their own, so nothing passes between
samples.

Shapes: T tokens of all samples, M wanted rows, S tokens of one sample, A of its Part A,
H hidden, N heads, G heads of keys and values, D per head, P prefix tokens, R rows of a cache.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.model.cache import LayerCache, by_row
from glmctl.core.model.position import RelativePositions, Turns
from glmctl.core.model.sight import Queries, Sight
from glmctl.recipe.model import ModelConfig

# Without AMX, torch's bfloat16 attention takes 1.7 x the time of its float32 one.
CPU_HAS_AMX = torch.cpu._is_amx_tile_supported()


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
        """Mix the rows of each sample, [T, H] -> [M, H]; arguments as those of `GLM.hidden`."""
        q, k, v = self.project(x, wanted)
        if isinstance(positions, Turns):
            q, k = positions.of(wanted).turn(q), positions.turn(k)
        if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not CPU_HAS_AMX:
            q, k, v = q.float(), k.float(), v.float()
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
                shape = (run.num_samples, *self.prefix.shape)
                keys, values = self.prefix.to(k.dtype).expand(shape).unbind(1)  # [.., G, P, D]
                k_run, v_run = torch.cat([keys, k_run], 2), torch.cat([values, v_run], 2)
            if cache is not None:
                cache.store(first, k_run, v_run)
            first += run.num_samples
            relative = positions if isinstance(positions, RelativePositions) else None
            out = self.attend(q_run, k_run, v_run, sight, run, relative)
            mixed.append(out.transpose(1, 2).flatten(0, 1))
        return self.output(torch.cat(mixed).flatten(1).to(x.dtype))  # type: ignore[no-any-return]

    def project(self, x: Tensor, wanted: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [M, N, D] and keys and values [T, G, D]."""
        if wanted is None:
            joined = self.query_key_value(x).unflatten(1, (-1, self.head_width))
            q, k, v = joined.split_with_sizes(self.heads, 1)
            return q, k, v
        split = self.heads[0] * self.head_width
        q = self.query_key_value.part(x[wanted], slice(split))
        kv = self.query_key_value.part(x, slice(split, None)).unflatten(1, (-1, self.head_width))
        k, v = kv.chunk(2, 1)
        return q.unflatten(1, (-1, self.head_width)), k, v

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sight: Sight,
        run: Queries,
        relative: RelativePositions | None,
    ) -> Tensor:
        """A run of samples: q [samples, N, rows, D], k and v [samples, G, P + S, D] -> as q."""
        attention = partial(
            F.scaled_dot_product_attention,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.is_grouped,
        )
        scores = None  # of the distances, for some rows
        if relative is not None:
            assert self.relative is not None
            distances = self.relative(relative.sinusoids(run.length, q))
            scores = partial(relative.bias, q, distances.unflatten(1, q.shape[1::2]))
            q = q + relative.content_bias[:, None]
        elif sight.is_causal(run):
            return attention(q, k, v, is_causal=True)
        a = self.num_prefix + run.part_a_length
        q_a, q_b = q.split([run.num_in_a, run.num_in_b], 2)
        out = []
        if run.num_in_a:
            bias = None if scores is None else scores(0, a)[..., :a].to(q.dtype)
            out.append(attention(q_a, k[:, :, :a], v[:, :, :a], bias))
        if run.num_in_b:
            bias = sight.bias(run)
            if scores is not None:
                bias = scores(a, run.length) + bias
            out.append(attention(q_b, k, v, bias.to(q.dtype)))
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
