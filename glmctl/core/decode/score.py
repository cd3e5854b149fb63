"""Scores what could stand in a blank: the log-probability of each candidate's tokens.

Candidates are packed: those with one Part A share it, as pieces of Part B that do not see each
other, and those that differ in their last token alone share the piece. A causal model has no
blanks and reads a row for each candidate. Logits are made only where a token is predicted.

Shapes: T packed tokens, M rows with a prediction, H hidden, V vocabulary rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

import torch
from torch import Tensor

from glmctl.core.decode.infill import Prompt, around_blanks
from glmctl.core.decode.search import Fill, Token
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError

MAX_TOKENS = 1 << 13  # of one forward pass; more candidates are scored in several
MAX_ROWS = 1 << 9  # of which all logits are in the memory at once

Sample = tuple[tuple[int, ...], tuple[Token, ...] | Literal[False]]
"""What its pieces share: Part A or, where they share nothing, the one piece."""


@dataclass(frozen=True)
class Candidate:
    """Tokens that could fill one blank, or go on with a text, after what is known so far."""

    part_a: tuple[int, ...]
    part_b: tuple[Token, ...]  # of earlier blanks
    place: int | None  # of the blank in Part A; None: a causal model goes on behind Part A
    targets: tuple[int, ...]
    num_given: int = 0  # the first targets, which are read and count in no score

    @property
    def num_predicted(self) -> int:
        return len(self.targets) - self.num_given

    def front(self) -> tuple[int, ...]:
        """What is read in both directions."""
        return () if self.place is None else self.part_a

    def piece(self, sop: int) -> tuple[Token, ...]:
        """What is read from left to right: all but the last target."""
        if self.place is None:
            row = (*self.part_a, *self.targets[:-1])
            return tuple((token, i, 0) for i, token in enumerate(row))
        span = (sop, *self.targets[:-1])
        return self.part_b + tuple((token, self.place, i) for i, token in enumerate(span, 1))


@dataclass(frozen=True)
class Score:
    log_prob: float  # of its targets, summed
    logit: float  # of its targets, summed
    num_missed: int  # targets that are not the best token where they stand


def sum_log_probs(model: GLM, candidates: Sequence[Candidate], sop: int) -> list[float]:
    """Sum of the log-probabilities of each candidate's targets; as `score_candidates`."""
    return [score.log_prob for score in score_candidates(model, candidates, sop)]


@torch.inference_mode()
def score_candidates(model: GLM, candidates: Sequence[Candidate], sop: int) -> list[Score]:
    """Score candidates, those with one Part A side by side, by a model in evaluation mode."""
    scores = []
    device = model.word_embedding.weight.device
    for group in groups(candidates):
        packed = pack(group, sop, device)
        rows, targets = packed.rows, packed.target_ids
        hidden = model.hidden(
            packed.input_ids, packed.position_ids, packed.segments, packed.wanted
        )  # [M, H]
        single = torch.zeros(3, len(rows), dtype=torch.float64)
        for start in range(0, len(hidden), MAX_ROWS):
            logits = model.logits(hidden[start : start + MAX_ROWS])  # [rows, V]
            (here,) = torch.where((rows >= start) & (rows < start + MAX_ROWS))
            row, target = rows[here] - start, targets[here]
            logit = logits[row, target]
            log_prob = logit - logits.logsumexp(1)[row]
            is_missed = logits.argmax(1)[row] != target
            single[:, here.cpu()] = torch.stack([log_prob, logit, is_missed]).double().cpu()
        lengths = [candidate.num_predicted for candidate in group]
        totals = (part.sum(1).tolist() for part in single.split(lengths, 1))
        scores += [Score(log_prob, logit, int(missed)) for log_prob, logit, missed in totals]
    return scores


def groups(candidates: Iterable[Candidate]) -> Iterable[list[Candidate]]:
    """Cut the candidates into runs of about MAX_TOKENS tokens, each with at least one."""
    group: list[Candidate] = []
    num_tokens = 0
    for candidate in candidates:
        length = len(candidate.part_b) + len(candidate.targets)
        if not group or candidate.part_a != group[-1].part_a:
            length += len(candidate.part_a)
        if group and num_tokens + length > MAX_TOKENS:
            yield group
            group, num_tokens = [], 0
        group.append(candidate)
        num_tokens += length
    if group:
        yield group


@dataclass(frozen=True)
class Packed:
    input_ids: Tensor  # [T]
    position_ids: Tensor  # [2, T]
    segments: Segments
    wanted: Tensor  # places where something is predicted, ascending, [M]
    rows: Tensor
    """For every target of every candidate, one candidate after another, its row among them."""
    target_ids: Tensor  # and its id


