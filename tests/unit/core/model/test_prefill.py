"""A cache that begins with more than Part A goes on behind all of it."""

import torch

from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.sight import Segments


def test_steps_after_a_prefill_with_two_tokens_of_part_b_equal_the_full_pass(model, packed):
    ids, places, part_a = packed.sample(0)  # 13 tokens, 8 of them Part A
    cache = KeyValueCache(model.config, 1, 16, torch.float64, ids.device)
    with torch.inference_mode():
        everything = model.hidden(ids, places, Segments((13,), (part_a,)))
        last = torch.tensor([9])
        begun = model.hidden(ids[:10], places[:, :10], Segments((10,), (part_a,)), last, cache)
        assert cache.lengths == [10]
        steps = [model.step(ids[i : i + 1], places[:, i : i + 1], cache) for i in range(10, 13)]
    torch.testing.assert_close(torch.cat([begun, *steps]), everything[9:], rtol=0, atol=1e-12)
