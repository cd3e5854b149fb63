import math

import pytest
import torch

from glmctl.core.decode.constraint import blocked_tokens, without
from glmctl.recipe.schema import DecodeConfig

ENDS = (91, 92)


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
