"""Decoding token by token on a cache equals one pass over everything."""

import pytest
import torch

from glmctl.core.model.attention import Segments
from glmctl.core.model.cache import KeyValueCache


def fill(model, packed, numbers, num_steps=5):
    """Prefill Part A of the samples, then feed tokens of their Part B, [steps, R, H]."""
    parts = [packed.sample(number) for number in numbers]
    ids = torch.cat([ids[:a] for ids, _, a in parts])
    places = torch.cat([places[:, :a] for _, places, a in parts], 1)
    lengths = tuple(a for _, _, a in parts)
    cache = KeyValueCache(model.config, len(parts), 16, torch.float64, ids.device)
    model.hidden(ids, places, Segments(lengths, lengths), None, cache)
    steps = []
    for i in range(num_steps):
        token = torch.stack([ids[a + i] for ids, _, a in parts])
        place = torch.stack([places[:, a + i] for _, places, a in parts], 1)
        steps.append(model.step(token, place, cache))
    return torch.stack(steps), cache


@pytest.mark.parametrize("numbers", [[0], [1], [0, 1], [1, 0, 1]])
def test_steps_equal_the_full_pass_for_ragged_rows(model, packed, numbers):
    with torch.inference_mode():
        steps, _ = fill(model, packed, numbers)
        everything = model.hidden(packed.ids, packed.places, packed.segments)
    for row, number in enumerate(numbers):
        start = packed.segments.starts[number] + packed.segments.part_a_lengths[number]
        expected = everything[start : start + len(steps)]
        torch.testing.assert_close(steps[:, row], expected, rtol=0, atol=1e-12)


def test_rows_that_are_kept_go_on_as_if_alone(model, packed):
    with torch.inference_mode():
        _, cache = fill(model, packed, [0, 1])
        _, alone = fill(model, packed, [1])
        cache.keep([1])
        assert cache.lengths == alone.lengths == [8]
        token, place = torch.tensor([9]), torch.tensor([[1], [6]])
        ours, theirs = model.step(token, place, cache), model.step(token, place, alone)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_full_cache_refuses_another_token(model, packed):
    cache = KeyValueCache(model.config, 1, 8, torch.float64, packed.ids.device)
    ids, places, a = packed.sample(0)
    with torch.inference_mode():
        model.hidden(ids[:a], places[:, :a], Segments((a,), (a,)), None, cache)
        with pytest.raises(AssertionError, match="full"):
            model.step(ids[a : a + 1], places[:, a : a + 1], cache)
