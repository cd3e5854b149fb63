"""Whether two sets of texts lie nearer to one or the other of two more (WEAT, SEAT).

Caliskan et al. (2017) and May et al. (2019), computed as in their `weat.py`. A text is the mean of
the last hidden states of its tokens, as bias-bench takes it: a GLM reads it as Part A, in both
directions and without a blank; a causal model from left to right.

Shapes: N texts of the first two sets, H hidden, P ways to part them.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from glmctl.core.decode.classify import pack_texts
from glmctl.core.decode.score import Candidate, groups
from glmctl.core.model.glm import GLM

FloatArray = NDArray[np.float64]
MOST_WAYS = 100_000
"""Of more ways to part the texts so many are drawn."""
DRAWN_AT_ONCE = 1000
ROUNDING = 1e-12


@torch.inference_mode()
def means(model: GLM, texts: Sequence[Candidate]) -> FloatArray:
    """The mean hidden state of each text, [texts, H]; the model is in evaluation mode."""
    found = []
    device = model.word_embedding.weight.device
    for group in groups(texts):
        packed = pack_texts(group, is_causal=True)
        ids, places = packed.input_ids.to(device), packed.position_ids.to(device)
        hidden = model.hidden(ids, places, packed.segments)
        found += [part.double().mean(0).cpu() for part in hidden.split(packed.segments.lengths)]
    return torch.stack(found).numpy()


def associations(texts: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean cosine of each text with those of A, less that with those of B, [N, H] -> [N]."""
    units, in_a, in_b = (it / np.linalg.norm(it, axis=1, keepdims=True) for it in (texts, a, b))
    difference: FloatArray = (units @ in_a.T).mean(1) - (units @ in_b.T).mean(1)
    return difference


def effect_size(x: FloatArray, y: FloatArray) -> float:
    """Difference of the means of two sets of associations, in deviations of both together."""
    return float((x.mean() - y.mean()) / np.concatenate([x, y]).std(ddof=1))


def p_value(x: FloatArray, y: FloatArray, seed: int = 0) -> float:
    """Share of the ways to part the texts that set X apart from Y at least as far, one-sided.

    Of more than `MOST_WAYS` so many are drawn, the actual one among them.
    """
    both = np.concatenate([x, y])
    if math.comb(len(both), len(x)) <= MOST_WAYS:
        ways = np.array([*combinations(range(len(both)), len(x))])  # [P, len(x)]
        return float((both[ways].sum(1) >= x.sum() - ROUNDING).mean())
    generator = np.random.default_rng(seed)
    num_as_far = 1
    for number in range(DRAWN_AT_ONCE, MOST_WAYS + 1, DRAWN_AT_ONCE):
        drawn = np.tile(both, (DRAWN_AT_ONCE - (number == MOST_WAYS), 1))
        sums = generator.permuted(drawn, axis=1)[:, : len(x)].sum(1)
        num_as_far += int((sums >= x.sum() - ROUNDING).sum())
    return num_as_far / MOST_WAYS
