"""What is wrong with a tokenizer: its special tokens, its ids and its pieces.

A finding that spoils training names a fault that no amount of training repairs: two tokens that
the model cannot tell apart, an id without a row, text that never reaches the model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.special import EOP, EOS, SOP

TOLERATED_SHARE = 0.01
"""Of the pieces of a vocabulary, or of the tokens of a text, that may be unusable."""
SHOWN = 5
ROLES = {
    "[MASK]": "the token blank",
    "[sMASK]": "the sentence blank",
    "[gMASK]": "the document blank",
    SOP: "the start of a fill",
    EOP: "the end of a fill",
}
"""Tokens by which the objective asks and the model answers."""
NEEDED = ("[CLS]", "[MASK]", SOP, EOP)
"""Every training example has them."""
BYTES = (
    *range(0x800),  # every byte that ends a character, and the first bytes up to 0xdf
    *(0x800, *range(0x1000, 0x10000, 0x1000), 0x10000, *range(0x40000, 0x110000, 0x40000)),
)
"""Characters whose UTF-8 holds every byte that text can have."""


@dataclass(frozen=True)
class Finding:
    """Something that a user should know before training."""

    kind: str
    what: str
    where: str
    remedy: str
    spoils_training: bool


@dataclass(frozen=True)
class SpecialToken:
    """A special token as it is spelled in text."""

    token: str
    id: int
    is_appended: bool
    """Whether the layout adds it to the vocabulary."""


def special_tokens(tokenizer: Tokenizer) -> list[SpecialToken]:
    """The special tokens, by id."""
    strings = sorted(tokenizer.special.strings.items(), key=lambda item: item[1])
    size = tokenizer.vocabulary.size
    return [SpecialToken(text, token_id, token_id >= size) for text, token_id in strings]


def audit_vocabulary(tokenizer: Tokenizer, rows: int | None = None) -> list[Finding]:
    """Look at a tokenizer without any text.

    Args:
        tokenizer: to look at.
        rows: of the word embedding that the ids index; the tokenizer's own size unless given.
    """
    return [
        *shared_ids(tokenizer),
        *ids_out_of_range(tokenizer, tokenizer.size if rows is None else rows),
        *missing_tokens(tokenizer.special.strings),
        *repeated_pieces(tokenizer),
        *wrong_pieces(tokenizer),
        *lost_characters(tokenizer),
    ]


def shared_ids(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Ids that stand for several special tokens."""
    names: dict[int, list[str]] = defaultdict(list)
    for text, token_id in tokenizer.special.strings.items():
        names[token_id].append(text)
    for token_id, texts in names.items():
        if len(texts) == 1:
            continue
        roles = [f"{ROLES[text]} ({text})" for text in texts if text in ROLES]
        meaning = "harmless, as no blank is made of them"
        remedy = "nothing to do; released models have this too"
        if roles:
            others = [text for text in texts if text not in ROLES]
            meaning = f"the model cannot tell {' and '.join([*roles, *others])} apart"
            remedy = "give each token an id of its own: choose another --special"
        if tokenizer.config.special == "glm-chinese-10b" and EOP in texts:
            remedy = (
                "keep it for the released 10b model, which was trained so; "
                "train a new model with --special glm-chinese"
            )
        what = f"{' and '.join(texts)} share one id: {meaning}"
        yield Finding("shared_id", what, f"id {token_id}", remedy, spoils_training=bool(roles))


def ids_out_of_range(tokenizer: Tokenizer, rows: int) -> Iterator[Finding]:
    """Ids for which a model has no row."""
    beyond = [
        f"{text} {token_id}"
        for text, token_id in tokenizer.special.strings.items()
        if not 0 <= token_id < rows
    ]
    if beyond or tokenizer.size > rows:
        yield Finding(
            "id_out_of_range",
            f"ids must be below {rows:,}, and the tokenizer has {tokenizer.size:,}"
            + (f"; out of range are {', '.join(beyond)}" if beyond else ""),
            "special tokens" if beyond else "vocabulary",
            f"set model.vocab_rows to {tokenizer.size} or more, or choose another --special",
            spoils_training=True,
        )


