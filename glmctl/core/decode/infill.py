"""Fills every blank of a batch of texts, one token a step, on a key/value cache.

The blanks of a text are filled from left to right, each with the earlier fills in sight, as the
original does (`generate_samples`): sop at the place of the blank opens it, eop or eos ends it.

Shapes: R texts still being filled, K beams of each, T packed tokens.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from glmctl.core.decode.sampling import blocked_tokens, draw, without
from glmctl.core.decode.search import Candidate, Fill, Finish, Row, Rules, Token, rank
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.objective.draws import Purpose, sample_keys, uniform
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.schema import DecodeConfig

FIRST_ROOM = 64  # tokens of a blank for which a cache has room before it grows; most are shorter
INCOMPLETE = "\ufffd"  # bytes that are no character yet; the next token may complete it


@dataclass(frozen=True)
class Prompt:
    """A text with blanks and its Part A."""

    text: str
    part_a: tuple[int, ...]
    places: tuple[int, ...]  # of the blanks in Part A

    def fed(self, sop: int) -> tuple[list[Token], int]:
        """Part A, of which all sees all, and the sop that opens the first blank; its length."""
        part_a = [(token, place, 0) for place, token in enumerate(self.part_a)]
        return [*part_a, (sop, self.places[0], 1)], len(part_a)

    def open(self, key: int) -> Row:
        return Row(self.places, key)


@dataclass(frozen=True)
class Beginning(Prompt):
    """Ids that causal and chat models go on with, by the same search; all are in `part_a`."""

    layout: Sequence[tuple[int, int]]  # both places of these ids and of all that may follow
    num_seen: int  # ids that see each other, the first ones

    def fed(self, sop: int) -> tuple[list[Token], int]:
        pairs = zip(self.part_a, self.layout, strict=False)
        return [(token, *places) for token, places in pairs], self.num_seen

    def open(self, key: int) -> Row:
        return Row(self.places, key, self.layout[len(self.part_a) :])


@dataclass(frozen=True)
class Alternative:
    text: str
    ids: tuple[int, ...]
    log_prob: float
    finish: Finish
    score: float
    """What beams are ranked by: log-probability, end included, / length ** length_penalty."""


@dataclass(frozen=True)
class Blank:
    """One filled blank: what stands in its place now."""

    text: str
    ids: tuple[int, ...]
    log_prob: float  # of the ids, summed; the end token is not counted
    finish: Finish  # end: the model ended it; length: it reached the limit; choice: it was chosen
    n_best: tuple[Alternative, ...] = ()
    """The best ways to fill it, this one the first; empty unless several are asked for."""


@dataclass(frozen=True)
class StreamedToken:
    """A token as it was chosen, the end of a blank included."""

    blank: int  # number of the blank, from 1
    token_id: int
    text: str  # what the text grows by; all of these together are the filled text
    log_prob: float


@dataclass(frozen=True)
class Infilling:
    text: str
    blanks: tuple[Blank, ...]


def make_prompt(text: str, tokenizer: Tokenizer, max_positions: int, place: str) -> Prompt:
    """Lay a text with blanks out as Part A; errors name the place it comes from."""
    special = tokenizer.special
    blanks = blank_ids(special)
    is_chatglm = tokenizer.config.special == "chatglm"
    part_a = [*([] if is_chatglm else [special.cls]), *tokenizer.encode(text)]
    # A text that ends in [gMASK] goes on: the model learned such blanks without an end after them.
    if not {*part_a[-1:]} & (blanks if is_chatglm else {special.gmask}):
        part_a.append(special.eos)
    places = tuple(place for place, token in enumerate(part_a) if token in blanks)
    problem = None
    if not places:
        problem = "holds no blank; write [MASK] (or [sMASK], [gMASK]) where something is missing"
    elif is_chatglm and len(places) > 1:
        problem = (
            f"holds {len(places)} blanks; ChatGLM-6B fills one of a text, so write it so often"
        )
    elif len(part_a) > max_positions:
        problem = (
            f"is {len(part_a):,} tokens long and the model has {max_positions:,} positions; "
            "shorten it"
        )
    if problem is not None:
        raise InputError(place, problem)
    return Prompt(text, tuple(part_a), places)


def fill_blanks(
    model: GLM,
    prompts: Sequence[Prompt],
    special: SpecialTokens,
    num_tokens: int,
    config: DecodeConfig,
    numbers: Sequence[int],
    ends: tuple[int, ...] = (),
) -> list[list[Fill]]:
    """Fill the blanks of every prompt, in order, by a model in evaluation mode.

    Args:
        num_tokens: ids from here on are never chosen.
        numbers: place of each text in its stream; its draws depend on that and the seed alone.
        ends: what ends a blank; eop and eos unless given.
    """
    return fill_by(rules_of(model, special, config, ends), model, prompts, num_tokens, numbers)


def fill_by(
    rules: Rules, model: GLM, prompts: Sequence[Prompt], num_tokens: int, numbers: Sequence[int]
) -> list[list[Fill]]:
    """As `fill_blanks`."""
    rows = open_rows(prompts, rules.config, numbers)
    for _ in advance(model, prompts, rows, rules, num_tokens):
        pass
    return [row.fills for row in rows]


def open_rows(prompts: Sequence[Prompt], config: DecodeConfig, numbers: Sequence[int]) -> list[Row]:
    """Texts at their start, each with the key of its draws."""
    keys = sample_keys(config.seed, 0, np.array(numbers)).tolist()
    return [prompt.open(key) for prompt, key in zip(prompts, keys, strict=True)]


def rules_of(
    model: GLM, special: SpecialTokens, config: DecodeConfig, ends: tuple[int, ...] = ()
) -> Rules:
    # The token before the last one is fed at place `limit` of the span, the last one never.
    limit = min(config.max_new_tokens, model.config.max_positions)
    return Rules(config, special.sop, ends or (special.eop, special.eos), limit)


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


@torch.inference_mode()
def advance(
    model: GLM,
    prompts: Sequence[Prompt],
    rows: Sequence[Row],
    rules: Rules,
    num_tokens: int,
) -> Iterator[list[list[Candidate]]]:
    """Fill the rows token by token; gives what each text that is not done goes on from."""
    config = rules.config
    active = list(rows)
    weight = model.word_embedding.weight
    longest = max(len(prompt.part_a) for prompt in prompts)
    room = longest + config.num_beams * min(rules.limit, FIRST_ROOM)
    cache = KeyValueCache(
        model.config, len(rows), room, weight.dtype, weight.device, config.num_beams
    )
    hidden = prefill(model, prompts, rules.sop, cache)  # [R, H]
    hidden = hidden.repeat_interleave(config.num_beams, 0)  # [R x K, H]
    while True:
        candidates = offer(model.logits(hidden), active, num_tokens, rules)
        done = [row.take(best, rules) for row, best in zip(active, candidates, strict=True)]
        yield candidates
        staying = [number for number, row in enumerate(active) if not row.is_done]
        if not staying:
            return
        if len(staying) < len(active):
            cache.keep(staying)
            active = [active[number] for number in staying]
        if config.num_beams > 1:
            for row_number, finished in enumerate(done[number] for number in staying):
                if finished is not None:
                    cache.settle(row_number, finished.path)
            cache.follow([beam.path for row in active for beam in row.padded(config.num_beams)])
            for row, first in zip(active, cache.lengths, strict=True):
                # What the beams are fed next stands at these places of the cache.
                row.beams = [
                    replace(it, path=(*it.path, n)) for n, it in enumerate(row.beams, first)
                ]
        inputs = [fed for row in active for fed in row.next_inputs(rules)]
        fed = torch.tensor(inputs, device=weight.device)  # [R x K, 3]
        hidden = model.step(fed[:, 0], fed[:, 1:].T, cache)  # [R x K, H]


def offer(
    logits: Tensor, rows: Sequence[Row], num_tokens: int, rules: Rules
) -> list[list[Candidate]]:
    """The candidates of each row: the best ones over its beams, or the one that is drawn."""
    config = rules.config
    offered = logits[:, :num_tokens]
    if config.min_new_tokens or config.no_repeat_ngram:
        blocked = [
            blocked_tokens(beam.ids, [fill.ids for fill in row.fills], rules.ends, config)
            for row in rows
            for beam in row.padded(config.num_beams)
        ]
        offered = without(offered, blocked, rules.ends)
    if config.temperature == 0:
        return rank(logits, offered, rows, rules)
    # The seed, the line and the count of its draws fix each number.
    keys = np.array([row.key for row in rows], np.uint64)
    points = uniform(keys, Purpose.TOKEN, np.array([row.num_draws for row in rows])).tolist()
    for row in rows:
        row.num_draws += 1
    drawn = draw(logits, offered, config, points)
    return [[Candidate(0, token, log_prob)] for token, log_prob in drawn]


def prefill(model: GLM, prompts: Sequence[Prompt], sop: int, cache: KeyValueCache) -> Tensor:
    """Run what is fed to every prompt at once, [R, H] at the last tokens."""
    device = model.word_embedding.weight.device
    rows, part_a_lengths = zip(*(prompt.fed(sop) for prompt in prompts), strict=True)
    tokens = torch.tensor([token for row in rows for token in row], device=device)  # [T, 3]
    segments = Segments(tuple(map(len, rows)), part_a_lengths)
    ends = torch.tensor(segments.lengths, device=device).cumsum(0) - 1  # [R]
    return model.hidden(tokens[:, 0], tokens[:, 1:].T, segments, ends, cache)


def insert(prompt: Prompt, fills: Sequence[Fill], tokenizer: Tokenizer) -> Infilling:
    """Put the fills into the text as it was typed, without doubling the space before a blank."""
    text, *rest = around_blanks(prompt.text, tokenizer.special)
    blanks = []
    for fill, following in zip(fills, rest, strict=True):
        words, *others = (words_after(text, it.ids, tokenizer) for it in (fill, *fill.ranked))
        n_best = tuple(
            Alternative(other, it.ids, it.log_prob, it.finish, it.score)
            for other, it in zip(others, fill.ranked, strict=True)
        )
        blanks.append(Blank(words, fill.ids, fill.log_prob, fill.finish, n_best))
        text += words + following
    return Infilling(text, tuple(blanks))


def words_after(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """The text of a fill where it stands."""
    words = tokenizer.decode(ids)
    return words.removeprefix(" ") if not text or text.endswith(" ") else words


def around_blanks(text: str, special: SpecialTokens) -> list[str]:
    """The parts of a text before, between and after its blanks."""
    blanks = blank_ids(special)
    names = [re.escape(name) for name, token in special.strings.items() if token in blanks]
    return re.split("|".join(names), text)


def blank_ids(special: SpecialTokens) -> set[int | None]:
    return {special.mask, special.smask, special.gmask}
