"""What a reader sees of an example: text with numbered blanks and what stood in them, or, token by
token, positions and attention.

Where a blank cuts a character in two, its bytes are shown one by one, as <0xF0>. A long example is
explained around its blanks: the tokens nearest to one, and to both ends of what stood in it.
Shapes: K tokens that are shown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from glmctl.core.objective.arrays import BoolArray, IntArray
from glmctl.core.objective.blank_infilling import Blank, blanks_of
from glmctl.core.objective.words import spell
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.sentencepiece import SPACE

Part: TypeAlias = list[tuple[str, bool]]
"""Stretches of text, each with whether it names a blank."""

UNDECODED = "\ufffd"
ESCAPED_BYTE = re.compile(r"[\udc80-\udcff]")
TOKENS_PER_BLANK = 10
"""Of a long example so many blanks are shown that each can have these tokens around it."""


@dataclass(frozen=True)
class TokenView:
    """One token that is fed, as it is shown."""

    index: int  # in the whole example
    num_skipped: int  # tokens before it that are not shown
    reads: str
    predicts: str  # empty: it carries no loss
    place: int
    place_in_span: int
    is_part_b: bool
    opens_part_b: bool  # the first of Part B that is shown
    is_blank: bool
    sees: tuple[bool, ...]  # of each token that is shown, [K]


@dataclass(frozen=True)
class Explanation:
    """An example to be drawn."""

    line: int
    objective: str
    num_tokens: int
    part_a: Part
    part_b: Part
    tokens: tuple[TokenView, ...]


class Reader:
    """Shows the records of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def spellings(self) -> list[bytes]:
        return spell(self.tokenizer)

    def describe(self, record: Mapping[str, Any]) -> tuple[Part, Part]:
        """Part A with numbered blanks, and Part B: what stood in which blank, in its order.

        [CLS] and the end token are left out.
        """
        ids, hidden_ids = record["input_ids"], record["target_ids"]
        blanks = blanks_in(record)
        names = self.names(ids, blanks)
        part_a: Part = []
        place = 0
        for start, stop, mask, _ in sorted(blanks):
            part_a += [(self.text_of(ids[place:mask]), False), (names[mask], True)]
            place = mask + (stop - start if record["objective"] == "mlm" else 1)
        part_a.append((self.text_of(ids[place : record["part_a_length"]]), False))
        part_b: Part = []
        for start, stop, mask, first in blanks:
            hidden = self.text_of(hidden_ids[first : first + stop - start])
            part_b += [("|", False), (names[mask], True), (hidden, False)]
        return spaced(part_a), spaced(part_b[1:])

    def names(self, ids: Sequence[int], blanks: Sequence[Blank]) -> dict[int, str]:
        """What the blanks are called, by their place in Part A: numbered from left to right."""
        masks = sorted(blank.mask for blank in blanks)
        names: dict[int, str] = {}
        for number, mask in enumerate(masks, 1):
            text = self.tokenizer.token_text(ids[mask])
            names[mask] = f"{text[:-1]} {number}{text[-1]}"
        return names

    def text_of(self, ids: Sequence[int]) -> str:
        """Text of a stretch of tokens, on one line."""
        unseen = (self.tokenizer.special.cls, self.tokenizer.special.eos)
        shown = [token_id for token_id in ids if token_id not in unseen]
        text = self.tokenizer.decode(shown)
        if UNDECODED in text:
            text = show_bytes(b"".join([self.spellings[token_id] for token_id in shown]))
        return text.replace("\n", " ").strip()

    def token(self, token_id: int) -> str:
        """One token as a label: spaces as SentencePiece writes them, nothing that is not seen."""
        special = self.tokenizer.special
        names = {special.sop: "sop", special.eop: "eop", special.eos: "eos"}
        text = names.get(token_id) or show_bytes(self.spellings[token_id]).replace(" ", SPACE)
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in text
        )

    def explain(self, record: Mapping[str, Any], limit: int) -> Explanation:
        """Name the tokens of an example, with gaps no more than a limit, and show who sees whom."""
        shown = choose_tokens(record, limit)
        sees = attention_mask(record["part_a_length"], np.array(shown)).tolist()
        ids, targets, has_loss = record["input_ids"], record["target_ids"], record["loss_mask"]
        names = self.names(ids, blanks_in(record))
        places, places_in_span = record["position_ids"]
        tokens = [
            TokenView(
                index=index,
                num_skipped=index - before - 1,
                reads=names.get(index) or self.token(ids[index]),
                predicts=self.token(targets[index]) if has_loss[index] else "",
                place=places[index],
                place_in_span=places_in_span[index],
                is_part_b=index >= record["part_a_length"],
                opens_part_b=before < record["part_a_length"] <= index,
                is_blank=index in names,
                sees=tuple(row),
            )
            for before, index, row in zip([-1, *shown[:-1]], shown, sees, strict=True)
        ]
        return Explanation(
            record["line"], record["objective"], len(ids), *self.describe(record), tuple(tokens)
        )


def show_bytes(data: bytes) -> str:
    """Text, and the bytes that are none as <0xF0>."""
    text = data.decode(errors="surrogateescape")
    return ESCAPED_BYTE.sub(lambda match: f"<0x{ord(match[0]) - 0xDC00:02X}>", text)


def spaced(part: Part) -> Part:
    """The same with a space between any two that hold something."""
    shown = [(text, is_blank) for text, is_blank in part if text]
    return [item for pair in shown for item in ((" ", False), pair)][1:]


def attention_mask(part_a_length: int, places: IntArray) -> BoolArray:
    """Whether the token of a row sees that of a column, [K, K], from their places, [K].

    Part A sees all of Part A; Part B sees Part A and its own past. The model itself builds no
    such square: Part A and Part B are two calls.
    """
    mask: BoolArray = (places < part_a_length) | (places <= places[:, None])
    return mask


def blanks_in(record: Mapping[str, Any]) -> list[Blank]:
    in_place = record["objective"] == "mlm"
    return blanks_of(record["spans"], record["part_a_length"], in_place=in_place)


def choose_tokens(record: Mapping[str, Any], limit: int) -> list[int]:
    """The tokens to show, ascending: all of a short example."""
    length = len(record["input_ids"])
    if length <= limit:
        return [*range(length)]
    anchors = [0, record["part_a_length"] - 1]
    for start, stop, mask, first in blanks_in(record)[: max(1, limit // TOKENS_PER_BLANK)]:
        anchors += [mask, first, min(first + stop - start, length - 1)]
    distance = np.abs(np.arange(length)[:, None] - np.array(anchors)).min(axis=1)
    order = np.argsort(distance, kind="stable")
    for count in range(limit, 0, -1):
        shown = np.sort(order[:count])
        if count + (np.diff(shown, prepend=-1) > 1).sum() <= limit:
            break
    found: list[int] = shown.tolist()
    return found
