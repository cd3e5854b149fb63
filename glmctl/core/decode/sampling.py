"""Drawing the next token of each row.

Shapes: R rows, V vocabulary rows, C tokens that can be drawn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from glmctl.recipe.schema import DecodeConfig


def draw(
    logits: Tensor, offered: Tensor, config: DecodeConfig, uniforms: Sequence[float]
) -> list[tuple[int, float]]:
    """Draw a token of each row by the inverse of its distribution function.

    Args:
        logits: [R, V].
        offered: those of tokens that may be drawn, -inf where one is blocked; the others take part
            in the softmax of the log-probability, as they do in training.
        config: temperature, top-k and top-p.
        uniforms: a number from [0, 1) for each row.

    Returns:
        Of each row the token, and its log-probability under the model itself.
    """
    scores = offered.double() / config.temperature
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
    drawn = ids.gather(1, places)
    log_probs = logits.log_softmax(1).gather(1, drawn)[:, 0]
    # One transfer, so that a GPU is waited for once a step.
    both = torch.stack([drawn[:, 0].double(), log_probs.double()], 1).tolist()
    return [(int(token), log_prob) for token, log_prob in both]
