"""Scores what could stand in a blank: the log-probability of each candidate's tokens.

Candidates are packed, one sample for each different input, and logits are made only where a
candidate's token is predicted; candidates of one token share a single sample.

Shapes: T packed tokens, M rows with a prediction, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from glmctl.core.decode.infill import Prompt, around_blanks
from glmctl.core.decode.search import Fill
from glmctl.core.model.attention import Segments
from glmctl.core.model.glm import GLM
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError

# Tokens of one forward pass; more candidates are scored in several.
MAX_TOKENS = 1 << 15

Token = tuple[int, int, int]
"""Id, place in Part A and place in the span."""


@dataclass(frozen=True)
class Candidate:
    """Tokens that could fill one blank, after what is known so far."""

    part_a: tuple[int, ...]
    part_b: tuple[Token, ...]  # of earlier blanks
    place: int  # of the blank in Part A
    targets: tuple[int, ...]


def sum_log_probs(model: GLM, candidates: Sequence[Candidate], sop: int) -> list[float]:
    """Sum of the log-probabilities of each candidate's targets.

    Args:
        model: in evaluation mode.
        candidates: any number, each with at least one target.
        sop: id of the token that opens a span.
    """
    return [score for group in groups(candidates) for score in score_group(model, group, sop)]


def groups(candidates: Iterable[Candidate]) -> Iterable[list[Candidate]]:
    """Cut the candidates into runs of at most MAX_TOKENS tokens, each with at least one."""
    group: list[Candidate] = []
    num_tokens = 0
    for candidate in candidates:
        length = len(candidate.part_a) + len(candidate.part_b) + len(candidate.targets)
        if group and num_tokens + length > MAX_TOKENS:
            yield group
            group, num_tokens = [], 0
        group.append(candidate)
        num_tokens += length
    if group:
        yield group


def score_group(model: GLM, candidates: Sequence[Candidate], sop: int) -> list[float]:
    """`sum_log_probs` of candidates that fit into one forward pass."""
    first_row: dict[Candidate, int] = {}  # of each different input, among the M
    num_rows = 0
    rows: list[int] = []
    for candidate in candidates:
        fed = replace(candidate, targets=candidate.targets[:-1])
        if fed not in first_row:
            first_row[fed] = num_rows
            num_rows += len(candidate.targets)
        rows += range(first_row[fed], first_row[fed] + len(candidate.targets))
    log_probs = predict(model, list(first_row), sop)  # [M, V]
    targets = [token for candidate in candidates for token in candidate.targets]
    single = log_probs[rows, targets]  # one for each target of each candidate
    lengths = [len(candidate.targets) for candidate in candidates]
    return [part.sum().item() for part in torch.split(single, lengths)]


def predict(model: GLM, inputs: Sequence[Candidate], sop: int) -> Tensor:
    """Log-probabilities of all vocabulary rows after sop and after every target, [M, V]."""
    ids: list[int] = []
    places: list[int] = []
    in_span: list[int] = []
    lengths: list[int] = []
    wanted: list[int] = []
    for fed in inputs:
        span = (sop, *fed.targets)
        before = len(ids)
        ids += (*fed.part_a, *(token for token, _, _ in fed.part_b), *span)
        places += (*range(len(fed.part_a)), *(place for _, place, _ in fed.part_b))
        places += [fed.place] * len(span)
        in_span += (*[0] * len(fed.part_a), *(inner for _, _, inner in fed.part_b))
        in_span += range(1, len(span) + 1)
        lengths.append(len(ids) - before)
        wanted += range(len(ids) - len(span), len(ids))
    device = model.word_embedding.weight.device
    segments = Segments(tuple(lengths), tuple(len(fed.part_a) for fed in inputs))
    hidden = model.hidden(
        torch.tensor(ids, device=device),
        torch.tensor([places, in_span], device=device),  # [2, T]
        segments,
        torch.tensor(wanted, device=device),
    )
    return model.logits(hidden).log_softmax(1)


def score_choices(
    model: GLM,
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    choices: Sequence[Sequence[str]],
    *,
    include_end: bool,
) -> list[list[float]]:
    """Score for each prompt, which has one blank, what could stand there."""
    end = (tokenizer.special.eop,) if include_end else ()
    candidates = []
    for number, (prompt, words) in enumerate(zip(prompts, choices, strict=True), 1):
        if len(prompt.places) > 1:
            raise InputError(
                f"text {number}", f"holds {len(prompt.places)} blanks; a score is that of one"
            )
        candidates += [
            Candidate(prompt.part_a, (), prompt.places[0], (*ids, *end))
            for ids in encode_choices(words, prompt, 0, tokenizer, model.config.max_positions)
        ]
    scores = iter(sum_log_probs(model, candidates, tokenizer.special.sop))
    return [[next(scores) for _ in words] for words in choices]


def fill_with_choices(
    model: GLM, prompts: Sequence[Prompt], tokenizer: Tokenizer, choices: Sequence[str]
) -> list[list[Fill]]:
    """Put the best choice into each blank of each prompt, the earlier ones in sight."""
    if not choices:
        raise InputError("choices", "are empty; give at least one")
    sop, limit = tokenizer.special.sop, model.config.max_positions
    fills: list[list[Fill]] = [[] for _ in prompts]
    part_b: list[tuple[Token, ...]] = [()] * len(prompts)
    for blank in range(max(len(prompt.places) for prompt in prompts)):
        offers = {
            row: encode_choices(choices, prompt, blank, tokenizer, limit)
            for row, prompt in enumerate(prompts)
            if blank < len(prompt.places)
        }
        candidates = [
            Candidate(prompts[row].part_a, part_b[row], prompts[row].places[blank], ids)
            for row, offered in offers.items()
            for ids in offered
        ]
        scores = iter(sum_log_probs(model, candidates, sop))
        for row, offered in offers.items():
            scored = [(next(scores), ids) for ids in offered]
            log_prob, ids = max(scored, key=itemgetter(0))
            fills[row].append(Fill(ids, log_prob, "choice"))
            place = prompts[row].places[blank]
            part_b[row] += tuple((token, place, i) for i, token in enumerate((sop, *ids), 1))
    return fills


def encode_choices(
    choices: Sequence[str], prompt: Prompt, blank: int, tokenizer: Tokenizer, max_positions: int
) -> list[tuple[int, ...]]:
    """The tokens of each choice where it would stand; control strings in it are text.

    A blank takes the space before it along, so the choice brings that space back.

    Raises:
        InputError: a choice has no token, or more than the model has positions.
    """
    before = around_blanks(prompt.text, tokenizer.special)[blank]
    encoded = []
    for choice in choices:
        lead = " " if before.endswith(" ") and not choice.startswith(" ") else ""
        ids = tuple(tokenizer.encode(lead + choice, special=False))
        if not choice or not 0 < len(ids) <= max_positions:
            raise InputError(
                f"choice '{choice}'",
                f"has {len(ids):,} tokens; it needs at least one and at most {max_positions:,}",
            )
        encoded.append(ids)
    return encoded
