"""The summed cross-entropy equals torch's, in chunks too."""

import pytest
import torch
from torch.nn import functional as F

from glmctl.core.model import heads
from glmctl.core.model.heads import Choices, choice_cross_entropy, summed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("max_logits", [1 << 24, 300, 1])
def test_losses_and_gradients_equal_torch_whatever_the_chunk(monkeypatch, max_logits, smoothing):
    monkeypatch.setattr(heads, "MAX_LOGITS", max_logits)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(100, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([3, 99, 0, 3, 50, 7, 7])
    total, losses = summed_cross_entropy(hidden, weight, targets, smoothing)
    (total * 0.5).backward()
    expected = F.cross_entropy(
        hidden @ weight.T, targets, reduction="none", label_smoothing=smoothing
    )
    torch.testing.assert_close(losses, expected.detach())
    hidden_grad, weight_grad = torch.autograd.grad(expected.sum() * 0.5, [hidden, weight])
    torch.testing.assert_close(hidden.grad, hidden_grad)
    torch.testing.assert_close(weight.grad, weight_grad)


def test_a_vast_score_gives_a_finite_loss():
    hidden = torch.tensor([[1e4]])
    total, _ = summed_cross_entropy(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    assert total.item() == pytest.approx(2e4)


def test_autocast_computes_in_bfloat16_and_sums_in_float32():
    hidden = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(32, 8, requires_grad=True)
    targets = torch.tensor([1, 2, 3, 4])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, losses = summed_cross_entropy(hidden, weight, targets)
    total.backward()
    scores = (hidden.bfloat16() @ weight.bfloat16().T).float()
    torch.testing.assert_close(losses, F.cross_entropy(scores, targets, reduction="none").detach())
    assert losses.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32


def choices_of(*, by_logit: bool) -> Choices:
    """Two questions: one of candidates 5 and [6, 7], one of 8, 9 and [9, 5], the last is right."""
    return Choices(
        by_logit,
        rows=torch.tensor([0, 0, 1, 2, 2, 2, 3]),
        candidate=torch.tensor([0, 1, 1, 2, 3, 4, 4]),
        question=torch.tensor([0, 0, 1, 1, 1]),
        place=torch.tensor([0, 1, 0, 1, 2]),
        divisor=torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0]),
        right=torch.tensor([0, 2]),
    )


@pytest.mark.parametrize("by_logit", [True, False])
def test_candidates_compete_within_their_question(by_logit):
    hidden = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(12, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([5, 6, 7, 8, 9, 9, 5])
    total, losses = choice_cross_entropy(hidden, weight, targets, choices_of(by_logit=by_logit))
    total.backward()
    s = hidden @ weight.T
    s = s if by_logit else s - s.exp().sum(1, keepdim=True).log()
    first = torch.stack([s[0, 5], (s[0, 6] + s[1, 7]) / 2])
    second = torch.stack([s[2, 8], s[2, 9], (s[2, 9] + s[3, 5]) / 2])
    expected = torch.stack(
        [first.exp().sum().log() - first[0], second.exp().sum().log() - second[2]]
    )
    torch.testing.assert_close(losses, expected.detach())
    hidden_grad, weight_grad = torch.autograd.grad(expected.sum(), [hidden, weight])
    torch.testing.assert_close(hidden.grad, hidden_grad)
    torch.testing.assert_close(weight.grad, weight_grad)
