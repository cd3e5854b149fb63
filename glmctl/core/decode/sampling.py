"""Choosing the next token of each row: the best one, or a draw.

Shapes: R rows, V vocabulary rows, C candidates of a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glmctl.recipe.schema import DecodeConfig


@dataclass(frozen=True)
class Chosen:
    """One token of each row, and its log-probability under the model itself."""

    ids: list[int]
    log_probs: list[float]


def choose(
    logits: Tensor, num_tokens: int, config: DecodeConfig, uniforms: Sequence[float]
) -> Chosen:
    """Choose the next token of each row.

    Args:
        logits: [R, V].
        num_tokens: only ids below are chosen; the rows beyond have no text, yet take part in the
            softmax, as they do in training.
        config: greedy at temperature 0, else how to draw.
        uniforms: a number from [0, 1) for each row; not read by greedy choice.
    """
    offered = logits[:, :num_tokens]
    ids = offered.argmax(1) if config.temperature == 0 else draw(offered, config, uniforms)
    log_probs = logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)
    # One transfer, so that a GPU is waited for once a step.
    as_numbers = torch.stack([ids.double(), log_probs.double()]).tolist()
    return Chosen([int(number) for number in as_numbers[0]], as_numbers[1])


def draw(logits: Tensor, config: DecodeConfig, uniforms: Sequence[float]) -> Tensor:
    """Draw a token of each row by the inverse of its distribution function, [R]."""
    scores = logits.double() / config.temperature
    if config.top_k is not None:
        scores, ids = scores.topk(min(config.top_k, scores.shape[1]))  # [R, C]
    else:
        scores, ids = scores.sort(dim=1, descending=True, stable=True)
    probabilities = scores.softmax(1)
    if config.top_p is not None:
        before = probabilities.cumsum(1) - probabilities
        probabilities = probabilities.masked_fill(before >= config.top_p, 0.0)
    reached = probabilities.cumsum(1)  # [R, C]
    points = torch.tensor(uniforms, dtype=reached.dtype, device=reached.device)
    # A point is below 1, but its product with the total may round up to it.
    points = torch.minimum(points * reached[:, -1], reached[:, -1].nextafter(points * 0.0))
    places = torch.searchsorted(reached, points[:, None], right=True)  # [R, 1]
    return ids.gather(1, places)[:, 0]
