"""From hidden states to token losses, without ever holding all logits.

Shapes: M rows, H hidden, V rows of the vocabulary, K targets of all candidates, C candidates, Q
questions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Logits held at once; a chunk of this size is worth its kernel launches and fits any cache level
# poorly anyway, so only memory speaks for a smaller one.
MAX_LOGITS = 1 << 24

Losses = tuple[Tensor, Tensor]
"""The sum, through which gradients flow, and the single losses, which carry none."""


def summed_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of tied logits against target ids.

    Args:
        hidden: normed hidden states, [M, H].
        weight: word embedding, [V, H].
        targets: ids to predict, [M].
        smoothing: share of the aim that is spread evenly over all rows of the vocabulary.

    Returns:
        The sum of the losses, through which gradients flow, and the single losses [M], which
        carry none.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    total, losses = _SummedCrossEntropy.apply(hidden, weight, targets, dtype, smoothing)  # type: ignore[no-untyped-call]
    return total, losses


@dataclass(frozen=True)
class Choices:
    """Which targets make up the candidates of which questions."""

    by_logit: bool
    """A candidate scores by the logits of its targets; False: by their log-probabilities."""
    rows: Tensor  # of the hidden states, in which each target is predicted, [K]
    candidate: Tensor  # of each target, [K]
    question: Tensor  # of each candidate, [C]
    place: Tensor  # of each candidate in its question, [C]
    divisor: Tensor  # of each candidate's score, [C]
    right: Tensor  # place of the right candidate, or between two of them, [Q]

    def cross_entropy(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> Losses:
        return choice_cross_entropy(hidden, weight, targets, self)

    def to(self, device: torch.device) -> Choices:
        return replace(
            self,
            rows=self.rows.to(device),
            candidate=self.candidate.to(device),
            question=self.question.to(device),
            place=self.place.to(device),
            divisor=self.divisor.to(device),
            right=self.right.to(device),
        )


@dataclass(frozen=True)
class Written:
    """Targets of answers that are to be written."""

    rows: Tensor  # of the hidden states, in which each target is predicted, [K]
    smoothing: float

    def to(self, device: torch.device) -> Written:
        return replace(self, rows=self.rows.to(device))

    def cross_entropy(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> Losses:
        return summed_cross_entropy(hidden[self.rows], weight, targets, self.smoothing)


@dataclass(frozen=True)
class Classes:
    """Scores of a head, row by row, and the questions in which they compete."""

    question: Tensor  # of each score
    place: Tensor  # of each score in its question
    right: Tensor  # place of the right one, or between two of them, [Q]

    def to(self, device: torch.device) -> Classes:
        return Classes(self.question.to(device), self.place.to(device), self.right.to(device))

    def cross_entropy(self, scores: Tensor) -> Losses:
        exact = scores.flatten().to(torch.promote_types(scores.dtype, torch.float32))
        return right_cross_entropy(exact, self.question, self.place, self.right)


Aim = Choices | Written | Classes
"""What a question has in the place of token targets."""


def exact_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """Scores of all vocabulary rows in float32 or better, [M, H] -> [M, V]."""
    scores = F.linear(hidden, weight)
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def choice_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, choices: Choices
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the right candidates over the scores of all candidates of their questions.

    Args:
        hidden: normed hidden states, [M, H].
        weight: word embedding, [V, H].
        targets: ids of all candidates, [K].
        choices: what they are of.

    Returns:
        The sum of the losses, through which gradients flow, and the single losses [Q], which
        carry none.
    """
    if choices.by_logit:  # nobody needs the logits of other words
        scores = (hidden[choices.rows] * weight[targets]).sum(1)
    else:
        log_probs = exact_logits(hidden, weight).log_softmax(1)  # [M, V]
        scores = log_probs[choices.rows, targets]
    exact = torch.promote_types(scores.dtype, torch.float32)
    totals = torch.zeros_like(choices.divisor, dtype=exact)
    totals = totals.index_add(0, choices.candidate, scores.to(exact)) / choices.divisor.to(exact)
    return right_cross_entropy(totals, choices.question, choices.place, choices.right)


def right_cross_entropy(scores: Tensor, question: Tensor, place: Tensor, right: Tensor) -> Losses:
    """Cross-entropy of the right one among the scores of each question.

    Between two places both are right, the nearer one with the larger share.
    """
    table = scores.new_full((len(right), int(place.max()) + 1), float("-inf"))
    table = table.index_put((question, place), scores)  # [Q, most scores]
    log_probs, aim = table.log_softmax(1), right.to(table)
    low, high = (log_probs.gather(1, it.long()[:, None])[:, 0] for it in (aim, aim.ceil()))
    losses = -torch.lerp(low, high, aim.frac())
    return losses.sum(), losses.detach()


class _SummedCrossEntropy(torch.autograd.Function):
    """The gradient of a sum is known before backward, so logits are made once, in chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            cast_hidden, cast_weight = hidden.to(dtype), weight.to(dtype)
            exact = torch.promote_types(dtype, torch.float32)
            needs_grad = any(ctx.needs_input_grad[:2])
            losses, hidden_grads = [], []
            weight_grad: Tensor | None = None
            rows = max(1, MAX_LOGITS // weight.shape[0])
            for part, target in zip(cast_hidden.split(rows), targets.split(rows), strict=True):
                log_probs = (part @ cast_weight.T).to(exact).log_softmax(1)  # [rows, V]
                aimed = (1 - smoothing) * log_probs.gather(1, target[:, None])[:, 0]
                if smoothing:
                    aimed += smoothing * log_probs.mean(1)
                losses.append(-aimed)
                if not needs_grad:
                    continue
                grad = log_probs.exp_()
                grad -= smoothing / grad.shape[1]
                grad[torch.arange(len(target), device=target.device), target] -= 1 - smoothing
                logits_grad = grad.to(dtype)
                hidden_grads.append((logits_grad @ cast_weight).to(hidden.dtype))
                share = (logits_grad.T @ part).to(weight.dtype)  # [V, H]
                weight_grad = share if weight_grad is None else weight_grad.add_(share)
        if needs_grad:
            ctx.save_for_backward(torch.cat(hidden_grads), weight_grad)
        token_losses = torch.cat(losses)
        ctx.mark_non_differentiable(token_losses)
        return token_losses.sum(), token_losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * total_grad, weight_grad * total_grad, None, None, None
