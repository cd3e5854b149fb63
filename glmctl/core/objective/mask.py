"""The attention of an example as one square, to look at and to compare with; never to train with.

The model itself builds no such square: Part A and Part B are two calls. Shapes: B rows, S sequence.
"""

from __future__ import annotations

import numpy as np

from glmctl.core.objective.draws import BoolArray, IntArray


def blank_infilling_mask(part_a_length: IntArray, seq_length: int) -> BoolArray:
    """Part A sees all of Part A; Part B sees Part A and its own past.

    Args:
        part_a_length: tokens of Part A in each row, [B].
        seq_length: S, Part A and Part B together.

    Returns:
        True where the query (second to last axis) may see the key (last), [B, S, S].
    """
    index = np.arange(seq_length)  # [S]
    earlier = index[:, None] >= index  # [S, S]
    in_part_a = index < part_a_length[:, None]  # [B, S]
    mask: BoolArray = earlier | in_part_a[:, None, :]  # [B, S, S]
    return mask
