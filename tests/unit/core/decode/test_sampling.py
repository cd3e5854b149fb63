import math

import pytest
import torch

from glmctl.core.decode.sampling import choose
from glmctl.recipe.schema import DecodeConfig

LOGITS = torch.tensor([[0.2, 0.5, 0.3]]).log()


def draw(uniform: float, **settings: float) -> int:
    config = DecodeConfig(temperature=1.0, **settings)
    return choose(LOGITS, 3, config, [uniform]).ids[0]


def test_temperature_zero_takes_the_best_token_and_gives_its_log_probability():
    chosen = choose(LOGITS, 3, DecodeConfig(), [])
    assert chosen.ids == [1]
    assert chosen.log_probs[0] == pytest.approx(math.log(0.5))


def test_tokens_beyond_the_tokenizer_are_never_chosen_but_count_in_the_softmax():
    chosen = choose(LOGITS, 1, DecodeConfig(), [])
    assert chosen.ids == [0]
    assert chosen.log_probs[0] == pytest.approx(math.log(0.2))


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 0), (1 - 2**-53, 0)]
)
def test_a_draw_inverts_the_distribution_function_from_the_best_token_down(uniform, token):
    assert draw(uniform) == token


@pytest.mark.parametrize(("uniform", "token"), [(0.62, 1), (0.63, 2), (1 - 2**-53, 2)])
def test_top_k_draws_among_the_best_k(uniform, token):
    assert draw(uniform, top_k=2) == token


@pytest.mark.parametrize(("top_p", "token"), [(0.5, 1), (0.51, 2), (0.8, 2), (0.81, 0)])
def test_top_p_draws_among_the_fewest_tokens_that_reach_it(top_p, token):
    assert draw(1 - 2**-53, top_p=top_p) == token


def test_a_low_temperature_sharpens_the_draw_but_not_the_log_probability():
    # p ** 2 = 0.25, 0.09, 0.04: the best one has 0.658 of their sum.
    config = DecodeConfig(temperature=0.5)
    chosen = choose(LOGITS.expand(2, 3), 3, config, [0.65, 0.67])
    assert chosen.ids == [1, 2]
    assert chosen.log_probs == pytest.approx([math.log(0.5), math.log(0.3)])


def test_narrowing_a_draw_that_is_not_made_is_refused():
    with pytest.raises(ValueError, match="top_k: 4 narrows a draw, and temperature 0 draws noth"):
        DecodeConfig(top_k=4)
