"""The ids of GLM-4 against a slow byte-level BPE and against transformers."""

import random
from base64 import b64decode, b64encode
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from transformers import PreTrainedTokenizerFast

from glmctl.core.tokenizer.library import RankVocabulary
from glmctl.core.tokenizer.load import find_tokenizer

WORDS = regex.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PARTS = [
    "the", "The", "oven", "bakery", " is", "'s", "'LL", "1234", " ", "  ", "\n", "\r\n", "\t", "!?",
    "\u9762\u5305", "\u00e9", "e\u0301", "\u017f", "\U0001f600", "\u3000", "\u200d", "_", "#", "aa",
    "<|user|>", "[MASK]", "a\u2028b",
]  # fmt: skip


def random_texts(seed: int, number: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(PARTS, k=rng.randrange(1, 15))) for _ in range(number)]


def slow_bpe(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Join the pair whose join has the lowest rank, the first such pair, until none has one."""
    if word in ranks:
        return [ranks[word]]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [
            (ranks[left + right], i)
            for i, (left, right) in enumerate(pairwise(parts))
            if left + right in ranks
        ]
        if not pairs:
            return [ranks[part] for part in parts]
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def read_ranks(file: Path) -> dict[bytes, int]:
    lines = file.read_text().splitlines()
    return {b64decode(token): int(rank) for token, rank in map(str.split, lines)}


def slow_ids(text: str, ranks: dict[bytes, int]) -> list[int]:
    return [token for word in WORDS.findall(text) for token in slow_bpe(word.encode(), ranks)]


def test_a_file_of_ranks_gives_the_ids_of_a_slow_bpe(vocabularies):
    folder = vocabularies / "glm-4"
    ours, ranks = find_tokenizer(str(folder)), read_ranks(folder / "tokenizer.model")
    for text in random_texts(1, 2000):
        assert ours.encode(text, special=False) == slow_ids(text, ranks)


@pytest.mark.parametrize("seed", range(8))
def test_any_ranks_give_the_ids_of_a_slow_bpe(tmp_path, seed):
    """Also where a token is not the join of the two that merge first, or of no two at all."""
    rng = random.Random(seed)
    tokens = {"".join(rng.choices("abc", k=rng.randrange(2, 7))).encode() for _ in range(60)}
    order = [bytes([byte]) for byte in range(256)] + rng.sample(sorted(tokens), len(tokens))
    ranks = {token: rank for rank, token in enumerate(order)}
    file = tmp_path / "tokenizer.model"
    file.write_text(
        "".join(f"{b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    )
    texts = ["".join(rng.choices("abc", k=rng.randrange(1, 20))) for _ in range(500)]
    rows = [row.tolist() for row in RankVocabulary(file).encode_batch(texts)]
    assert rows == [slow_ids(text, ranks) for text in texts]


def test_a_tokenizer_json_gives_the_ids_of_transformers(vocabularies):
    folder = vocabularies / "glm-4-hf"
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ours = find_tokenizer(str(folder))
    for text in random_texts(2, 2000):
        ids = theirs.encode(text, add_special_tokens=False)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids)
    assert ours.size == len(theirs)


def test_both_files_of_glm4_give_the_same_ids(vocabularies):
    ranks, json_file = (find_tokenizer(str(vocabularies / name)) for name in ("glm-4", "glm-4-hf"))
    for text in random_texts(3, 500):
        assert ranks.encode(text) == json_file.encode(text)
        assert ranks.pieces(text) == json_file.pieces(text)
