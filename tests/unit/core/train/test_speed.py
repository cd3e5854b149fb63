"""What a step needs, and what the machine can do."""

import torch

from glmctl.core.data.batch import Batch
from glmctl.core.model.sight import Segments
from glmctl.core.train.speed import measured_peak, needed_flops
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import TrainConfig

NONE = torch.empty(0, dtype=torch.int64)


def batch(lengths: tuple[int, ...], part_a: tuple[int, ...], num_targets: int) -> Batch:
    return Batch(NONE, NONE, Segments(lengths, part_a), NONE, NONE, NONE, num_targets)


def test_the_operations_of_a_step_are_those_counted_by_hand():
    config = ModelConfig(
        num_layers=2, hidden_size=2, num_attention_heads=1, max_positions=8, vocab_rows=10
    )
    # A = 3, B = 2: 9 pairs in A, 2 x 3 + 3 of B. First layer 24 x 4 x 5 + 8 x 18; last one keys
    # and values of 5 tokens, the rest of 2, 9 pairs; logits of 2 rows.
    forward = (480 + 144) + (4 * 4 * 5 + 20 * 4 * 2 + 8 * 9) + 2 * 2 * 10 * 2
    assert needed_flops(config, [batch((5,), (3,), 2)]) == 3 * forward
    assert needed_flops(config, [batch((5, 5), (3, 3), 4)]) == 3 * 2 * forward


def test_the_peak_is_that_of_a_processor():
    config = TrainConfig(steps=1, global_batch_size=1, micro_batch_size=1)
    assert 1e9 < measured_peak(config, torch.device("cpu")) < 1e14
