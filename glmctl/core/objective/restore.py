"""The way back: from an example to the blanks of its text, and to the tokens it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

Span = tuple[int, int]


class Blank(NamedTuple):
    """Where an example has a span, and its place in the source."""

    start: int
    stop: int
    mask: int
    """Its place in Part A."""
    first: int
    """Place of its first target; its tokens are targets one after another."""


def blanks_of(spans: Sequence[Span], part_a_length: int, *, in_place: bool) -> list[Blank]:
    """The blanks of an example, in Part B order.

    Args:
        spans: start and stop of each in the source, in Part B order.
        part_a_length: tokens of Part A.
        in_place: the objective is mlm, which has no Part B.
    """
    if in_place:
        return [Blank(start, stop, start, start) for start, stop in spans]
    masks: dict[int, int] = {}
    removed = 0
    for start, stop in sorted(spans):
        masks[start] = start - removed
        removed += stop - start - 1
    sizes = (stop - start + 1 for start, stop in spans)  # an end token follows
    firsts = accumulate(sizes, initial=part_a_length)
    return [Blank(*span, masks[span[0]], first) for span, first in zip(spans, firsts, strict=False)]


def restore(target_ids: Sequence[int], part_a_length: int, spans: Sequence[Span]) -> list[int]:
    """Source tokens of one example: the targets hold all of them, also where noise was fed.

    Raises:
        ValueError: the three do not belong together.
    """
    if len(target_ids) == part_a_length:  # nothing is hidden, or it is predicted in place
        return [*target_ids]
    check(len(target_ids), part_a_length, spans)
    source: list[int] = []
    place = 0
    for start, stop, mask, first in sorted(blanks_of(spans, part_a_length, in_place=False)):
        source += [*target_ids[place:mask], *target_ids[first : first + stop - start]]
        place = mask + 1
    return [*source, *target_ids[place:part_a_length]]


def check(length: int, part_a_length: int, spans: Sequence[Span]) -> None:
    """See that an example of this layout can exist; ValueError says why not."""
    part_b_length = sum(stop - start + 1 for start, stop in spans)
    if length - part_a_length not in (part_b_length, part_b_length - 1):
        raise ValueError(
            f"{length} tokens are not Part A ({part_a_length}) and the spans ({part_b_length})"
        )
    source_length = part_a_length + part_b_length - 2 * len(spans)
    edges = [0, *(edge for span in sorted(spans) for edge in span), source_length]
    if any(before > after for before, after in pairwise(edges)):
        raise ValueError(f"the spans overlap or leave the text of {source_length} tokens")
