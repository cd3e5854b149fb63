"""Where words begin, for spans that hold whole ones (``objective.whole_words``).

WordPiece marks the pieces that continue a word. Elsewhere a word is a run of letters, digits and
their marks with the space before it, whatever its pieces are. Scripts that put no space between
words need no segmenter: there, and for every other sign, a word is one piece, or the pieces of one
character.
Shapes: n samples, L source tokens.
"""

import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from functools import cache

import numpy as np

from glmctl.core.objective.arrays import BoolArray, IntArray, UInt8Array
from glmctl.core.objective.ragged import count_up, starts_of
from glmctl.core.tokenizer.base import Tokenizer

NUM_CODES = 0x110000
LAST_LETTER = 0x33FFF
"""Unicode has none beyond it; not to look there makes the table in a sixth of the time."""


class Kind(IntEnum):
    """What a character does to the words around it; the order is that of :func:`continues`."""

    SIGN = 0  # a word of its own
    LETTER = 1  # continues letters and marks
    MARK = 2  # continues anything
    BLANK = 3  # begins a word that anything but another one continues


UNSPACED = (  # letters of scripts without spaces: Thai to Tibetan, Burmese, Khmer, kana, Han
    (0x0E00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3031, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1B000, 0x1B16F),
    (0x20000, LAST_LETTER),
)
ESCAPED_BYTES = slice(0xDC80, 0xDD00)  # Python's stand-ins for bytes that are no character


@cache
def kinds() -> UInt8Array:
    """The kind of every character, by code."""
    by_category = {"L": Kind.LETTER, "N": Kind.LETTER, "M": Kind.MARK}
    found = np.full(NUM_CODES, Kind.SIGN, np.uint8)
    categories = (unicodedata.category(chr(code))[0] for code in range(LAST_LETTER + 1))
    found[: LAST_LETTER + 1] = [by_category.get(category, Kind.SIGN) for category in categories]
    for first, last in UNSPACED:
        block = found[first : last + 1]
        block[block == Kind.LETTER] = Kind.SIGN
    found[ord(" ")], found[ESCAPED_BYTES] = Kind.BLANK, Kind.MARK
    return found


def continues(kind: UInt8Array, before: UInt8Array) -> BoolArray:
    """Whether a character belongs to the word of the one before it."""
    joined: BoolArray = (
        (kind == Kind.MARK)
        | ((kind == Kind.LETTER) & (before >= Kind.LETTER))
        | ((kind != Kind.BLANK) & (before == Kind.BLANK))
    )
    return joined


class Words:
    """Finds the words in rows of tokens.

    Args:
        spellings: what each token adds to a text, in UTF-8; a token may hold part of a character.
    """

    def __init__(self, spellings: Sequence[bytes]) -> None:
        self.sizes = np.array([len(spelling) for spelling in spellings])
        self.first = starts_of(self.sizes)
        self.bytes = np.frombuffer(b"".join(spellings), np.uint8)

    def find(self, tokens: IntArray, lengths: IntArray) -> tuple[IntArray, IntArray]:
        """Find the words of samples, W in all; the first token of a sample begins one.

        Args:
            tokens: the samples, one after another, [L].
            lengths: tokens of each sample, none of them 0, [n].

        Returns:
            Where each word begins, and the end of all, [W + 1]; words of each sample, [n].
        """
        sizes = self.sizes[tokens]
        data = self.bytes[count_up(sizes, self.first[tokens])]
        text = data.tobytes().decode(errors="surrogateescape")
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        kind = kinds()[codes]
        is_joined = continues(kind, np.roll(kind, 1))
        widths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        widths[(codes >= 0xD800) & (codes < 0xE000)] = 1  # an escaped byte
        begins_word = np.zeros(len(data) + 1, bool)
        begins_word[starts_of(widths)[~is_joined]] = True
        is_start = begins_word[starts_of(sizes)]
        is_start[starts_of(lengths)] = True
        edges = np.append(np.flatnonzero(is_start), len(tokens))
        return edges, np.add.reduceat(is_start, starts_of(lengths), dtype=np.int64)


def find_words(tokenizer: Tokenizer) -> Words:
    """The words of a tokenizer's rows."""
    spellings = spell(tokenizer)
    if tokenizer.config.kind == "sentencepiece":
        spellings[tokenizer.special.unk] = b"x"  # it may be a letter
    if tokenizer.config.kind == "wordpiece":
        special = {*tokenizer.special.strings.values()}
        spellings = [
            b"x" if spelling.startswith(b"##") and token_id not in special else b" x"
            for token_id, spelling in enumerate(spellings)
        ]
    return Words(spellings)


def spell(tokenizer: Tokenizer) -> list[bytes]:
    """What each token stands for, special tokens as their strings; WordPiece as it is written."""
    vocabulary = tokenizer.vocabulary
    spellings = [vocabulary.spelling(token_id) for token_id in range(vocabulary.size)]
    spellings += [b""] * (tokenizer.size - len(spellings))
    for text, token_id in tokenizer.special.strings.items():
        spellings[token_id] = text.encode()
    return spellings
