"""WordPiece as BERT: basic tokenization, then the longest known piece, at most 100 characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from glmctl.core.tokenizer.base import IntArray

MAX_WORD = 100
"""Characters; a longer word is unknown."""


class WordPieceVocabulary:
    """A vocab.txt; it has [UNK], which load.py has made sure of."""

    is_lossless = False

    def __init__(self, file: Path, tokens: Sequence[str], *, lowercase: bool) -> None:
        self.files: tuple[Path, ...] = (file,)
        self.tokens = tokens
        self.size = len(tokens)
        ids = {token: token_id for token_id, token in enumerate(tokens)}
        self.library = Library(
            models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD)
        )
        self.library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self.library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def encode(self, text: str) -> list[int]:
        return self.library.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        encodings = self.library.encode_batch_fast([*texts])
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        encoding = self.library.encode(text)
        return [
            (token_id, start, stop)
            for token_id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join([self.tokens[token_id] for token_id in ids])

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts).replace(" ##", "")

    def token(self, token_id: int) -> str:
        return self.tokens[token_id]


def read_wordpiece(file: Path) -> list[str]:
    """Tokens of a vocab.txt, one a line; the line number is the id."""
    lines = file.read_bytes().decode().split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
