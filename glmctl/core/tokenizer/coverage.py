"""How a tokenizer copes with a text: what it does not know, and how many tokens it takes.

Lines are counted and forgotten, so a text of any size takes the same memory.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from glmctl.core.tokenizer.audit import SHOWN, TOLERATED_SHARE, Finding, examples, plain_decode
from glmctl.core.tokenizer.base import Tokenizer

NOT_LETTERS = {"N": "digits", "P": "punctuation", "S": "symbols", "Z": "spaces", "C": "controls"}
NOT_LETTERS |= {"Cn": "unassigned", "Co": "private use"}
WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")
MARKS = ("COMBINING", "VARIATION", "MODIFIER")


@dataclass(frozen=True)
class ScriptUse:
    """The lines whose letters are mostly of one script."""

    script: str
    num_lines: int
    num_characters: int
    num_tokens: int
    characters_per_token: float


@dataclass(frozen=True)
class UnknownCharacter:
    """A character that becomes the unknown token."""

    character: str
    code: str
    name: str
    count: int
    where: str
    """Line of the first one."""


@dataclass(frozen=True)
class UnknownScript:
    """The unknown characters of a script."""

    script: str
    count: int
    share: float
    """Of the characters of the script in the text."""
    num_distinct: int
    characters: list[UnknownCharacter]
    """The first few."""


@dataclass(frozen=True)
class TextUse:
    """A text as the tokenizer sees it."""

    num_lines: int
    """Empty ones are not counted."""
    num_characters: int
    num_tokens: int
    characters_per_token: float
    unknown_share: float
    """Of the tokens."""
    changed_share: float
    """Lines that do not come back as they were."""


class Coverage:
    """Counts over the lines of a text; control strings in it are ordinary text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.lines: Counter[str] = Counter()  # by main script, as the next two
        self.characters: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.written: Counter[str] = Counter()  # characters by their own script
        self.unknown: Counter[str] = Counter()  # by character
        self.first_unknown: dict[str, str] = {}
        self.num_unknown = 0
        self.odd_words: list[tuple[str, str]] = []  # unknown though their characters are not
        self.num_odd_words = 0
        self.num_changed = 0
        self.first_changed = ""
        self._is_known: dict[str, bool] = {}

    def add(self, texts: Sequence[str], places: Sequence[str]) -> None:
        """Count lines.

        Args:
            texts: one a line.
            places: what a reader calls each of them.
        """
        rows = self.tokenizer.encode_batch(texts, special=False)
        for text, place, row in zip(texts, places, rows, strict=True):
            if not text or text.isspace():
                continue
            scripts: Counter[str] = Counter()
            for character, count in Counter(text).items():
                scripts[script_of(character)] += count
            script = main_script(scripts)
            self.lines[script] += 1
            self.characters[script] += len(text)
            self.tokens[script] += len(row)
            self.written += scripts
            ids = row.tolist()
            if self.tokenizer.special.unk in ids:
                self._add_unknown(text, place)
            if plain_decode(self.tokenizer, ids) != text:
                self.num_changed += 1
                self.first_changed = self.first_changed or place

    def _add_unknown(self, text: str, place: str) -> None:
        for token_id, start, stop in self.tokenizer.vocabulary.offsets(text):
            if token_id != self.tokenizer.special.unk:
                continue
            self.num_unknown += 1
            word = text[start:stop]
            if not (characters := [c for c in word if not self._knows(c)]):
                self.num_odd_words += 1
                if len(self.odd_words) < SHOWN:
                    self.odd_words.append((word[:20], place))
            for character in characters:
                self.unknown[character] += 1
                self.first_unknown.setdefault(character, place)

    def _knows(self, character: str) -> bool:
        if character not in self._is_known:
            ids = self.tokenizer.encode(character, special=False)
            self._is_known[character] = self.tokenizer.special.unk not in ids
        return self._is_known[character]

    def text_use(self) -> TextUse:
        """The whole text."""
        num_lines, num_tokens = self.lines.total(), self.tokens.total()
        return TextUse(
            num_lines=num_lines,
            num_characters=self.characters.total(),
            num_tokens=num_tokens,
            characters_per_token=self.characters.total() / max(num_tokens, 1),
            unknown_share=self.num_unknown / max(num_tokens, 1),
            changed_share=self.num_changed / max(num_lines, 1),
        )

    def scripts(self) -> list[ScriptUse]:
        """The lines by main script, most characters first."""
        return [
            ScriptUse(
                script=script,
                num_lines=self.lines[script],
                num_characters=count,
                num_tokens=self.tokens[script],
                characters_per_token=count / max(self.tokens[script], 1),
            )
            for script, count in self.characters.most_common()
        ]

    def unknown_scripts(self) -> list[UnknownScript]:
        """The unknown characters by script, most of them first."""
        by_script: dict[str, list[str]] = {}
        for character in self.first_unknown:
            by_script.setdefault(script_of(character), []).append(character)
        found = []
        for script, characters in by_script.items():
            count = sum(self.unknown[character] for character in characters)
            first = [
                UnknownCharacter(
                    character=character,
                    code=f"U+{ord(character):04X}",
                    name=unicodedata.name(character, ""),
                    count=self.unknown[character],
                    where=self.first_unknown[character],
                )
                for character in characters[:SHOWN]
            ]
            share = count / self.written[script]
            found.append(UnknownScript(script, count, share, len(characters), first))
        return sorted(found, key=lambda entry: -entry.count)

    def findings(self) -> list[Finding]:
        """What is worth knowing before training on the text."""
        found = []
        use = self.text_use()
        if self.unknown:
            shares = [f"{entry.script} {entry.share:.1%}" for entry in self.unknown_scripts()]
            found.append(
                Finding(
                    "unknown_characters",
                    f"characters unknown to the vocabulary: {self.unknown.total():,} "
                    f"({use.unknown_share:.1%} of the tokens): {examples(shares)}",
                    next(iter(self.first_unknown.values())),
                    "use a vocabulary of these scripts, or one that falls back to bytes, as "
                    "glmctl-default; --train learns one",
                    spoils_training=use.unknown_share > TOLERATED_SHARE,
                )
            )
        if self.num_odd_words:
            found.append(
                Finding(
                    "unknown_words",
                    f"words unknown as a whole, of known characters: {self.num_odd_words:,} "
                    f"({examples([word for word, _ in self.odd_words])})",
                    self.odd_words[0][1],
                    "cut words of more than 100 characters, which WordPiece does not split",
                    spoils_training=self.num_odd_words > TOLERATED_SHARE * use.num_tokens,
                )
            )
        if self.num_changed:
            is_lossless = self.tokenizer.vocabulary.is_lossless
            found.append(
                Finding(
                    "changed_lines",
                    f"lines that do not come back as they were: {self.num_changed:,} of "
                    f"{use.num_lines:,}"
                    + ("" if is_lossless else " (case, accents, width, spaces, unknowns)"),
                    self.first_changed,
                    "copy the vocabulary again"
                    if is_lossless
                    else "where text must come back, use one that loses nothing: glmctl-default",
                    spoils_training=is_lossless,
                )
            )
        if costly := [entry.script for entry in self.scripts() if entry.characters_per_token < 1]:
            found.append(
                Finding(
                    "more_tokens_than_characters",
                    f"lines in {', '.join(costly)} take more tokens than they have characters",
                    "text",
                    "use a vocabulary that has seen the script; --train learns one",
                    spoils_training=False,
                )
            )
        return found


@cache
def script_of(character: str) -> str:
    """The script of a letter, after its name in Unicode; of other characters, what they are."""
    category = unicodedata.category(character)
    if category[0] not in "LM":
        return NOT_LETTERS.get(category) or NOT_LETTERS[category[0]]
    name = unicodedata.name(character, "UNNAMED")
    for width in WIDTHS:
        name = name.removeprefix(width)
    first = name.split()[0].split("-")[0]
    if first in MARKS:
        return "marks"
    return "Han" if first == "CJK" else first.capitalize()


def main_script(scripts: Counter[str]) -> str:
    """The script of most letters; without a letter, what most characters are."""
    letters = [entry for entry in scripts.items() if entry[0].istitle()]
    return max(letters or scripts.items(), key=lambda entry: entry[1])[0]
