"""Cutting samples into shorter ones, so that a model also sees short texts (as released).

Shapes: n samples, L source tokens.
"""

from __future__ import annotations

import numpy as np

from glmctl.core.objective.draws import BoolArray, IntArray, Purpose, UInt64Array, below, bits
from glmctl.core.objective.ragged import count_up, ragged, starts_of

SHORTEST = 32
"""No piece is meant to be shorter."""


def cut_short(
    tokens: IntArray,
    lengths: IntArray,
    keys: UInt64Array,
    is_cut: BoolArray,
    sentence_ends: BoolArray,
    max_positions: int,
) -> tuple[IntArray, IntArray, UInt64Array]:
    """Replace some samples by pieces of about one random length, each with its own [CLS].

    A piece starts at a random sentence and ends with a sentence where that keeps half of it.

    ``is_cut`` [n] says which; each gives as many pieces as fit into ``max_positions``.

    Returns:
        Tokens, lengths and keys of what is now there.
    """
    limits = np.full(len(lengths), max_positions - 1 - SHORTEST)
    target = SHORTEST + below(limits, keys, Purpose.SHORT_SEQUENCE)
    sample, rank = ragged(np.where(is_cut, (max_positions - 1) // target, 1))  # one a piece
    first, size, target = starts_of(lengths)[sample], lengths[sample], target[sample]
    pieces = np.where(is_cut[sample], bits(keys[sample], Purpose.PIECE, rank), keys[sample])
    is_shorter = is_cut[sample] & (size - 1 > target)

    index = np.arange(len(tokens))
    is_end = sentence_ends[tokens]  # [L]
    is_start = np.roll(is_end, 1)
    is_start[starts_of(lengths)] = True  # the search to the left stays in the sample
    room = np.maximum(size - 1 - target, 1)
    drawn = np.where(is_shorter, first + 1 + below(room, pieces, Purpose.SHORT_SEQUENCE), first)
    start = np.maximum.accumulate(np.where(is_start, index, 0))[drawn]
    start = np.maximum(start, first + 1)
    end = np.where(is_shorter, start + target, first + size)
    sentence_end = np.maximum.accumulate(np.where(is_end, index + 1, 0))[end - 1]
    end = np.where(is_shorter & (sentence_end - start >= target // 2), sentence_end, end)

    sizes = end - start + 1  # [CLS] and the piece
    cut = tokens[count_up(sizes, start - 1)]
    cut[starts_of(sizes)] = tokens[first]
    return cut, sizes, pieces
