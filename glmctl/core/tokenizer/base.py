"""Text to ids and back: one tokenizer over any vocabulary and any layout of special tokens.

The text is cut at the strings of the special tokens first; what lies between goes to the
vocabulary. A blank swallows the whitespace to its left, as in the released tokenizers; in the
layout ``glmctl`` it swallows one space only, the one that the hidden word brings back. ChatGLM-6B
swallows it on both sides, its successors and GLM-4 nowhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from glmctl.core.tokenizer.special import FAMILY, MASKS, SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.model import TokenizerConfig

IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

SENTENCE_ENDS = re.compile("[.?!;:\n\u3002\uff1f\uff01\uff1b\u2026]")
"""Marks that end a sentence, English and Chinese."""


@dataclass(frozen=True)
class Piece:
    """One token and the characters of the text that it covers."""

    id: int
    text: str
    start: int
    stop: int


class Vocabulary(Protocol):
    """What the libraries do: tokens without any special meaning."""

    files: tuple[Path, ...]
    """What defines the vocabulary; the first one is what a tokenizer section names."""
    size: int
    ids: Mapping[str, int]
    """Of tokens that a layout may find special, by what they are called."""
    unk: int | None = None
    is_lossless: bool = False
    """Whether decoding gives back every text, to the byte."""

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]: ...

    def offsets(self, text: str) -> list[tuple[int, int, int]]:
        """Id, start and stop of every token of the text, in characters."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def join(self, parts: Sequence[str]) -> str:
        """Put decoded runs and the texts of special tokens together."""
        return "".join(parts)

    def token(self, token_id: int) -> str:
        """The token as the vocabulary spells it."""
        ...

    def spelling(self, token_id: int) -> bytes:
        """What it adds to a text, in UTF-8; it may be part of a character."""
        return self.token(token_id).encode()


class ByteTokens:
    """The part of a vocabulary whose tokens are bytes of the text, no more and no less."""

    tokens: list[bytes]
    is_lossless = True

    def spelling(self, token_id: int) -> bytes:
        return self.tokens[token_id]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join([self.tokens[token_id] for token_id in ids]).decode(errors="replace")


@dataclass(eq=False)
class Tokenizer:
    """A vocabulary with the special tokens of a GLM; ids run from 0 to size - 1."""

    vocabulary: Vocabulary
    special: SpecialTokens
    size: int
    config: TokenizerConfig

    def __post_init__(self) -> None:
        self._texts = {token_id: text for text, token_id in self.special.strings.items()}
        self._is_ours = self.config.special == "glmctl"
        self._is_family = self.config.special in FAMILY
        self.is_lossless = self.vocabulary.is_lossless and (self._is_ours or self._is_family)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text; of nothing but whitespace comes no token, but in layout ``glmctl``.

        Without ``special``, "[MASK]" and its like in the text are ordinary characters.
        """
        ids: list[int] = self.encode_batch([text], special=special)[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str], *, special: bool = True) -> list[IntArray]:
        """Ids of many texts; as :meth:`encode`, but fast."""
        if not special and (self._is_ours or self._is_family):
            return self.vocabulary.encode_batch(texts)
        split = [[*self._split(text, special=special)] for text in texts]
        plain = [part for parts in split for part, _, token_id in parts if token_id is None]
        rows = iter(self.vocabulary.encode_batch(plain))
        found = []
        for parts in split:
            own = [next(rows) if token_id is None else [token_id] for _, _, token_id in parts]
            row = own[0] if len(own) == 1 else np.concatenate(own or [[]])
            found.append(np.asarray(row, np.int32))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens are shown as their strings."""
        for token_id in ids:
            self._check(token_id)
        parts = []
        for is_special, run in groupby(ids, key=self._is_special):
            if is_special:
                parts += [self._texts.get(token_id, "") for token_id in run]
            else:
                parts.append(self.vocabulary.decode([*run]))
        return self.vocabulary.join(parts)

    def pieces(self, text: str, *, special: bool = True) -> list[Piece]:
        """Tokens of a text with the characters that each one covers.

        Tokens that share a character all cover the whole of it.
        """
        pieces = []
        for part, start, token_id in self._split(text, special=special):
            if token_id is not None:
                pieces.append(Piece(token_id, part, start, start + len(part)))
                continue
            for piece_id, first, last in self.vocabulary.offsets(part):
                token = self.vocabulary.token(piece_id)
                pieces.append(Piece(piece_id, token, start + first, start + last))
        return pieces

    def token_text(self, token_id: int) -> str:
        """A token as the vocabulary spells it, or the string of a special token."""
        self._check(token_id)
        if self._is_special(token_id):
            return self._texts.get(token_id, "")
        return self.vocabulary.token(token_id)

    def sentence_ends(self) -> BoolArray:
        """Which tokens hold a mark that ends a sentence, [size]."""
        ends = np.zeros(self.size, np.bool_)  # [size]
        for token_id in range(self.vocabulary.size):
            if token_id not in self._texts:
                text = self.vocabulary.decode([token_id])
                ends[token_id] = SENTENCE_ENDS.search(text) is not None
        return ends

    @cached_property
    def fingerprint(self) -> str:
        """Equal for tokenizers that give the same ids; of the vocabulary and the layout."""
        config = self.config
        layout = f"{config.kind} {config.special} {config.noise_token} {config.num_sentinels}"
        if config.kind == "wordpiece":
            layout += f" {config.lowercase}"
        if config.num_image_tokens:
            layout += f" {config.num_image_tokens}"
        digest = xxhash.xxh3_128(layout.encode())
        for file in self.vocabulary.files:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> TokenizerConfig:
        """Copy the vocabulary into a model folder; gives the tokenizer section for it."""
        for file in self.vocabulary.files:
            (folder / file.name).write_bytes(file.read_bytes())
        return self.config.model_copy(update={"path": self.vocabulary.files[0].name})

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # ChatGLM2 and 3 call two tokens sop and eop, which are parts of words in a text.
        texts = [text for text in self.special.strings if not text.isalpha()]
        longest_first = sorted(texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def _is_special(self, token_id: int) -> bool:
        return token_id in self._texts or token_id >= self.vocabulary.size

    def _check(self, token_id: int) -> None:
        if not 0 <= token_id < self.size:
            raise InputError(
                f"id {token_id}", f"not in the vocabulary, whose ids are 0 to {self.size - 1}"
            )

    def _split(self, text: str, *, special: bool) -> Iterator[tuple[str, int, int | None]]:
        """Parts of a text: the part, its place, and its id when it is a special token."""
        if not (self._is_ours or self._is_family) and (not text or text.isspace()):
            return
        is_stripped = not self._is_family or self.config.special == "chatglm"
        cursor = 0
        for match in self._pattern.finditer(text) if special else ():
            part = text[cursor : match.start()]
            if match[0] in MASKS and is_stripped:
                part = part.removesuffix(" ") if self._is_ours else part.rstrip()
            if part:
                yield part, cursor, None
            yield match[0], match.start(), self.special.strings[match[0]]
            cursor = match.end()
            if match[0] in MASKS and self.config.special == "chatglm":
                cursor = len(text) - len(text[cursor:].lstrip())
        if cursor < len(text):
            yield text[cursor:], cursor, None
