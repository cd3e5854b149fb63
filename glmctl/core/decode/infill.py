"""Fills every blank of a batch of texts, one token a step, on a key/value cache.

The blanks of a text are filled from left to right, each with the earlier fills in sight, as the
original does (`generate_samples`): sop at the place of the blank opens it, eop or eos ends it.

Shapes: R texts still being filled, T packed tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glmctl.core.decode.sampling import choose
from glmctl.core.model.attention import Segments
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.objective.draws import Purpose, sample_keys, uniform
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.schema import DecodeConfig

Finish = Literal["end", "length", "choice"]


@dataclass(frozen=True)
class Prompt:
    """A text with blanks and its Part A."""

    text: str
    part_a: tuple[int, ...]
    places: tuple[int, ...]  # of the blanks in Part A


@dataclass(frozen=True)
class Fill:
    """The tokens of one blank; neither `ids` nor `log_prob` counts the end token."""

    ids: tuple[int, ...]
    log_prob: float
    finish: Finish


@dataclass(frozen=True)
class Blank:
    """One filled blank: what stands in its place now."""

    text: str
    ids: tuple[int, ...]
    log_prob: float
    """Of the ids, summed; the end token is not counted."""
    finish: Finish
    """end: the model ended it; length: it reached the limit; choice: it was chosen."""


@dataclass(frozen=True)
class Infilling:
    """A text whose blanks are filled."""

    text: str
    blanks: tuple[Blank, ...]


@dataclass
class Row:
    """A text on its way: its finished blanks and the tokens of the one being filled."""

    places: tuple[int, ...]
    key: int  # of the draws
    fills: list[Fill] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    num_draws: int = 0

    @property
    def is_done(self) -> bool:
        return len(self.fills) == len(self.places)

    def take(self, token: int, log_prob: float, ends: Sequence[int], limit: int) -> None:
        """Add a token to the blank, or close the blank."""
        if token in ends:
            self.close("end")
            return
        self.ids.append(token)
        self.log_prob += log_prob
        if len(self.ids) == limit:
            self.close("length")

    def close(self, finish: Finish) -> None:
        self.fills.append(Fill(tuple(self.ids), self.log_prob, finish))
        self.ids, self.log_prob = [], 0.0

    def next_input(self, sop: int) -> tuple[int, int, int]:
        """Token, place in Part A and place in the span that are fed next; sop opens a blank.

        A token that filled a blank up to its limit is never fed, as in the original.
        """
        token = self.ids[-1] if self.ids else sop
        return token, self.places[len(self.fills)], len(self.ids) + 1


def uniforms_of(rows: Sequence[Row]) -> list[float]:
    """A number from [0, 1) for each row; the seed, the line and the count of its draws fix it."""
    counts = np.array([row.num_draws for row in rows])
    for row in rows:
        row.num_draws += 1
    keys = np.array([row.key for row in rows], np.uint64)
    return uniform(keys, Purpose.TOKEN, counts).tolist()  # type: ignore[no-any-return]


def make_prompt(text: str, tokenizer: Tokenizer, max_positions: int, place: str) -> Prompt:
    """Lay a text with blanks out as Part A; errors name the place it comes from.

    Raises:
        InputError: the text has no blank, or more tokens than the model has positions.
    """
    special = tokenizer.special
    part_a = [special.cls, *tokenizer.encode(text)]
    # A text that ends in [gMASK] goes on: the model learned such blanks without an end after them.
    if part_a[-1] != special.gmask:
        part_a.append(special.eos)
    blanks = blank_ids(special)
    places = tuple(place for place, token in enumerate(part_a) if token in blanks)
    if not places:
        raise InputError(
            place, "holds no blank; write [MASK] (or [sMASK], [gMASK]) where something is missing"
        )
    if len(part_a) > max_positions:
        raise InputError(
            place,
            f"is {len(part_a):,} tokens long and the model has {max_positions:,} positions; "
            "shorten it",
        )
    return Prompt(text, tuple(part_a), places)


def fill_blanks(
    model: GLM,
    prompts: Sequence[Prompt],
    special: SpecialTokens,
    num_tokens: int,
    config: DecodeConfig,
    numbers: Sequence[int],
) -> list[list[Fill]]:
    """Fill the blanks of every prompt, in order.

    Args:
        model: in evaluation mode.
        prompts: any number of texts of any length.
        special: ids of sop, eop and eos.
        num_tokens: ids from here on are never chosen.
        config: how tokens are chosen.
        numbers: place of each text in its stream; its draws depend on that and the seed alone.

    Returns:
        For each prompt the fills of its blanks.
    """
    # The token before the last one is fed at place `limit` of the span, the last one never.
    limit = min(config.max_new_tokens, model.config.max_positions)
    keys = sample_keys(config.seed, 0, np.array(numbers)).tolist()
    rows = [Row(prompt.places, key) for prompt, key in zip(prompts, keys, strict=True)]
    active = list(rows)
    capacity = max(len(prompt.part_a) + limit * len(prompt.places) for prompt in prompts)
    weight = model.word_embedding.weight
    cache = KeyValueCache(model.config, len(rows), capacity, weight.dtype, weight.device)
    hidden = prefill(model, prompts, special.sop, cache)  # [R, H]
    while True:
        uniforms = [] if config.temperature == 0 else uniforms_of(active)
        chosen = choose(model.logits(hidden), num_tokens, config, uniforms)
        for row, token, log_prob in zip(active, chosen.ids, chosen.log_probs, strict=True):
            row.take(token, log_prob, (special.eop, special.eos), limit)
        staying = [number for number, row in enumerate(active) if not row.is_done]
        if not staying:
            return [row.fills for row in rows]
        if len(staying) < len(active):
            cache.keep(staying)
            active = [active[number] for number in staying]
        fed = torch.tensor([row.next_input(special.sop) for row in active], device=weight.device)
        hidden = model.step(fed[:, 0], fed[:, 1:].T, cache)  # [R, H]


def prefill(model: GLM, prompts: Sequence[Prompt], sop: int, cache: KeyValueCache) -> Tensor:
    """Run Part A and the sop of the first blank of every prompt at once, [R, H] at the sops."""
    device = model.word_embedding.weight.device
    ids = [token for prompt in prompts for token in (*prompt.part_a, sop)]
    lengths = [len(prompt.part_a) for prompt in prompts]
    places = [place for p in prompts for place in (*range(len(p.part_a)), p.places[0])]
    in_span = [offset for length in lengths for offset in (*[0] * length, 1)]
    segments = Segments(tuple(length + 1 for length in lengths), tuple(lengths))
    position_ids = torch.tensor([places, in_span], device=device)  # [2, T]
    ends = torch.tensor(segments.lengths, device=device).cumsum(0) - 1  # [R]
    return model.hidden(torch.tensor(ids, device=device), position_ids, segments, ends, cache)


def insert(prompt: Prompt, fills: Sequence[Fill], tokenizer: Tokenizer) -> Infilling:
    """Put the fills into the text as it was typed, without doubling the space before a blank."""
    text, *rest = around_blanks(prompt.text, tokenizer.special)
    blanks = []
    for fill, following in zip(fills, rest, strict=True):
        words = tokenizer.decode(fill.ids)
        if not text or text.endswith(" "):
            words = words.removeprefix(" ")
        blanks.append(Blank(words, fill.ids, fill.log_prob, fill.finish))
        text += words + following
    return Infilling(text, tuple(blanks))


def around_blanks(text: str, special: SpecialTokens) -> list[str]:
    """The parts of a text before, between and after its blanks."""
    blanks = blank_ids(special)
    names = [re.escape(name) for name, token in special.strings.items() if token in blanks]
    return re.split("|".join(names), text)


def blank_ids(special: SpecialTokens) -> set[int | None]:
    return {special.mask, special.smask, special.gmask}
