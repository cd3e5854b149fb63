"""The way back: from an example to the tokens that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def restore(
    target_ids: Sequence[int], part_a_length: int, spans: Sequence[tuple[int, int]]
) -> list[int]:
    """Source tokens of one example: the targets hold all of them, also where noise was fed.

    Args:
        target_ids: of the whole example.
        part_a_length: tokens of Part A.
        spans: start and stop of each in the source, in Part B order.

    Raises:
        ValueError: the three do not belong together.
    """
    if len(target_ids) == part_a_length:  # nothing is hidden, or it is predicted in place
        return [*target_ids]
    check(len(target_ids), part_a_length, spans)
    hidden: dict[int, Sequence[int]] = {}
    place = part_a_length
    for start, stop in spans:
        hidden[start] = target_ids[place : place + stop - start]
        place += stop - start + 1  # an end token follows
    source: list[int] = []
    place = 0
    for start, _ in sorted(spans):
        visible = start - len(source)
        source += [*target_ids[place : place + visible], *hidden[start]]
        place += visible + 1  # past the mask
    return [*source, *target_ids[place:part_a_length]]


def check(length: int, part_a_length: int, spans: Sequence[tuple[int, int]]) -> None:
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
