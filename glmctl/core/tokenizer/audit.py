"""What would spoil training with a tokenizer: its special tokens, its ids, and a text.

A finding that spoils training names a fault that no amount of training repairs: two tokens that
the model cannot tell apart, an id without a row, text that never reaches the model. Lines of the
text are counted and forgotten, so a text of any size takes the same memory.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.special import EOP, FAMILY, MASKS, SOP

TOLERATED_SHARE = 0.01
"""Of the tokens of a text that may be unknown."""
NUM_NAMED = 5
"""How many unknown characters of a script are named."""
NOT_LETTERS = {"N": "digits", "P": "punctuation", "S": "symbols", "Z": "spaces", "C": "controls"}
WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")
MARKS = ("COMBINING", "VARIATION", "MODIFIER")


@dataclass(frozen=True)
class Finding:
    """Something that a user should know before training."""

    kind: str
    where: str
    what: str
    remedy: str
    spoils_training: bool


@dataclass
class ScriptUse:
    """The lines whose letters are mostly of one script; empty lines do not count."""

    script: str
    num_lines: int = 0
    num_characters: int = 0
    num_tokens: int = 0
    characters_per_token: float = 0.0
    num_unknown: int = 0
    """Tokens that are the unknown one."""


@dataclass
class UnknownScript:
    """The characters of a script that the vocabulary lacks."""

    script: str
    num_unknown: int = 0
    first_in: dict[str, str] = field(default_factory=dict)
    """The first few different ones, each with its code point, and their lines."""


def audit_vocabulary(tokenizer: Tokenizer, rows: int | None = None) -> list[Finding]:
    """Look at a tokenizer without any text.

    ``rows`` are those of the word embedding; as many as the tokenizer has ids unless given.
    """
    findings = [
        *shared_ids(tokenizer),
        *ids_out_of_range(tokenizer, tokenizer.size if rows is None else rows),
    ]
    layout = tokenizer.config.special
    if layout in FAMILY:
        what = "status conformance: tried on small vocabularies of this format, not on the "
        what += "released one"
        remedy = "compare some ids with those of the released code before you rely on them"
        findings.append(Finding("conformance", f"layout {layout}", what, remedy, False))
    elif tokenizer.special.smask is None:
        what = "no [sMASK] and no [gMASK]: the sentence and document objectives use [MASK]"
        remedy = "choose a --special that has them, as glm-english-task"
        findings.append(Finding("missing_token", "special tokens", what, remedy, False))
    return findings


def shared_ids(tokenizer: Tokenizer) -> Iterator[Finding]:
    """Ids that stand for several special tokens."""
    names: dict[int, list[str]] = defaultdict(list)
    for text, token_id in tokenizer.special.strings.items():
        names[token_id].append(text)
    for token_id, texts in names.items():
        if len(texts) == 1:
            continue
        what = f"{' and '.join(texts)} share one id"
        remedy = "nothing to do: no blank is made of them"
        if spoils := not {*MASKS, SOP, EOP}.isdisjoint(texts):
            what += ", so the model cannot tell them apart"
            remedy = "give each token an id of its own: choose another --special"
        if tokenizer.config.special == "glm-chinese-10b" and EOP in texts:
            remedy = (
                "keep it for the released 10b model, which was trained so; "
                "train a new model with --special glm-chinese"
            )
        yield Finding("shared_id", f"id {token_id}", what, remedy, spoils)


def ids_out_of_range(tokenizer: Tokenizer, rows: int) -> Iterator[Finding]:
    """Ids for which a model has no row."""
    strings = tokenizer.special.strings.items()
    beyond = [f"{text} {token_id}" for text, token_id in strings if token_id >= rows]
    if beyond or tokenizer.size > rows:
        yield Finding(
            "id_out_of_range",
            "special tokens" if beyond else "vocabulary",
            f"ids must be below {rows:,}, and the tokenizer has {tokenizer.size:,}"
            + (f"; out of range are {', '.join(beyond)}" if beyond else ""),
            f"set model.vocab_rows to {tokenizer.size} or more, or choose another --special",
            spoils_training=True,
        )


class TextAudit:
    """Counts over the lines of a text; control strings in it are ordinary text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.total = ScriptUse("all")
        self.uses: dict[str, ScriptUse] = {}
        self.unknown: dict[str, UnknownScript] = {}
        unk = tokenizer.special.unk
        self._is_known = cache(lambda it: unk not in tokenizer.encode(it, special=False))

    def add(self, texts: Sequence[str], places: Sequence[str]) -> None:
        """Count lines, which a reader knows by these places."""
        rows = self.tokenizer.encode_batch(texts, special=False)
        for text, place, row in zip(texts, places, rows, strict=True):
            if not text or text.isspace():
                continue
            num_unknown = int((row == self.tokenizer.special.unk).sum())
            if num_unknown:
                self._add_unknown(text, place)
            script = main_script(text)
            for use in (self.total, self.uses.setdefault(script, ScriptUse(script))):
                use.num_lines += 1
                use.num_characters += len(text)
                use.num_tokens += len(row)
                use.characters_per_token = use.num_characters / max(use.num_tokens, 1)
                use.num_unknown += num_unknown

    def _add_unknown(self, text: str, place: str) -> None:
        for token_id, start, stop in self.tokenizer.vocabulary.offsets(text):
            if token_id != self.tokenizer.special.unk:
                continue
            for character in text[start:stop]:
                if self._is_known(character):
                    continue
                script, name = script_of(character), f"{character} U+{ord(character):04X}"
                found = self.unknown.setdefault(script, UnknownScript(script))
                found.num_unknown += 1
                if len(found.first_in) < NUM_NAMED:
                    found.first_in.setdefault(name, place)

    def scripts(self) -> list[ScriptUse]:
        """The lines by main script, most characters first, and all together; [] without text."""
        uses = sorted(self.uses.values(), key=lambda use: -use.num_characters)
        return [*uses, self.total] if uses else []

    def findings(self) -> Iterator[Finding]:
        """What is worth knowing before training on the text."""
        use = self.total
        if not use.num_unknown:
            return
        share = use.num_unknown / use.num_tokens
        scripts = [f"{found.script} {found.num_unknown:,}" for found in self.unknown.values()]
        yield Finding(
            "unknown_characters",
            "text",
            f"{use.num_unknown:,} of {use.num_tokens:,} tokens are unknown ({share:.1%}): "
            + (", ".join(scripts) or "words of more than 100 characters"),
            "use a vocabulary of these scripts, or one that falls back to bytes, as "
            "glmctl-default; --train learns one",
            spoils_training=share > TOLERATED_SHARE,
        )


@cache
def script_of(character: str) -> str:
    """The script of a letter, after its name in Unicode; of other characters, what they are."""
    kind = unicodedata.category(character)[0]
    if kind not in "LM":
        return NOT_LETTERS[kind]
    name = unicodedata.name(character, "UNNAMED")
    for width in WIDTHS:
        name = name.removeprefix(width)
    first = name.split()[0].split("-")[0]
    if first in MARKS:
        return "marks"
    return "Han" if first == "CJK" else first.capitalize()


def main_script(text: str) -> str:
    """The script of most letters; without a letter, what most characters are."""
    scripts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        scripts[script_of(character)] += count
    letters = [entry for entry in scripts.items() if entry[0].istitle()]
    return max(letters or scripts.items(), key=lambda entry: entry[1])[0]
