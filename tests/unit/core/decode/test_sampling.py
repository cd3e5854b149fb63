import math

import pytest
import torch

from glmctl.core.decode.sampling import blocked_tokens, draw, without
from glmctl.recipe.schema import DecodeConfig

ENDS = (91, 92)
LOGITS = torch.tensor([[0.2, 0.5, 0.3]]).log()


def drawn(uniform: float, **settings: float) -> int:
    config = DecodeConfig(temperature=1.0, **settings)
    return draw(LOGITS, LOGITS, config, [uniform])[0][0]


def test_tokens_beyond_the_tokenizer_are_never_drawn_but_count_in_the_softmax():
    found = draw(LOGITS, LOGITS[:, :1], DecodeConfig(temperature=1.0), [0.9])
    assert found == [(0, pytest.approx(math.log(0.2)))]


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 0), (1 - 2**-53, 0)]
)
def test_a_draw_inverts_the_distribution_function_from_the_best_token_down(uniform, token):
    assert drawn(uniform) == token


def test_a_blocked_token_is_not_drawn_and_leaves_the_log_probability_alone():
    offered = torch.tensor([[0.2, 0.0, 0.3]]).log()
    config = DecodeConfig(temperature=1.0)
    assert draw(LOGITS, offered, config, [0.59]) == [(2, pytest.approx(math.log(0.3)))]
    assert draw(LOGITS, offered, config, [0.61])[0][0] == 0


@pytest.mark.parametrize(("uniform", "token"), [(0.62, 1), (0.63, 2), (1 - 2**-53, 2)])
def test_top_k_draws_among_the_best_k(uniform, token):
    assert drawn(uniform, top_k=2) == token


@pytest.mark.parametrize(("top_p", "token"), [(0.5, 1), (0.51, 2), (0.8, 2), (0.81, 0)])
def test_top_p_draws_among_the_fewest_tokens_that_reach_it(top_p, token):
    assert drawn(1 - 2**-53, top_p=top_p) == token


def test_a_low_temperature_sharpens_the_draw_but_not_the_log_probability():
    # p ** 2 = 0.25, 0.09, 0.04: the best one has 0.658 of their sum.
    logits = LOGITS.expand(2, 3)
    found = draw(logits, logits, DecodeConfig(temperature=0.5), [0.65, 0.67])
    expected = [(1, math.log(0.5)), (2, math.log(0.3))]
    assert found == [(token, pytest.approx(log_prob)) for token, log_prob in expected]


def test_narrowing_a_draw_that_is_not_made_is_refused():
    with pytest.raises(ValueError, match="top_k: 4 narrows a draw, and temperature 0 draws noth"):
        DecodeConfig(top_k=4)


@pytest.mark.parametrize(
    ("ids", "size", "blocked"),
    [
        ((5, 6, 7, 5, 6), 3, {7}),
        ((5, 6, 7, 5, 6, 8, 5, 6), 3, {7, 8}),
        ((5, 6), 3, set()),
        ((5, 5), 2, {5}),
        ((5, 6), 1, {5, 6}),
        ((), 1, set()),
        ((5, 6, 5), 0, set()),
    ],
)
def test_an_n_gram_is_not_written_twice(ids, size, blocked):
    config = DecodeConfig(no_repeat_ngram=size)
    assert blocked_tokens(ids, [], ENDS, config) == blocked


def test_n_grams_of_earlier_blanks_count_and_none_spans_two_blanks():
    config = DecodeConfig(no_repeat_ngram=2)
    assert blocked_tokens((6,), [(5, 6, 7), (8,)], ENDS, config) == {7}
    assert blocked_tokens((7,), [(5, 6, 7), (8,)], ENDS, config) == set()


@pytest.mark.parametrize(("ids", "blocked"), [((5,), {91, 92}), ((5, 6), set())])
def test_a_blank_ends_no_earlier_than_it_may(ids, blocked):
    assert blocked_tokens(ids, [], ENDS, DecodeConfig(min_new_tokens=2)) == blocked


def test_blocked_tokens_lose_their_logit_and_the_given_logits_stay():
    logits = torch.zeros(2, 3)
    assert without(logits, [set(), {0, 2}], {2}).tolist() == [[0, 0, 0], [-math.inf, 0, -math.inf]]
    assert logits.sum() == 0


def test_a_blank_may_end_when_every_token_is_blocked():
    assert without(torch.zeros(1, 2), [{0, 1}], {1}).tolist() == [[-math.inf, 0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 2, "temperature": 0.5}, "temperature: 0.5 draws, and 2 beams take the best"),
        ({"n_best": 3}, "n_best: 3 fills need as many beams, and num_beams is 1; raise it"),
        ({"length_penalty": 0.7}, "length_penalty: 0.7 ranks beams, and num_beams is 1; raise"),
        ({"min_new_tokens": 65}, "min_new_tokens: 65 is more than max_new_tokens 64; lower it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**settings)
