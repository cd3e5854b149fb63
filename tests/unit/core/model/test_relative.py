"""Attention with relative positions against the same scores, written one by one."""

import torch
from torch import Tensor

from glmctl.core.model.attention import Attention
from glmctl.core.model.position import RelativePositions
from glmctl.core.model.sight import Segments, Sight
from glmctl.recipe.model import ModelConfig

PART_A, LENGTH, HEADS, WIDTH = 4, 6, 2, 8
CONFIG = ModelConfig(
    num_layers=1, hidden_size=WIDTH, num_attention_heads=HEADS, max_positions=8, vocab_rows=16,
    position="relative_xl", dropout=0.0, attention_dropout=0.0,
)  # fmt: skip


def filled(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.normal_(generator=generator)
    return module.eval()


def sinusoid(distance: int) -> Tensor:
    angle = distance / 10_000 ** (torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH)
    return torch.cat([angle.sin(), angle.cos()])


def distance_score(asked: Tensor, project, row: int, key: int) -> Tensor:
    """The released shift gives keys behind the next one the scores of the next row."""
    if key == row + 1:
        return asked.new_zeros(HEADS)
    late = key > row + 1
    distance = LENGTH - 1 - (key - row - 2) if late else row - key
    of_distance = project(sinusoid(distance)).view(HEADS, -1)
    return (asked[row + late] * of_distance).sum(1)


def reference(x: Tensor, attention: Attention, relative: RelativePositions) -> Tensor:
    parts = attention.query_key_value(x).split(WIDTH, 1)
    q, k, v = (part.view(LENGTH, HEADS, -1) for part in parts)
    mixed = torch.zeros_like(q)
    for row in range(LENGTH):
        seen = [key for key in range(LENGTH) if key < PART_A or key <= row]
        scores = torch.stack(
            [
                ((q[row] + relative.content_bias) * k[key]).sum(1)
                + distance_score(q + relative.distance_bias, attention.relative, row, key)
                for key in seen
            ]
        )  # [keys, N]
        weights = (scores / (WIDTH // HEADS) ** 0.5).softmax(0)
        mixed[row] = (weights[:, :, None] * v[seen]).sum(0)
    return attention.output(mixed.flatten(1))


def test_every_score_is_that_of_the_content_and_of_the_distance():
    attention, relative = filled(Attention(CONFIG), 1), filled(RelativePositions(CONFIG), 2)
    x = torch.randn(LENGTH, WIDTH, generator=torch.Generator().manual_seed(3)).double()
    sight = Sight(Segments((LENGTH,), (PART_A,)), None, x)
    with torch.no_grad():
        ours = attention(x, sight, None, relative, None)
        torch.testing.assert_close(ours, reference(x, attention, relative))
