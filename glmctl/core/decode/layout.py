"""Where the tokens of a row stand, when only their ids are known.

Shapes: B rows, S tokens of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glmctl.core.decode.infill import blank_ids
from glmctl.core.model.sight import Segments
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.model import LayoutConfig, ModelConfig

HAS_SPANS = ("learned_2d", "rotary_2d")
"""Positions with two places for each token, in the text and in the span."""


@dataclass(frozen=True)
class Reader:
    """How a model reads rows of ids: where each token stands, and what is Part A."""

    config: ModelConfig
    layout: LayoutConfig | None
    special: Callable[[], SpecialTokens]  # of the tokenizer, which raises when there is none

    def read(
        self, input_ids: Tensor, position_ids: Tensor | None, part_a_length: Tensor | None
    ) -> tuple[Tensor, list[int]]:
        """Places [2, B, S] and lengths of Part A, derived from the ids where they are left out."""
        attention = self.config.attention
        lengths = None if part_a_length is None else part_a_length.tolist()
        if lengths and attention != "prefix" and any(lengths):
            raise InputError(
                "part_a_length",
                f"has no meaning for a model of {attention} attention; leave it out",
            )
        places = self.derive_places(input_ids) if position_ids is None else position_ids
        if places.dim() == 2:
            places = torch.stack([places, torch.zeros_like(places)], 1)
        if attention != "prefix":
            lengths = [input_ids.shape[1] * (attention == "bidirectional")] * len(input_ids)
        elif lengths is None:
            lengths = self.derive_lengths(input_ids, places[:, 1])
        return places.transpose(0, 1), lengths

    def derive_places(self, input_ids: Tensor) -> Tensor:
        """What the code of the format derives from the ids, [B, 2, S] or [B, S]."""
        has_spans = self.config.position in HAS_SPANS
        if self.layout is not None and self.layout.sop is not None:
            return places_from_start(input_ids, self.layout, has_spans=has_spans)
        if has_spans:
            return places_of_spans(input_ids, self.special())
        return torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)

    def derive_lengths(self, input_ids: Tensor, in_span: Tensor) -> list[int]:
        if self.layout is not None and self.layout.sop is not None:
            return part_a_lengths(input_ids, self.layout)
        if self.config.position not in HAS_SPANS:
            raise InputError(
                "part_a_length", "cannot be derived for a model without span positions; give it"
            )
        is_in_span = in_span > 0
        first = is_in_span.int().argmax(1)
        return torch.where(is_in_span.any(1), first, in_span.shape[1]).tolist()

    def samples(self, places: Tensor, lengths: Sequence[int], part_a: Sequence[int]) -> Segments:
        """The samples in the first tokens of each row; rows of which none counts have none."""
        kept = [(n, a) for n, a in zip(lengths, part_a, strict=True) if n]
        if self.layout is None or not self.layout.splits_at_jumps:
            return Segments(tuple(n for n, _ in kept), tuple(a for _, a in kept))
        found: list[int] = []  # a place that is not the next one of its row begins a sample
        for row, length in zip(places[0].tolist(), lengths, strict=True):
            starts = [i for i in range(length) if i == 0 or row[i] != row[i - 1] + 1]
            found += [end - start for start, end in zip(starts, [*starts[1:], length], strict=True)]
        return Segments(tuple(found), (0,) * len(found))


def places_of_spans(input_ids: Tensor, special: SpecialTokens) -> Tensor:
    """Places when the spans stand in the order of the blanks, [B, 2, S]."""
    blanks = blank_ids(special)
    rows = []
    for number, ids in enumerate(input_ids.tolist(), 1):
        starts = [place for place, token in enumerate(ids) if token == special.sop]
        length = starts[0] if starts else len(ids)
        blank_places = [place for place in range(length) if ids[place] in blanks]
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
    return torch.tensor(rows, device=input_ids.device)


def places_from_start(input_ids: Tensor, layout: LayoutConfig, has_spans: bool) -> Tensor:
    """Places as ChatGLM-6B derives them from the start token, which opens the answer, [B, 2, S].

    With `has_spans` the answer stands at the place of the blank and counts in the span; else only
    an answer to a mask stands there, one to a gmask goes on counting.
    """
    rows = []
    lengths = part_a_lengths(input_ids, layout)
    for number, (ids, length) in enumerate(zip(input_ids.tolist(), lengths, strict=True), 1):
        blank = layout.gmask if layout.gmask in ids else layout.mask
        if blank not in ids:
            raise InputError(
                "position_ids",
                f"row {number} has neither {layout.gmask} (gmask) nor {layout.mask} (mask), at "
                "whose place the answer stands; give position_ids",
            )
        num_after = len(ids) - length
        is_at_blank = has_spans or blank == layout.mask
        after = [ids.index(blank)] * num_after if is_at_blank else range(length, len(ids))
        rows.append([[*range(length), *after], [0] * length + [*range(1, num_after + 1)]])
    return torch.tensor(rows, device=input_ids.device)


def part_a_lengths(input_ids: Tensor, layout: LayoutConfig) -> list[int]:
    """What stands before the start token of each row."""
    lengths = []
    for number, ids in enumerate(input_ids.tolist(), 1):
        if layout.sop not in ids:
            raise InputError(
                "part_a_length",
                f"row {number} has no {layout.sop} (sop), where Part A ends; give part_a_length",
            )
        lengths.append(ids.index(layout.sop))
    return lengths
