"""The fill of one text as it comes, token by token."""

from collections.abc import Iterator
from dataclasses import dataclass

from glmctl.core.decode.infill import Prompt, advance, around_blanks, rules_of, words_after
from glmctl.core.decode.search import Row
from glmctl.core.model.glm import GLM
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.recipe.schema import DecodeConfig

# Stands for bytes that are no character yet; the next token may complete it.
INCOMPLETE = "\ufffd"


@dataclass(frozen=True)
class StreamedToken:
    """A token as it was chosen, the end of a blank included."""

    blank: int  # number of the blank, from 1
    token_id: int
    text: str  # what the text grows by; all of these together are the filled text
    log_prob: float


def stream_fills(
    model: GLM,
    prompt: Prompt,
    row: Row,
    tokenizer: Tokenizer,
    config: DecodeConfig,
    ends: tuple[int, ...] = (),
) -> Iterator[StreamedToken]:
    """Fill the blanks of one prompt and give each token as it is chosen.

    The row, which stands at the first blank, holds the fills in the end. There is one beam: the
    best of several is known only when all are done.
    """
    parts = around_blanks(prompt.text, tokenizer.special)
    before, shown = parts[0], 0
    rules = rules_of(model, tokenizer.special, config, ends)
    for ((candidate, *_),) in advance(model, [prompt], [row], rules, tokenizer.size):
        is_closed = not row.beams[0].ids
        blank = len(row.fills) if is_closed else len(row.fills) + 1
        ids = row.fills[-1].ids if is_closed else row.beams[0].ids
        text = before + words_after(before, ids, tokenizer)
        if is_closed:
            text = before = text + parts[blank]
        else:
            text = text.rstrip(INCOMPLETE)
        grown, shown = text[shown:], max(shown, len(text))
        yield StreamedToken(blank, candidate.token, grown, candidate.log_prob)
