"""The learning rate as a function of the updates done."""

import pytest

from glmctl.core.train.schedule import learning_rate
from glmctl.recipe.schema import ScheduleConfig


def rates(steps: list[int], *, total: int = 100, **values: object) -> list[float]:
    config = ScheduleConfig(**values)
    return [learning_rate(config, 1.0, step, total) for step in steps]


def test_the_warm_up_starts_with_a_rate_of_zero_and_reaches_the_peak():
    assert rates([0, 5, 10], kind="constant", warmup_steps=10) == [0.0, 0.5, 1.0]


def test_a_warm_up_may_be_a_share_of_the_steps():
    assert rates([0, 5, 10], kind="constant", warmup_ratio=0.1) == [0.0, 0.5, 1.0]


def test_the_linear_decay_stops_at_its_floor():
    found = rates([10, 55, 100, 150], kind="linear", warmup_steps=10, min_ratio=0.2)
    assert found == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_the_cosine_decay_of_the_large_recipe_has_the_released_rates():
    config = ScheduleConfig(kind="cosine", warmup_steps=8000, decay_steps=160_000, min_ratio=0.05)
    steps = (4000, 8000, 84_000, 120_000, 160_000, 200_000)
    found = [learning_rate(config, 2e-4, step, 200_000) for step in steps]
    assert found == pytest.approx([1e-4, 2e-4, 1.05e-4, 4.0658e-5, 1e-5, 1e-5], rel=1e-4)


def test_a_constant_rate_has_no_decay():
    assert rates([0, 50, 500], kind="constant") == [1.0, 1.0, 1.0]


def test_the_decay_ends_at_its_own_step_when_the_recipe_says_so():
    assert rates([50, 90], kind="linear", decay_steps=50) == [0.0, 0.0]


def test_a_warm_up_as_long_as_the_run_goes_straight_to_the_floor():
    assert rates([100, 101], kind="cosine", warmup_steps=100, min_ratio=0.5) == [1.0, 0.5]
