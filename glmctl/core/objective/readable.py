"""What a reader sees of an example: text with numbered blanks, and what stood in them.

Where a blank cuts a character in two, its bytes are shown one by one, as <0xF0>.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from glmctl.core.objective.words import spell
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.sentencepiece import SPACE

Part: TypeAlias = list[tuple[str, bool]]
"""Stretches of text, each with whether it names a blank."""

UNDECODED = "\ufffd"
ESCAPED_BYTE = re.compile(r"[\udc80-\udcff]")


class Blank(NamedTuple):
    """A blank of Part A."""

    name: str
    place: int


class Reader:
    """Shows the records of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def spellings(self) -> list[bytes]:
        return spell(self.tokenizer)

    @cached_property
    def short_names(self) -> dict[int, str]:
        special = self.tokenizer.special
        return {special.sop: "sop", special.eop: "eop", special.eos: "eos"}

    def describe(self, record: Mapping[str, Any]) -> tuple[Part, Part]:
        """Part A with numbered blanks, and Part B: what stood in which blank, in its order.

        [CLS] and the end token are left out.
        """
        ids, hidden_ids = record["input_ids"], record["target_ids"]
        in_place = record["objective"] == "mlm"
        blanks = self.blanks(record)
        part_a: Part = []
        place = 0
        for start, stop in sorted(record["spans"]):
            name, mask = blanks[start]
            part_a += [(self.text_of(ids[place:mask]), False), (name, True)]
            place = mask + (stop - start if in_place else 1)
        part_a.append((self.text_of(ids[place : record["part_a_length"]]), False))

        part_b: Part = []
        place = record["part_a_length"]
        for start, stop in record["spans"]:
            first = start if in_place else place
            hidden = self.text_of(hidden_ids[first : first + stop - start])
            part_b += [("|", False), (blanks[start].name, True), (hidden, False)]
            place += stop - start + 1
        return spaced(part_a), spaced(part_b[1:])

    def blanks(self, record: Mapping[str, Any]) -> dict[int, Blank]:
        """The blanks of an example, by where their spans start in the source."""
        blanks: dict[int, Blank] = {}
        hidden = 0  # tokens before this blank that Part A has not
        for number, (start, stop) in enumerate(sorted(record["spans"]), 1):
            mask = start - hidden
            name = self.tokenizer.token_text(record["input_ids"][mask])
            blanks[start] = Blank(f"{name[:-1]} {number}{name[-1]}", mask)
            hidden += 0 if record["objective"] == "mlm" else stop - start - 1
        return blanks

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
        if token_id in self.short_names:
            return self.short_names[token_id]
        text = show_bytes(self.spellings[token_id]).replace(" ", SPACE)
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode()
            for character in text
        )


def show_bytes(data: bytes) -> str:
    """Text, and the bytes that are none as <0xF0>."""
    text = data.decode(errors="surrogateescape")
    return ESCAPED_BYTE.sub(lambda match: f"<0x{ord(match[0]) - 0xDC00:02X}>", text)


def spaced(part: Part) -> Part:
    """The same with a space between any two that hold something."""
    shown = [(text, is_blank) for text, is_blank in part if text]
    return [item for pair in shown for item in ((" ", False), pair)][1:]
