"""Initial weights follow the law of the released models."""

import pytest
import torch

from glmctl.core.model.glm import GLM
from glmctl.recipe.model import ModelConfig


def make_model(**values: object) -> GLM:
    sizes = {"num_layers": 8, "hidden_size": 128, "num_attention_heads": 4, "vocab_rows": 1024}
    model = GLM(ModelConfig.model_validate({**sizes, "max_positions": 255, **values}))
    model.init_weights(seed=7)
    return model


@pytest.fixture
def model() -> GLM:
    return make_model()


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("word_embedding.weight", 0.02),
        ("position_embedding.weight", 0.02),
        ("span_position_embedding.weight", 0.02),
        ("blocks.3.attention.query_key_value.weight", 0.02),
        ("blocks.3.ffn.up.weight", 0.02),
        ("blocks.3.attention.output.weight", 0.005),  # 0.02 / sqrt(2 x 8)
        ("blocks.3.ffn.down.weight", 0.005),
    ],
)
def test_matrices_are_normal_and_narrower_where_they_meet_the_stream(model, name, std):
    weight = model.get_parameter(name)
    assert weight.std().item() == pytest.approx(std, rel=0.03)
    assert weight.mean().item() == pytest.approx(0, abs=std / 20)


def test_the_recipe_sets_the_width_of_the_law(model):
    wide = make_model(init_std=0.06)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            assert torch.allclose(wide.get_parameter(name), 3 * parameter)


def test_position_tables_may_begin_as_waves_of_the_same_width():
    waves = make_model(position_init="sinusoidal").position_embedding.weight  # [256, 128]
    assert waves.std().item() == pytest.approx(0.02, rel=0.1)
    # The fastest pair of columns turns by one radian a place.
    sine, cosine = waves[:, 0] / waves[0, 64], waves[:, 64] / waves[0, 64]
    assert sine[1].item() == pytest.approx(0.8415, abs=1e-4)  # sin 1
    assert cosine[2].item() == pytest.approx(-0.4161, abs=1e-4)  # cos 2


def test_biases_start_at_0_and_norms_at_1(model):
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.all(parameter == 1)
        elif name.endswith("bias"):
            assert torch.all(parameter == 0)


def test_the_seed_alone_decides_the_weights(model):
    other = GLM(model.config)
    other.init_weights(seed=7)
    assert torch.equal(other.word_embedding.weight, model.word_embedding.weight)
    other.init_weights(seed=8)
    assert not torch.equal(other.word_embedding.weight, model.word_embedding.weight)
