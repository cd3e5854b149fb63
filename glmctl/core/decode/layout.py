"""Where the tokens of a row stand, when only their ids are known.

Shapes: B rows, S tokens of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glmctl.core.decode.infill import blank_ids
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError


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
