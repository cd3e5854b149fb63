"""WordPiece as BERT: basic tokenization, then the longest known piece, at most 100 characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from glmctl.core.tokenizer.bpe import LibraryVocabulary

MAX_WORD = 100
"""Characters; a longer word is unknown."""


class WordPieceVocabulary(LibraryVocabulary):
    """A vocab.txt; it has [UNK], which load.py has made sure of."""

    def __init__(self, file: Path, tokens: Sequence[str], *, lowercase: bool) -> None:
        ids = {token: token_id for token_id, token in enumerate(tokens)}
        model = models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD)
        super().__init__((file,), tokens, Library(model))
        self.library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self.library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join([self.names[token_id] for token_id in ids])

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts).replace(" ##", "")


def read_wordpiece(file: Path) -> list[str]:
    """Tokens of a vocab.txt, one a line; the line number is the id."""
    lines = file.read_bytes().decode().split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
