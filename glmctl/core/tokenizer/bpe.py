"""Byte-level BPE as GPT-2 and RoBERTa, and what it shares with WordPiece: the library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from glmctl.core.tokenizer.base import ByteTokens, IntArray, Vocabulary
from glmctl.errors import InputError

PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
"""Bytes that a vocabulary writes as the character of the same number."""


class LibraryVocabulary(Vocabulary):
    """A vocabulary that the library `tokenizers` reads."""

    def __init__(self, files: tuple[Path, ...], names: Sequence[str], library: Library) -> None:
        self.files = files
        self.names = names
        self.size = len(names)
        self.library = library

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        encodings = self.library.encode_batch_fast([*texts])
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        encoding = self.library.encode(text)
        places = zip(encoding.ids, encoding.offsets, strict=True)
        return [(token_id, start, stop) for token_id, (start, stop) in places]

    def token(self, token_id: int) -> str:
        return self.names[token_id]


class ByteVocabulary(ByteTokens, LibraryVocabulary):
    """A byte-level BPE, whose tokens are spelled in printable characters."""

    def __init__(self, files: tuple[Path, ...], names: Sequence[str], library: Library) -> None:
        super().__init__(files, names, library)
        known = byte_characters()
        self.tokens = [b"".join(known.get(sign, sign.encode()) for sign in name) for name in names]


class ByteBpeVocabulary(ByteVocabulary):
    """A vocab.json with its merges.txt."""

    def __init__(self, file: Path, ids: Mapping[str, int], merges: Path) -> None:
        try:
            model = models.BPE(vocab=dict(ids), merges=read_merges(merges))
        except Exception as problem:  # the library raises the bare class
            raise InputError(str(merges), f"does not belong to {file} ({problem})") from problem
        super().__init__((file, merges), sorted(ids, key=ids.__getitem__), Library(model))
        self.library.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, trim_offsets=False
        )


def byte_characters() -> dict[str, bytes]:
    """The byte behind each character of a vocabulary's spelling.

    A byte that is not printable is written as a character from U+0100 on.
    """
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    written = [*zip(PRINTABLE, PRINTABLE, strict=True), *zip(range(256, 512), others, strict=False)]
    return {chr(code): bytes([byte]) for code, byte in written}


def read_byte_bpe(file: Path) -> dict[str, int]:
    """Tokens and ids of a vocab.json."""
    try:
        ids = json.loads(file.read_bytes())
    except ValueError as problem:
        raise InputError(str(file), f"not a vocabulary in JSON ({problem})") from problem
    if not isinstance(ids, dict) or sorted(ids.values()) != [*range(len(ids))]:
        raise InputError(str(file), "not a vocabulary: it does not map tokens to the ids 0, 1, ...")
    return ids


def read_merges(file: Path) -> list[tuple[str, str]]:
    """The merge rules of a merges.txt, first rule first."""
    rules = []
    for line in file.read_bytes().decode().split("\n"):
        left, _, right = line.rstrip("\r").partition(" ")
        if right and not line.startswith("#version"):
            rules.append((left, right))
    return rules
