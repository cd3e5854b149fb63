"""The open ways to fill a blank: several beams, or one, by the best token or by draws.

Beam search, of which one beam is the greedy choice, works as the released code does for
sequence-to-sequence tasks, always on the best candidates (`--select-topk`). A fill scores

    log-probability of its tokens and of its end / length ** length_penalty

where the end does not count for the length, which is 1 at least. The candidates of a step are
ranked over all beams of a text; one that ends the blank is a finished fill when it stands among
the first `num_beams`, and the best `num_beams` of the others are the next beams. A blank is done
when it has `num_beams` finished fills and no open beam, divided by its present length, scores
better than the worst of them; at `max_new_tokens`, where open beams count as finished. With a
positive length penalty a beam that was given up might have become the best one: the rule is that
of the released code, and tuned settings count on it.

Shapes: R texts, K beams of a text, V vocabulary rows, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from glmctl.recipe.schema import DecodeConfig

Finish = Literal["end", "length", "choice"]
Token = tuple[int, int, int]  # id, place in Part A and place in the span


@dataclass(frozen=True)
class Fill:
    """The tokens of one blank; neither `ids` nor `log_prob` counts the end token."""

    ids: tuple[int, ...]
    log_prob: float
    finish: Finish
    end: int | None = None
    token_log_probs: tuple[float, ...] = ()  # of the ids, then of the end, as they were chosen
    score: float = 0.0  # what beams are ranked by
    ranked: tuple[Fill, ...] = ()
    """The best fills of this blank, itself the first; empty unless several were asked for."""
    path: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """Where its tokens stand in the cache."""


@dataclass(frozen=True)
class Rules:
    config: DecodeConfig
    sop: int
    ends: tuple[int, ...]
    limit: int


class Candidate(NamedTuple):
    """A token that could follow one of the beams, and its log-probability there."""

    beam: int
    token: int
    log_prob: float


@dataclass(frozen=True)
class Beam:
    """One way to fill the blank, as far as it is."""

    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    total: float = 0.0
    path: tuple[int, ...] = ()  # where its tokens stand in the cache

    def add(self, token: int, log_prob: float) -> Beam:
        return Beam(
            (*self.ids, token), (*self.log_probs, log_prob), self.total + log_prob, self.path
        )

    def finish(self, end: Candidate | None, length_penalty: float) -> Fill:
        """The fill; without an end it was cut off."""
        added = () if end is None else (end.log_prob,)
        total = self.total + sum(added)
        return Fill(
            self.ids,
            self.total,
            "length" if end is None else "end",
            None if end is None else end.token,
            (*self.log_probs, *added),
            total / max(1, len(self.ids)) ** length_penalty,
            path=self.path,
        )


@dataclass
class Row:
    """A text on its way: its finished blanks and the beams of the one being filled."""

    places: tuple[int, ...]
    key: int  # of the draws
    ahead: Sequence[tuple[int, int]] = ()
    """Both places of what follows a sequence that goes on; those of a blank follow from its own."""
    fills: list[Fill] = field(default_factory=list)
    beams: list[Beam] = field(default_factory=lambda: [Beam()])  # best first
    finished: list[Fill] = field(default_factory=list)  # best first
    num_draws: int = 0

    @property
    def is_done(self) -> bool:
        return len(self.fills) == len(self.places)

    def take(self, candidates: Sequence[Candidate], rules: Rules) -> Fill | None:
        """Go on with the best candidates, best first; gives the fill when the blank is done."""
        num_beams, penalty = rules.config.num_beams, rules.config.length_penalty
        beams: list[Beam] = []
        ended: set[int] = set()  # a beam has two ways to end, and is one fill
        for rank, candidate in enumerate(candidates):
            beam = self.beams[candidate.beam]
            if candidate.token not in rules.ends:
                beams.append(beam.add(candidate.token, candidate.log_prob))
            elif rank < num_beams and candidate.beam not in ended:
                ended.add(candidate.beam)
                self.finished.append(beam.finish(candidate, penalty))
        self.beams = beams[:num_beams]
        if self.beams and len(self.beams[0].ids) == rules.limit:
            self.finished += [beam.finish(None, penalty) for beam in self.beams]
            self.beams = []
        self.finished = sorted(self.finished, key=attrgetter("score"), reverse=True)[:num_beams]
        if self.beams:
            best_open = self.beams[0].finish(None, penalty).score
            if len(self.finished) < num_beams or self.finished[-1].score < best_open:
                return None
        best, n_best = self.finished[0], rules.config.n_best
        ranked = tuple(self.finished[:n_best]) if n_best > 1 else ()
        self.fills.append(replace(best, ranked=ranked))
        self.beams, self.finished = [Beam()], []
        return best

    def next_inputs(self, rules: Rules) -> Iterator[Token]:
        """Token, place in Part A and place in the span that each beam is fed; sop opens a blank.

        A token that filled a blank up to its limit is never fed, as in the original. Missing beams
        are fed what the first one is, and their candidates are not read.
        """
        place = self.places[len(self.fills)]
        for beam in self.padded(rules.config.num_beams):
            if self.ahead:
                yield beam.ids[-1], *self.ahead[len(beam.ids) - 1]
            else:
                yield beam.ids[-1] if beam.ids else rules.sop, place, len(beam.ids) + 1

    def padded(self, num_beams: int) -> list[Beam]:
        return self.beams + [self.beams[0]] * (num_beams - len(self.beams))


def rank(
    logits: Tensor, offered: Tensor, rows: Sequence[Row], rules: Rules
) -> list[list[Candidate]]:
    """The best candidates of each text over all its beams, best first.

    Args:
        logits: [R x K, V].
        offered: those of tokens that may be chosen, -inf where one is blocked.
        rows: the texts, K beams each.
        rules: so many candidates that, whichever end, K go on.
    """
    num_beams = rules.config.num_beams
    wanted = num_beams * (1 + len(rules.ends))
    top, ids = offered.topk(min(wanted, offered.shape[1]))  # [R x K, C]
    log_probs = logits.log_softmax(1).gather(1, ids).double()
    log_probs = log_probs.masked_fill(top == float("-inf"), float("-inf"))
    totals = [
        beam.total if i < len(row.beams) else float("-inf")
        for row in rows
        for i, beam in enumerate(row.padded(num_beams))
    ]
    sums = log_probs + log_probs.new_tensor(totals)[:, None]
    sums, ids, log_probs = (x.reshape(len(rows), -1) for x in (sums, ids, log_probs))  # [R, K x C]
    best, index = sums.topk(min(wanted, sums.shape[1]))
    # One transfer, so that a GPU is waited for once a step.
    columns = (best, index // top.shape[1], ids.gather(1, index), log_probs.gather(1, index))
    return [
        [
            Candidate(int(beam), int(token), log_prob)
            for total, beam, token, log_prob in candidates
            if total > float("-inf")
        ]
        for candidates in torch.stack([column.double() for column in columns], 2).tolist()
    ]