def missing_tokens(strings: Collection[str]) -> Iterator[Finding]:
    """Special tokens that an objective needs and the layout lacks."""
    missing = [text for text in NEEDED if text not in strings]
    if EOS not in strings and "[PAD]" not in strings:
        missing.append(EOS)
    if missing:
        yield Finding(
            "missing_token",
            f"no {' and no '.join(missing)}: no training example can be made",
            "special tokens",
            "choose another --special",
            spoils_training=True,
        )
    if missing := [text for text in ("[sMASK]", "[gMASK]") if text not in strings]:
        yield Finding(
            "missing_token",
            f"no {' and no '.join(missing)}: the sentence and document objectives use [MASK]",
            "special tokens",
            "to tell the objectives apart, choose a --special that has them: glm-english-task",
            spoils_training=False,
        )


def repeated_pieces(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Pieces that are spelled as another one; all but one of them are never used."""
    vocabulary = tokenizer.vocabulary
    counts = Counter(map(vocabulary.token, range(vocabulary.size)))
    if repeated := [text for text, count in counts.items() if count > 1]:
        yield Finding(
            "repeated_piece",
            f"pieces that have several ids: {len(repeated):,} ({examples(repeated)})",
            str(vocabulary.files[0]),
            "of each, only the last id is ever used; copy the vocabulary again if this is new",
            spoils_training=False,
        )


def wrong_pieces(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Pieces whose own text is encoded as another text; whitespace does not count."""
    vocabulary, unk = tokenizer.vocabulary, tokenizer.special.unk
    texts = []
    for token_id in set(range(vocabulary.size)) - {*tokenizer.special.strings.values(), unk}:
        text = vocabulary.join(["", vocabulary.decode([token_id])])  # "##" goes
        if "\ufffd" not in text:  # a piece of a character has no text of its own
            texts.append("".join(text.split()))
    wrong = []
    for text, row in zip(texts, tokenizer.encode_batch(texts, special=False), strict=True):
        back = "".join(plain_decode(tokenizer, row.tolist()).split())
        if back != text and unk not in row:  # what only continues words may be unknown alone
            wrong.append(f"{text} becomes {back}")
    if wrong:
        yield Finding(
            "wrong_piece",
            f"{len(wrong):,} of {vocabulary.size:,} pieces are never used, as their text comes "
            f"back as another: {examples(wrong)}",
            str(vocabulary.files[0]),
            "set tokenizer.lowercase to false for a vocabulary with capitals; else copy the "
            "vocabulary again",
            spoils_training=len(wrong) > TOLERATED_SHARE * vocabulary.size,
        )


def lost_characters(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Characters that a vocabulary of bytes drops, for want of a byte."""
    if not tokenizer.vocabulary.is_lossless:
        return
    characters = [*map(chr, BYTES)]
    rows = tokenizer.vocabulary.encode_batch(characters)
    lost = [
        f"U+{ord(character):04X}"
        for character, row in zip(characters, rows, strict=True)
        if plain_decode(tokenizer, row.tolist()) != character
    ]
    if lost:
        yield Finding(
            "lost_character",
            f"bytes are missing: {len(lost):,} of {len(characters):,} characters tried do not "
            f"come back: {examples(lost)}",
            str(tokenizer.vocabulary.files[0]),
            "add the bytes that are missing, or copy the vocabulary again",
            spoils_training=True,
        )


def plain_decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of ids among which none is special."""
    vocabulary = tokenizer.vocabulary
    return vocabulary.join([vocabulary.decode(ids)])


def examples(items: Sequence[str]) -> str:
    """The first few of a list, and a mark when there are more."""
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
