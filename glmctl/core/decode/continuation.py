"""Goes on with sequences of ids, the best token each time, on a key/value cache.

Shapes: R sequences still going on, T packed tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments


@dataclass
class Beginning:
    """A sequence to go on with."""

    ids: list[int]
    places: Tensor  # of these and of all tokens that may follow, [2, length and more]
    part_a_length: int
    added: list[int] = field(default_factory=list)


@torch.inference_mode()
def continue_greedily(
    model: GLM, beginnings: Sequence[Beginning], max_new_tokens: int, ends: Collection[int]
) -> list[list[int]]:
    """The tokens that follow each beginning, without the one of `ends` that closes it."""
    active = list(beginnings)
    weight = model.word_embedding.weight
    room = max(len(row.ids) for row in active) + max_new_tokens
    cache = KeyValueCache(model.config, len(active), room, weight.dtype, weight.device)
    hidden = prefill(model, active, cache)  # [R, H]
    for _ in range(max_new_tokens):
        tokens = model.logits(hidden).argmax(1).tolist()
        staying = [number for number, token in enumerate(tokens) if token not in ends]
        for number in staying:
            active[number].added.append(tokens[number])
        if not staying or len(active[staying[0]].added) == max_new_tokens:
            break
        if len(staying) < len(active):
            cache.keep(staying)
            active = [active[number] for number in staying]
        fed = torch.tensor([row.added[-1] for row in active], device=weight.device)
        at = [len(row.ids) + len(row.added) - 1 for row in active]
        places = [row.places[:, i] for row, i in zip(active, at, strict=True)]
        hidden = model.step(fed, torch.stack(places, 1), cache)
    return [row.added for row in beginnings]


def prefill(model: GLM, rows: Sequence[Beginning], cache: KeyValueCache) -> Tensor:
    """Run all beginnings at once, [R, H] at their last tokens."""
    device = model.word_embedding.weight.device
    ids = torch.tensor([token for row in rows for token in row.ids], device=device)
    places = torch.cat([row.places[:, : len(row.ids)] for row in rows], 1)
    segments = Segments(
        tuple(len(row.ids) for row in rows), tuple(row.part_a_length for row in rows)
    )
    ends = torch.tensor(segments.lengths, device=device).cumsum(0) - 1  # [R]
    return model.hidden(ids, places, segments, ends, cache)
