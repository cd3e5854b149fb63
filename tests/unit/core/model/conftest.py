"""A small model in float64 and three packed samples for it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.recipe.model import ModelConfig


@dataclass(frozen=True)
class Packed:
    """Samples of 13, 9 and 6 tokens; the last one has no Part B."""

    ids: Tensor
    places: Tensor
    segments: Segments

    def sample(self, number: int) -> tuple[Tensor, Tensor, int]:
        start = self.segments.starts[number]
        stop = start + self.segments.lengths[number]
        return (
            self.ids[start:stop],
            self.places[:, start:stop],
            self.segments.part_a_lengths[number],
        )


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig(
        num_layers=3, hidden_size=32, num_attention_heads=4, max_positions=24, vocab_rows=128,
        dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip


@pytest.fixture
def model(config: ModelConfig) -> GLM:
    model = GLM(config).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.3 * noise + (parameter.dim() == 1))
    return model.eval()


@pytest.fixture
def packed() -> Packed:
    segments = Segments((13, 9, 6), (8, 3, 6))
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(0, 128, (28,), generator=generator)
    in_a = [*range(8), *[4] * 5, *range(3), *[1] * 6, *range(6)]
    in_span = [*[0] * 8, 1, 2, 3, 1, 2, *[0] * 3, *range(1, 7), *[0] * 6]
    return Packed(ids, torch.tensor([in_a, in_span]), segments)
