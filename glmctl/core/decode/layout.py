"""Where the tokens of a row stand, when only their ids are known.

Shapes: B rows, S tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glmctl.core.decode.infill import blank_ids
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.schema import LayoutConfig


def derive_layout(input_ids: Tensor, special: SpecialTokens) -> tuple[Tensor, list[int]]:
    """Places [B, 2, S] and lengths of Part A, when the spans stand in the order of the blanks.

    Raises:
        InputError: a row has another number of spans than of blanks.
    """
    blanks = blank_ids(special)
    rows, lengths = [], []
    for number, ids in enumerate(input_ids.tolist(), 1):
        length = ids.index(special.sop) if special.sop in ids else len(ids)
        blank_places = [place for place in range(length) if ids[place] in blanks]
        starts = [place for place in range(length, len(ids)) if ids[place] == special.sop]
        if starts and len(starts) != len(blank_places):
            raise InputError(
                "position_ids",
                f"row {number} has {len(blank_places)} blanks and {len(starts)} spans, so which "
                "belongs where is open; give position_ids and part_a_length",
            )
        places, in_span = [*range(length)], [0] * length
        for blank, start, stop in zip(blank_places, starts, [*starts[1:], len(ids)], strict=False):
            places += [blank] * (stop - start)
            in_span += range(1, stop - start + 1)
        rows.append([places, in_span])
        lengths.append(length)
    return torch.tensor(rows, device=input_ids.device), lengths


def derive_from_start(
    input_ids: Tensor, layout: LayoutConfig, has_spans: bool
) -> tuple[Tensor, list[int]]:
    """Places [B, 2, S] and lengths of Part A, as ChatGLM-6B derives them from the start token.

    Args:
        input_ids: rows with one start token, which opens the answer, and a blank before or after.
        layout: the ids of those.
        has_spans: the answer stands at the place of the blank and counts in the span; else only
            an answer to a mask stands there, one to a gmask goes on counting.

    Raises:
        InputError: a row has no blank.
    """
    rows, lengths = [], part_a_lengths(input_ids, layout)
    for number, (ids, length) in enumerate(zip(input_ids.tolist(), lengths, strict=True), 1):
        blank = layout.gmask if layout.gmask in ids else layout.mask
        if blank not in ids:
            raise InputError(
                "position_ids",
                f"row {number} has neither {layout.gmask} (gmask) nor {layout.mask} (mask), at "
                "whose place the answer stands; give position_ids",
            )
        num_after = len(ids) - length
        if has_spans or blank == layout.mask:
            places = [*range(length), *[ids.index(blank)] * num_after]
        else:
            places = [*range(len(ids))]
        rows.append([places, [0] * length + [*range(1, num_after + 1)]])
    return torch.tensor(rows, device=input_ids.device), lengths


def part_a_lengths(input_ids: Tensor, layout: LayoutConfig) -> list[int]:
    """What stands before the start token of each row.

    Raises:
        InputError: a row has none.
    """
    lengths = []
    for number, ids in enumerate(input_ids.tolist(), 1):
        if layout.sop not in ids:
            raise InputError(
                "part_a_length",
                f"row {number} has no {layout.sop} (sop), where Part A ends; give part_a_length",
            )
        lengths.append(ids.index(layout.sop))
    return lengths


def split_at_jumps(places: Tensor, lengths: Sequence[int]) -> list[int]:
    """Lengths of the samples in rows where a place that is not the next one begins another.

    Args:
        places: [B, S].
        lengths: tokens of each row that count, [B].
    """
    found = []
    for row, length in zip(places.tolist(), lengths, strict=True):
        starts = [i for i in range(length) if i == 0 or row[i] != row[i - 1] + 1]
        ends = [*starts[1:], length]
        found += [end - start for start, end in zip(starts, ends, strict=True)]
    return found
