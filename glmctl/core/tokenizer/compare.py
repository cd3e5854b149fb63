"""Where two tokenizers cut a text differently.

Vocabularies of two kinds spell nothing alike, so what is compared is the characters that each
piece covers, without the whitespace around them, and whether it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from glmctl.core.tokenizer.base import Piece, Tokenizer

Cut = tuple[int, int, bool]
"""Start, stop, and whether the piece is unknown."""


@dataclass(frozen=True)
class Disagreement:
    """A line that two tokenizers cut differently."""

    at: int
    """Character where the first difference starts."""
    sides: tuple[list[Piece], list[Piece]]


class Comparison:
    """Two tokenizers side by side; control strings in the text are ordinary text."""

    def __init__(self, first: Tokenizer, second: Tokenizer) -> None:
        self.tokenizers = (first, second)
        self.num_lines = 0
        self.num_different = 0
        self.num_characters = 0
        self.num_tokens = [0, 0]
        self.num_unknown = [0, 0]

    def add(self, texts: Sequence[str]) -> list[int]:
        """Compare lines; empty ones do not count.

        Returns:
            The indexes of those that are cut differently.
        """
        found = []
        rows = [tokenizer.encode_batch(texts, special=False) for tokenizer in self.tokenizers]
        for index, (text, first, second) in enumerate(zip(texts, *rows, strict=True)):
            if not text or text.isspace():
                continue
            self.num_lines += 1
            self.num_characters += len(text)
            for side, row in enumerate((first, second)):
                self.num_tokens[side] += len(row)
                self.num_unknown[side] += int((row == self.tokenizers[side].special.unk).sum())
            if len(first) != len(second) or self._first_difference(text) is not None:
                found.append(index)
        self.num_different += len(found)
        return found

    def disagreement(self, text: str) -> Disagreement:
        """How the tokenizers cut a line that they cut differently."""
        at = self._first_difference(text)
        assert at is not None
        first, second = [t.pieces(text, special=False) for t in self.tokenizers]
        return Disagreement(at, (first, second))

    def _first_difference(self, text: str) -> int | None:
        cuts = [
            [
                cut_of(text, start, stop, is_unknown=token_id == tokenizer.special.unk)
                for token_id, start, stop in tokenizer.vocabulary.offsets(text)
            ]
            for tokenizer in self.tokenizers
        ]
        for pair in zip_longest(*cuts):
            if pair[0] != pair[1]:
                return min(cut[0] for cut in pair if cut)
        return None


def cut_of(text: str, start: int, stop: int, *, is_unknown: bool) -> Cut:
    """What a piece covers without the whitespace around it; whitespace alone stays."""
    covered = text[start:stop]
    if covered and not covered.isspace():
        start += len(covered) - len(covered.lstrip())
        stop -= len(covered) - len(covered.rstrip())
    return start, stop, is_unknown
