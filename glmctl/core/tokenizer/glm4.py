"""The byte-level BPE of GLM-4: a file of ranks, or the tokenizer.json of transformers."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from glmctl.core.tokenizer.bpe import ByteVocabulary, byte_characters
from glmctl.errors import InputError

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""No token reaches over the end of a match."""
RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\s*")


class RankVocabulary(ByteVocabulary):
    """Lines of a token in base64 and its id, which is the rank of the merge that makes it."""

    def __init__(self, file: Path) -> None:
        tokens = read_ranks(file)
        character_of = {byte[0]: text for text, byte in byte_characters().items()}
        names = ["".join(map(character_of.__getitem__, token)) for token in tokens]
        ids = {name: token_id for token_id, name in enumerate(names)}
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


class JsonVocabulary(ByteVocabulary):
    """A tokenizer.json; its special tokens are ours to find in a text."""

    def __init__(self, file: Path) -> None:
        try:
            content = json.loads(file.read_bytes())
            model, splits = content["model"], content["pre_tokenizer"]
            ids = model["vocab"]
            normalizer = content["normalizer"]
            self.added = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
            plain = dict.fromkeys(("post_processor", "truncation", "padding"))
            library = Library.from_str(json.dumps(content | plain | {"added_tokens": []}))
        except Exception as problem:  # the library raises the bare class
            raise InputError(str(file), f"is not a tokenizer in JSON ({problem})") from problem
        if model["type"] != "BPE" or '"ByteLevel"' not in json.dumps(splits):
            raise InputError(str(file), f"is {model['type']}; expected a byte-level BPE, as GLM-4")
        if sorted(ids.values()) != [*range(len(ids))]:
            raise InputError(str(file), "does not map its tokens to the ids 0, 1, ...")
        super().__init__((file,), sorted(ids, key=ids.__getitem__), library)
        self.is_lossless = normalizer is None


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
