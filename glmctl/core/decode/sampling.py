"""Which tokens may not come next, and drawing one of the others.

Shapes: R rows, V vocabulary rows, C tokens that can be drawn.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from glmctl.recipe.schema import DecodeConfig


def blocked_tokens(
    ids: tuple[int, ...],
    earlier: Sequence[tuple[int, ...]],
    ends: Collection[int],
    config: DecodeConfig,
) -> set[int]:
    """Tokens that may not follow the ids of a blank so far.

    As in the released code, n-grams are those of the fills alone, never those of the text around
    them. Earlier blanks of the text count; here none reaches from one blank into the next.
    """
    blocked = set(ends) if len(ids) < config.min_new_tokens else set()
    num_before = config.no_repeat_ngram - 1
    if 0 <= num_before <= len(ids):
        last = ids[len(ids) - num_before :]
        for run in (*earlier, ids):
            blocked.update(
                run[i + num_before]
                for i in range(len(run) - num_before)
                if run[i : i + num_before] == last
            )
    return blocked


def without(logits: Tensor, blocked: Sequence[set[int]], ends: Collection[int]) -> Tensor:
    """The logits with -inf where a token is blocked, [R, V].

    Where nothing would be left, a blank may end all the same.
    """
    pairs = [
        (row, token)
        for row, tokens in enumerate(blocked)
        for token in (tokens if len(tokens) < logits.shape[1] else tokens.difference(ends))
    ]
    if not pairs:
        return logits
    rows, tokens = torch.tensor(pairs, device=logits.device).T
    return logits.index_put((rows, tokens), logits.new_tensor(float("-inf")))


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
