"""Whether a text is written in letters that the vocabulary of a model has."""

from collections import Counter

from glmctl.core.decode.infill import around_blanks
from glmctl.core.tokenizer.audit import script_of
from glmctl.core.tokenizer.base import Tokenizer

# Letters of a script after which it is no longer looked at.
ENOUGH = 200


class ScriptWatch:
    """Finds scripts that are mostly unknown; each is named once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.num_letters: Counter[str] = Counter()

    def warning(self, text: str) -> str | None:
        """What to tell about the main script of a text, when most of its letters are unknown.

        A letter is unknown when its token is the unknown one, or when it takes several tokens, as
        those that a vocabulary can only spell in bytes do.
        """
        words = "".join(around_blanks(text, self.tokenizer.special))
        scripts = Counter(script for letter in words if (script := script_of(letter)).istitle())
        if not scripts:
            return None
        (script, _), *_ = scripts.most_common(1)
        if self.num_letters[script] >= ENOUGH:
            return None
        num_tokens: Counter[int] = Counter()  # of each character; two for an unknown one
        specials = {*self.tokenizer.special.strings.values()}
        unknown = self.tokenizer.special.unk
        for piece in self.tokenizer.pieces(text):
            weight = 2 if piece.id == unknown else int(piece.id not in specials)
            for place in range(piece.start, piece.stop):
                num_tokens[place] += weight
        letters = [n for place, n in num_tokens.items() if n and script_of(text[place]) == script]
        num_unknown = sum(n > 1 for n in letters)
        self.num_letters[script] += len(letters)
        if 2 * num_unknown <= len(letters):
            return None
        self.num_letters[script] = ENOUGH
        return (
            f"{num_unknown:,} of {len(letters):,} letters are {script} and not in the model's "
            "vocabulary, so it can hardly read them; use a model for this language"
        )
