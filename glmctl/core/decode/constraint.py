"""Which tokens may not come next: an end that is too early, an n-gram that was there before."""

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
