"""Where two tokenizers cut a text differently.

Vocabularies of two kinds spell nothing alike, so what is compared is the characters that each
piece covers, without the whitespace around them, and whether it is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from glmctl.core.tokenizer.base import Piece, Tokenizer

Cut = tuple[int, int, bool]
"""Start, stop, and whether the piece is unknown."""


@dataclass
class Side:
    """What one of two tokenizers makes of a text."""

    tokenizer: str
    num_tokens: int = 0
    characters_per_token: float = 0.0
    num_unknown: int = 0


@dataclass
class DiffResult:
    """Two tokenizers over a text."""

    a: Side
    b: Side
    num_lines: int = 0
    """Empty ones are not counted."""
    num_different: int = 0


class Comparison:
    """Two tokenizers side by side; control strings in the text are ordinary text."""

    def __init__(self, tokenizers: Sequence[Tokenizer], names: tuple[str, str]) -> None:
        self.tokenizers = tokenizers
        self.result = DiffResult(Side(names[0]), Side(names[1]))
        self.num_characters = 0

    def pieces(self, text: str) -> list[list[Piece]]:
        """How each of the two cuts a text."""
        return [tokenizer.pieces(text, special=False) for tokenizer in self.tokenizers]

    def add(self, texts: Sequence[str]) -> dict[int, int]:
        """Compare lines; gives the character at which those cut differently begin to differ."""
        found = {}
        for index, text in enumerate(texts):
            if not text or text.isspace():
                continue
            self.result.num_lines += 1
            self.num_characters += len(text)
            cuts = [cuts_of(text, tokenizer) for tokenizer in self.tokenizers]
            for side, cut in zip((self.result.a, self.result.b), cuts, strict=True):
                side.num_tokens += len(cut)
                side.num_unknown += sum(is_unknown for _, _, is_unknown in cut)
                side.characters_per_token = self.num_characters / max(side.num_tokens, 1)
            for pair in zip_longest(*cuts):
                if pair[0] != pair[1]:
                    found[index] = min(cut[0] for cut in pair if cut)
                    break
        self.result.num_different += len(found)
        return found


def cuts_of(text: str, tokenizer: Tokenizer) -> list[Cut]:
    """What each piece covers without the whitespace around it; whitespace alone stays."""
    cuts = []
    for token_id, start, stop in tokenizer.vocabulary.offsets(text):
        covered = text[start:stop]
        if not covered.isspace():
            start += len(covered) - len(covered.lstrip())
            stop -= len(covered) - len(covered.rstrip())
        cuts.append((start, stop, token_id == tokenizer.special.unk))
    return cuts
