"""Vocabularies that the library `tokenizers` reads: WordPiece, and byte-level BPE.

WordPiece is BERT's: basic tokenization, then the longest known piece. Byte-level BPE is that of
GPT-2 and RoBERTa, in a vocab.json, and that of GLM-4, in a file of ranks or a tokenizer.json.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from glmctl.core.tokenizer.base import ByteTokens, IntArray, Vocabulary
from glmctl.core.tokenizer.special import numbered
from glmctl.errors import InputError
from glmctl.recipe.model import Kind

MERGES = "merges.txt"
MAX_WORD = 100
"""Characters; a longer word of WordPiece is unknown."""
PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
"""Bytes that a vocabulary writes as the character of the same number."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""No token of GLM-4 reaches over the end of a match."""
RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\s*")


class LibraryVocabulary(Vocabulary):
    """Tokens by id, and the library that finds them in a text."""

    def __init__(self, files: tuple[Path, ...], names: Sequence[str], library: Library) -> None:
        self.files = files
        self.names = names
        self.size = len(names)
        self.ids: Mapping[str, int] = numbered(names)
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


class WordPieceVocabulary(LibraryVocabulary):
    """A vocab.txt."""

    def __init__(self, file: Path, *, lowercase: bool) -> None:
        names = read_wordpiece(file)
        ids = numbered(names)
        model = models.WordPiece(vocab=ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD)
        super().__init__((file,), names, Library(model))
        self.library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self.library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join([self.names[token_id] for token_id in ids])

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts).replace(" ##", "")


class ByteVocabulary(ByteTokens, LibraryVocabulary):
    """A byte-level BPE, whose tokens are spelled in printable characters."""

    def __init__(self, files: tuple[Path, ...], names: Sequence[str], library: Library) -> None:
        super().__init__(files, names, library)
        known = byte_characters()
        self.tokens = [b"".join(known.get(sign, sign.encode()) for sign in name) for name in names]


class ByteBpeVocabulary(ByteVocabulary):
    """A vocab.json with its merges.txt."""

    def __init__(self, file: Path) -> None:
        ids = read_byte_bpe(file)
        merges = file.with_name(MERGES)
        if not merges.is_file():
            raise InputError(
                str(file),
                f"its {MERGES} is missing; put {file.name} and {MERGES} into one folder "
                "(RoBERTa has the merges of GPT-2)",
            )
        try:
            model = models.BPE(vocab=ids, merges=read_merges(merges))
        except Exception as problem:  # the library raises the bare class
            raise InputError(str(merges), f"does not belong to {file} ({problem})") from problem
        super().__init__((file, merges), sorted(ids, key=ids.__getitem__), Library(model))
        self.library.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, trim_offsets=False
        )


class RankVocabulary(ByteVocabulary):
    """Lines of a token in base64 and its id, which is the rank of the merge that makes it."""

    def __init__(self, file: Path) -> None:
        tokens = read_ranks(file)
        character_of = {byte[0]: text for text, byte in byte_characters().items()}
        names = ["".join(map(character_of.__getitem__, token)) for token in tokens]
        ids = numbered(names)
        # Any two tokens merge whose join is a token, not only the two that it was learned from.
        merges = [
            (name[:cut], name[cut:])
            for name in names
            for cut in range(1, len(name))
            if name[:cut] in ids and name[cut:] in ids
        ]
        model = models.BPE(vocab=ids, merges=merges, ignore_merges=True)
        super().__init__((file,), names, Library(model))
        words = pre_tokenizers.Split(Regex(WORDS), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(False, trim_offsets=False, use_regex=False)
        self.library.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])

        self.library.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])


class JsonVocabulary(ByteVocabulary):
    """A tokenizer.json; its special tokens are ours to find in a text."""

    def __init__(self, file: Path) -> None:
        try:
            content = json.loads(file.read_bytes())
            model, splits = content["model"], content["pre_tokenizer"]
            ids = model["vocab"]
            normalizer = content["normalizer"]
            added = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
            plain = dict.fromkeys(("post_processor", "truncation", "padding"))
            library = Library.from_str(json.dumps(content | plain | {"added_tokens": []}))
        except Exception as problem:  # the library raises the bare class
            raise InputError(str(file), f"is not a tokenizer in JSON ({problem})") from problem
        if model["type"] != "BPE" or '"ByteLevel"' not in json.dumps(splits):
            raise InputError(str(file), f"is {model['type']}; expected a byte-level BPE, as GLM-4")
        if sorted(ids.values()) != [*range(len(ids))]:
            raise InputError(str(file), "does not map its tokens to the ids 0, 1, ...")
        super().__init__((file,), sorted(ids, key=ids.__getitem__), library)
        self.ids = added
        self.is_lossless = normalizer is None


def byte_characters() -> dict[str, bytes]:
    """The byte behind each character of a vocabulary's spelling.

    A byte that is not printable is written as a character from U+0100 on.
    """
    others = [byte for byte in range(256) if byte not in PRINTABLE]
    written = numbered(others, 256) | dict(zip(PRINTABLE, PRINTABLE, strict=True))
    return {chr(code): bytes([byte]) for byte, code in written.items()}


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


def read_wordpiece(file: Path) -> list[str]:
    """Tokens of a vocab.txt, one a line; the line number is the id."""
    lines = file.read_bytes().decode().split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


BYTE_LEVEL: dict[Kind, Callable[[Path], ByteVocabulary]] = {
    "byte_bpe": ByteBpeVocabulary,
    "tiktoken": RankVocabulary,
    "tokenizer_json": JsonVocabulary,
}


def is_rank_file(file: Path) -> bool:
    """Whether the first line is one of a file of ranks."""
    with file.open("rb") as stream:
        return RANK_LINE.fullmatch(stream.readline(10_000)) is not None


def read_ranks(file: Path) -> list[bytes]:
    """The tokens in the order of their ranks."""
    lines = file.read_bytes().splitlines()
    ranks: dict[int, bytes] = {}
    for number, line in enumerate(lines, 1):
        try:
            token, rank = line.split()
            ranks[int(rank)] = b64decode(token, validate=True)
        except ValueError as problem:
            what = f"is {line[:40]!r}; expected base64 and a rank"
            raise InputError(f"{file}:{number}", what) from problem
    if sorted(ranks) != [*range(len(lines))] or len({*ranks.values()}) < len(lines):
        raise InputError(str(file), "does not have the ranks 0, 1, ... once each, each of a token")
    tokens = [ranks[rank] for rank in range(len(ranks))]
    if missing := {bytes([byte]) for byte in range(256)} - {*tokens}:
        raise InputError(str(file), f"has no token for {len(missing)} of the 256 bytes")
    return tokens
