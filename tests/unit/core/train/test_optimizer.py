"""The update rule and the clipping."""

import pytest
import torch
from torch import nn

from glmctl.core.model.glm import GLM
from glmctl.core.train.optimizer import (
    clip_gradients,
    decay_groups,
    make_optimizer,
    set_learning_rate,
)
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import OptimizerConfig


def tiny(position: str = "learned_2d") -> GLM:
    return GLM(
        ModelConfig(
            num_layers=1,
            hidden_size=8,
            num_attention_heads=2,
            max_positions=4,
            vocab_rows=16,
            position=position,
        )
    )


def test_norms_and_biases_do_not_decay_and_everything_else_does():
    decayed, kept = decay_groups(tiny())
    assert set(decayed) == {
        "word_embedding.weight",
        "position_embedding.weight",
        "span_position_embedding.weight",
        "blocks.0.attention.query_key_value.weight",
        "blocks.0.attention.output.weight",
        "blocks.0.ffn.up.weight",
        "blocks.0.ffn.down.weight",
    }
    assert len(kept) == 10


def test_the_query_biases_of_relative_positions_decay():
    decayed, _ = decay_groups(tiny("relative_xl"))
    assert {"relative.content_bias", "relative.distance_bias"} <= set(decayed)


def test_decay_shrinks_matrices_and_leaves_biases_and_norms_alone():
    model = tiny()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(model, OptimizerConfig(weight_decay=0.5))
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    assert model.word_embedding.weight[0, 0].item() == pytest.approx(0.95)
    assert model.blocks[0].attention.output.bias[0].item() == 1.0
    assert model.final_norm.weight[0].item() == 1.0


def test_a_set_rate_holds_for_all_groups():
    optimizer = make_optimizer(tiny(), OptimizerConfig(kind="sgd"))
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_gradients_above_the_norm_are_scaled_down_to_it():
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    first.grad, second.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([first, second], 1.0).item() == 5.0
    assert first.grad.item() == pytest.approx(0.6 * 5 / (5 + 1e-6), rel=1e-6)
    assert second.grad.item() == pytest.approx(0.8 * 5 / (5 + 1e-6), rel=1e-6)


def test_gradients_below_the_norm_stay_as_they_are():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([0.3, 0.4])
    assert clip_gradients([parameter], 1.0).item() == pytest.approx(0.5)
    assert parameter.grad.tolist() == torch.tensor([0.3, 0.4]).tolist()
