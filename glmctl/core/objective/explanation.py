"""An example token by token, for a reader who wants to see positions and attention.

A long example is shown around its blanks: the tokens nearest to one, and to both ends of what
stood in it. Shapes: S tokens of the example, K tokens that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from glmctl.core.objective.draws import BoolArray, IntArray
from glmctl.core.objective.readable import Part, Reader

TOKENS_PER_BLANK = 10
"""Of a long example so many blanks are shown that each can have these tokens around it."""


@dataclass(frozen=True)
class TokenView:
    """One token that is fed, as it is shown."""

    index: int
    """Place in the whole example."""
    num_skipped: int
    """Tokens before it that are not shown."""
    reads: str
    predicts: str | None
    """None: it carries no loss."""
    place: int
    """First row of the positions: place in Part A."""
    place_in_span: int
    """Second row of the positions."""
    is_part_b: bool
    is_blank: bool
    sees: tuple[bool, ...]
    """Of each token that is shown, [K]."""


@dataclass(frozen=True)
class Explanation:
    """An example to be drawn."""

    line: int
    objective: str
    num_tokens: int
    part_a: Part
    part_b: Part
    tokens: tuple[TokenView, ...]


def explain_tokens(record: Mapping[str, Any], reader: Reader, limit: int) -> Explanation:
    """Name the tokens of an example and show who sees whom.

    Args:
        record: the example.
        reader: of its tokenizer.
        limit: the most tokens, and gaps between them, that are shown.
    """
    blanks = {place: name for name, place in reader.blanks(record).values()}
    shown = choose_tokens(record, [*blanks], limit)
    sees = attention_mask(record["part_a_length"], np.array(shown))
    places, places_in_span = record["position_ids"]
    part_a, part_b = reader.describe(record)
    return Explanation(
        line=record["line"],
        objective=record["objective"],
        num_tokens=len(record["input_ids"]),
        part_a=part_a,
        part_b=part_b,
        tokens=tuple(
            TokenView(
                index=index,
                num_skipped=index - before - 1,
                reads=blanks.get(index) or reader.token(record["input_ids"][index]),
                predicts=(
                    reader.token(record["target_ids"][index])
                    if record["loss_mask"][index]
                    else None
                ),
                place=places[index],
                place_in_span=places_in_span[index],
                is_part_b=index >= record["part_a_length"],
                is_blank=index in blanks,
                sees=tuple(row),
            )
            for before, index, row in zip([-1, *shown[:-1]], shown, sees.tolist(), strict=True)
        ),
    )


def attention_mask(part_a_length: int, places: IntArray) -> BoolArray:
    """Part A sees all of Part A; Part B sees Part A and its own past.

    The model itself builds no such square: Part A and Part B are two calls.

    Args:
        part_a_length: tokens of Part A.
        places: of some tokens in their example, [K].

    Returns:
        True where the token of a row may see that of a column, [K, K].
    """
    mask: BoolArray = (places < part_a_length) | (places <= places[:, None])
    return mask


def choose_tokens(record: Mapping[str, Any], masks: list[int], limit: int) -> list[int]:
    """The tokens to show, ascending: all of a short example."""
    length, part_a_length = len(record["input_ids"]), record["part_a_length"]
    if length <= limit:
        return [*range(length)]
    spans = record["spans"]
    mask_of = dict(zip(sorted(start for start, _ in spans), masks, strict=True))
    anchors = [0, part_a_length - 1]
    start_of_part_b = part_a_length
    for start, stop in spans[: max(1, limit // TOKENS_PER_BLANK)]:
        anchors.append(mask_of[start])
        if part_a_length < length:
            anchors += [start_of_part_b, min(start_of_part_b + stop - start, length - 1)]
            start_of_part_b += stop - start + 1
    near = np.abs(np.arange(length)[:, None] - np.array(anchors)).min(axis=1)
    order = np.argsort(near, kind="stable")
    for count in range(limit, 0, -1):
        shown = np.sort(order[:count])
        if count + (np.diff(shown, prepend=-1) > 1).sum() <= limit:
            break
    found: list[int] = shown.tolist()
    return found