def pack(group: Sequence[Candidate], sop: int, device: torch.device | None = None) -> Packed:
    """Lay candidates out for one forward pass; those that share Part A are its pieces."""
    samples: dict[Sample, dict[tuple[Token, ...], int]] = {}
    for candidate in group:
        piece = candidate.piece(sop)
        pieces = samples.setdefault((candidate.front(), candidate.place is None and piece), {})
        pieces[piece] = max(pieces.get(piece, 0), candidate.num_predicted)
    tokens: list[Token] = []
    wanted: list[int] = []
    last_row: dict[tuple[tuple[int, ...], tuple[Token, ...]], int] = {}
    lengths = []
    for (front, _), pieces in samples.items():
        before = len(tokens)
        tokens += [(token, place, 0) for place, token in enumerate(front)]
        for piece, num_predicted in pieces.items():
            tokens += piece
            wanted += range(len(tokens) - num_predicted, len(tokens))
            last_row[front, piece] = len(wanted)
        lengths.append(len(tokens) - before)
    shares = any(len(pieces) > 1 for pieces in samples.values())
    segments = Segments(
        tuple(lengths),
        tuple(len(front) for front, _ in samples),
        tuple(tuple(map(len, pieces)) for pieces in samples.values()) if shares else None,
    )
    ids, *places = torch.tensor(tokens, device=device).T.contiguous()  # [T] each
    rows: list[int] = []
    for candidate in group:
        end = last_row[candidate.front(), candidate.piece(sop)]
        rows += range(end - candidate.num_predicted, end)
    targets = [token for it in group for token in it.targets[it.num_given :]]
    return Packed(
        ids,
        torch.stack(places),
        segments,
        torch.tensor(wanted, device=device),
        torch.tensor(rows, device=device),
        torch.tensor(targets, device=device),
    )


def score_choices(
    model: GLM,
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    choices: Sequence[Sequence[str]],
    *,
    include_end: bool,
) -> list[list[float]]:
    """Score for each prompt, which has one blank, what could stand there."""
    for number, prompt in enumerate(prompts, 1):
        if len(prompt.places) > 1:
            raise InputError(
                f"text {number}", f"holds {len(prompt.places)} blanks; a score is that of one"
            )
    end = (tokenizer.special.eop,) if include_end else ()
    before: list[tuple[Token, ...]] = [()] * len(prompts)
    scored = score_blank(model, prompts, tokenizer, choices, 0, before, end)
    return [[score for score, _ in offered] for offered in scored]


def fill_with_choices(
    model: GLM, prompts: Sequence[Prompt], tokenizer: Tokenizer, choices: Sequence[str]
) -> list[list[Fill]]:
    """Put the best choice into each blank of each prompt, the earlier ones in sight."""
    if not choices:
        raise InputError("choices", "are empty; give at least one")
    fills: list[list[Fill]] = [[] for _ in prompts]
    part_b: list[tuple[Token, ...]] = [()] * len(prompts)
    for blank in range(max(len(prompt.places) for prompt in prompts)):
        rows = [row for row, prompt in enumerate(prompts) if blank < len(prompt.places)]
        there, before = [prompts[row] for row in rows], [part_b[row] for row in rows]
        scored = score_blank(model, there, tokenizer, [choices] * len(rows), blank, before)
        for row, offered in zip(rows, scored, strict=True):
            log_prob, ids = max(offered, key=itemgetter(0))
            fills[row].append(Fill(ids, log_prob, "choice"))
            place, span = prompts[row].places[blank], (tokenizer.special.sop, *ids)
            part_b[row] += tuple((token, place, i) for i, token in enumerate(span, 1))
    return fills


def score_blank(
    model: GLM,
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    choices: Sequence[Sequence[str]],
    blank: int,
    part_b: Sequence[tuple[Token, ...]],
    end: tuple[int, ...] = (),
) -> list[list[tuple[float, tuple[int, ...]]]]:
    """Score for each prompt what could stand in a blank, behind the spans of the earlier ones."""
    limit = model.config.max_positions
    offers = [
        encode_choices(words, prompt, blank, tokenizer, limit)
        for words, prompt in zip(choices, prompts, strict=True)
    ]
    candidates = [
        Candidate(prompt.part_a, before, prompt.places[blank], (*ids, *end))
        for prompt, before, offered in zip(prompts, part_b, offers, strict=True)
        for ids in offered
    ]
    scores = iter(sum_log_probs(model, candidates, tokenizer.special.sop))
    return [[(next(scores), ids) for ids in offered] for offered in offers]


def encode_choices(
    choices: Sequence[str], prompt: Prompt, blank: int, tokenizer: Tokenizer, max_positions: int
) -> list[tuple[int, ...]]:
    """The tokens of each choice where it would stand; control strings in it are text.

    A blank takes the space before it along, so the choice brings that space back.
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
