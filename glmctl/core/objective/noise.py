"""What the released 10B recipe adds to the examples of short spans: [dBLOCK].

Shapes: n samples, S spans, L source tokens.
"""

from __future__ import annotations

import numpy as np

from glmctl.core.objective.draws import BoolArray, IntArray, Purpose, UInt64Array, uniform
from glmctl.core.objective.ragged import ragged, rank_in_row, starts_of
from glmctl.core.objective.spans import shuffled

CONTEXT_RANGE = 3
"""Visible tokens this close to a blank, or to the end of the text, may become [dBLOCK]."""


def noise_flags(
    spans: IntArray,
    lengths: IntArray,
    keys: UInt64Array,
    hidden_probability: float,
    context_ratio: float,
) -> BoolArray | None:
    """Which source tokens are fed as [dBLOCK], [L]; None when there is no noise at all.

    Args:
        spans: the spans of the samples that get noise, [S, 3].
        lengths: tokens of each sample, [n].
        keys: of the samples, [n].
        hidden_probability: chance of each hidden token.
        context_ratio: share of the sample that becomes noise in Part A.
    """
    if hidden_probability == 0 and context_ratio == 0:
        return None
    sample, start, stop = spans.T
    owner, rank = ragged(stop - start)
    hidden = starts_of(lengths)[sample[owner]] + start[owner] + rank
    draws = uniform(keys[sample[owner]], Purpose.HIDDEN_NOISE, start[owner] + rank)
    noise = np.zeros(lengths.sum(), bool)
    noise[hidden[draws < hidden_probability]] = True
    if context_ratio > 0:
        is_near = near_blanks(spans, lengths)
        is_near[hidden] = False
        candidates = np.flatnonzero(is_near)
        row = np.searchsorted(starts_of(lengths), candidates, side="right") - 1
        wanted = (context_ratio * lengths).astype(np.int64)
        order = shuffled(row, keys, Purpose.CONTEXT_NOISE)
        noise[candidates[order[rank_in_row(row) < wanted[row]]]] = True
    return noise


def near_blanks(spans: IntArray, lengths: IntArray) -> BoolArray:
    """Tokens near a span or near the end of a sample that has one, [L]."""
    sample, start, stop = spans.T
    first = starts_of(lengths)[sample]
    size = lengths[sample]
    is_near = np.zeros(lengths.sum(), bool)
    for distance in range(1, CONTEXT_RANGE + 1):
        is_near[first + np.maximum(start - distance, 0)] = True
        is_near[first + np.minimum(stop + distance, size) - 1] = True
        is_near[first + np.maximum(size - distance, 0)] = True
    return is_near
