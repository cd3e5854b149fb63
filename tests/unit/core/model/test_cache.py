"""Decoding token by token on a cache equals one pass over everything."""

import pytest
import torch

from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.sight import Segments


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


def test_a_full_cache_grows(model, packed):
    ids, places, a = packed.sample(0)
    steps = []
    for capacity in (8, 16):
        cache = KeyValueCache(model.config, 1, capacity, torch.float64, packed.ids.device)
        with torch.inference_mode():
            model.hidden(ids[:a], places[:, :a], Segments((a,), (a,)), None, cache)
            for i in range(a, len(ids)):
                step = model.step(ids[i : i + 1], places[:, i : i + 1], cache)
        steps.append(step)
    torch.testing.assert_close(*steps, rtol=0, atol=0)


def test_beams_see_what_is_settled_and_their_own_path(model, packed):
    """Two beams a text: one goes on from the other, and the texts have lengths of their own."""
    parts = [packed.sample(number) for number in (0, 1)]
    ids = torch.cat([ids[:a] for ids, _, a in parts])
    places = torch.cat([places[:, :a] for _, places, a in parts], 1)
    lengths = tuple(a for _, _, a in parts)
    cache = KeyValueCache(model.config, 2, 10, torch.float64, ids.device, num_beams=2)
    blank = torch.tensor([[1, 1, 2, 2], [1, 1, 1, 1]])

    def alone(row, tokens):
        own, own_places, a = parts[row]
        spans = torch.tensor([[int(blank[0, 2 * row])] * len(tokens), range(1, len(tokens) + 1)])
        return model.hidden(
            torch.cat([own[:a], torch.tensor(tokens)]),
            torch.cat([own_places[:, :a], spans], 1),
            Segments((a + len(tokens),), (a,)),
        )[-1]

    with torch.inference_mode():
        model.hidden(ids, places, Segments(lengths, lengths), None, cache)
        cache.follow([()] * 4)
        model.step(torch.tensor([5, 6, 7, 8]), blank, cache)
        # Both beams of the first text go on from its second one, those of the other cross over.
        (a, b) = lengths
        cache.follow([(a + 1,), (a + 1,), (b + 1,), (b,)])
        blank[1] += 1
        found = model.step(torch.tensor([9, 10, 11, 12]), blank, cache)
        expected = [alone(0, [6, 9]), alone(0, [6, 10]), alone(1, [8, 11]), alone(1, [7, 12])]
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
        cache.settle(0, [a + 1, a + 3])
        assert cache.lengths == [a + 2, b + 4]
        cache.follow([(), (), (b + 1, b + 2), (b, b + 3)])
        blank[1] += 1
        found = model.step(torch.tensor([5, 6, 5, 6]), blank, cache)
        expected = [
            alone(0, [6, 10, 5]), alone(0, [6, 10, 6]), alone(1, [8, 11, 5]), alone(1, [7, 12, 6])
        ]  # fmt: skip
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
