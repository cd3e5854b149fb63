"""The SentencePiece model of icetk, as ChatGLM-6B has it.

Whitespace has tokens of its own. The ids of the text start behind those of images, of which later
releases have none. The model of the first release lacks the special tokens, the whitespace and the
bytes; its code added them, and so does this.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece

from glmctl.core.tokenizer.base import IntArray
from glmctl.core.tokenizer.sentencepiece import SentencePieceVocabulary, open_model

TOKENS = ("[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>")
"""Special tokens, in the order of their ids."""
MAX_SPACES = 80
WHITESPACE = re.compile(f"\n|\t| {{2,{MAX_SPACES}}}")
SPELLED = re.compile(r"<n>|<\|tab\|>|<\|blank_(\d+)\|>")
# Types of pieces in a model, and its settings with byte_fallback and nothing else.
CONTROL, USER_DEFINED, BYTE = 3, 4, 6
BYTE_FALLBACK = b"\x12\x03\x98\x02\x01"


class IceVocabulary(SentencePieceVocabulary):
    """Text to ids from `first_id` on."""

    named = ("</s>", "<pad>", *TOKENS)

    def __init__(
        self, file: Path, processor: sentencepiece.SentencePieceProcessor, first_id: int
    ) -> None:
        super().__init__(file, processor)
        self.first_id = first_id
        self.size += first_id
        self.unk += first_id
        self.ids = {text: piece + first_id for text, piece in self.ids.items()}

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        rows = super().encode_batch([WHITESPACE.sub(spell, text) for text in texts])
        return [row + self.first_id for row in rows]

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        spans: list[tuple[int, int]] = []  # of each character of the spelled text, and of its end
        for match in re.finditer(f"{WHITESPACE.pattern}|.", text, re.DOTALL):
            spans += [match.span()] * len(WHITESPACE.sub(spell, match[0]))
        spans.append((len(text), len(text)))
        found = []
        for token_id, first, last in super().offsets(WHITESPACE.sub(spell, text)):
            start = spans[first][0]
            stop = spans[last - 1][1] if first < last else start
            found.append((token_id + self.first_id, start, stop))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [token_id - self.first_id for token_id in ids if token_id >= self.first_id]
        return SPELLED.sub(unspell, super().decode(pieces))

    def token(self, token_id: int) -> str:
        if token_id < self.first_id:
            return f"<image_{token_id}>"
        return super().token(token_id - self.first_id)


def spell(match: re.Match[str]) -> str:
    """The token of a line break, of a tab or of several spaces."""
    return {"\n": "<n>", "\t": "<|tab|>"}.get(match[0], f"<|blank_{len(match[0])}|>")


def unspell(match: re.Match[str]) -> str:
    """What such a token stands for."""
    if match[1] is None:
        return {"<n>": "\n", "<|tab|>": "\t"}[match[0]]
    return " " * int(match[1]) if 2 <= int(match[1]) <= MAX_SPACES else match[0]


def load_ice(file: Path, first_id: int) -> IceVocabulary:
    """Open the model, completed where it is that of the first release."""
    proto = file.read_bytes()
    processor = open_model(file, proto)
    if processor.piece_to_id(TOKENS[0]) == processor.unk_id():
        processor = open_model(file, proto + b"".join(missing_pieces()) + BYTE_FALLBACK)
    return IceVocabulary(file, processor, first_id)


def missing_pieces() -> Iterator[bytes]:
    """What the code of the first release added, as a model holds it."""
    yield from (piece(text, CONTROL) for text in TOKENS)
    spaces = (f"<|blank_{number}|>" for number in range(2, MAX_SPACES + 1))
    yield from (piece(text, USER_DEFINED) for text in ("<|tab|>", *spaces))
    yield from (piece(f"<0x{byte:02X}>", BYTE) for byte in range(256))


def piece(text: str, kind: int) -> bytes:
    """A piece of score 0; fields 1 to 3 are its text, score and type."""
    content = bytes([0x0A, len(text)]) + text.encode() + bytes([0x15, 0, 0, 0, 0, 0x18, kind])
    return bytes([0x0A, len(content)]) + content
