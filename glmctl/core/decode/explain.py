"""How a text was filled: its Part A, and for each blank what was fed, where, and what followed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp

from glmctl.core.decode.infill import Prompt
from glmctl.core.decode.search import Fill
from glmctl.core.tokenizer.base import Tokenizer

# Tokens of Part A shown on either side of a blank.
NUM_AROUND = 8


@dataclass(frozen=True)
class FedToken:
    """A token of a blank, from sop on, and the one that the model chose after it."""

    reads: str
    place: int
    place_in_span: int
    chooses: str
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Where the blanks of a text stand, and how they were filled."""

    num_tokens: int  # of Part A
    part_a: tuple[str, ...]
    """Its tokens; of a long one those around the blanks, and how many are left out between."""
    blanks: tuple[tuple[FedToken, ...], ...]


def explain(prompt: Prompt, fills: Sequence[Fill], tokenizer: Tokenizer) -> Explanation:
    """Name the tokens by which a text was filled; not for choices, which are scored whole."""
    blanks = []
    for place, fill in zip(prompt.places, fills, strict=True):
        ends = () if fill.end is None else (fill.end,)
        names = [tokenizer.token_text(id) for id in (tokenizer.special.sop, *fill.ids, *ends)]
        steps = enumerate(zip(names, names[1:], fill.token_log_probs, strict=False), 1)
        blanks.append(
            tuple(
                FedToken(reads, place, i, chooses, exp(log_prob))
                for i, (reads, chooses, log_prob) in steps
            )
        )
    return Explanation(len(prompt.part_a), tuple(shown_tokens(prompt, tokenizer)), tuple(blanks))


def shown_tokens(prompt: Prompt, tokenizer: Tokenizer) -> Iterator[str]:
    """The ends of Part A and what stands around the blanks, each blank with its number."""
    numbers = {place: number for number, place in enumerate(prompt.places, 1)}
    last, before = len(prompt.part_a) - 1, -1
    for index, token in enumerate(prompt.part_a):
        if index not in (0, last) and all(abs(index - p) > NUM_AROUND for p in prompt.places):
            continue
        if skipped := index - before - 1:
            yield f"({skipped:,} more)"
        before = index
        text = tokenizer.token_text(token)
        yield f"{text}#{numbers[index]}" if index in numbers else text
