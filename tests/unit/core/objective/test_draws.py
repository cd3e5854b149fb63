import numpy as np
import pytest

from glmctl.core.objective.draws import Purpose, below, bits, mix, sample_keys, uniform


def test_mix_is_that_of_splitmix64():
    # The first outputs of splitmix64 seeded with 0 are mix(n * golden ratio).
    golden = np.array([0x9E3779B97F4A7C15, 0x3C6EF372FE94F82A], np.uint64)
    assert mix(golden).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_a_key_depends_on_seed_epoch_and_index_only():
    index = np.arange(1000)
    keys = sample_keys(1, 2, index)
    assert sample_keys(1, 2, index[::-1]).tolist() == keys[::-1].tolist()
    assert sample_keys(1, 2, 17).tolist() == [keys[17]]


@pytest.mark.parametrize("other", [(2, 0), (1, 1), (0, 1)])
def test_another_seed_or_epoch_gives_other_keys(other: tuple[int, int]):
    index = np.arange(1000)
    both = np.concatenate([sample_keys(1, 0, index), sample_keys(*other, index)])
    assert len(np.unique(both)) == 2000


def test_purposes_and_counters_give_independent_numbers():
    keys = sample_keys(0, 0, np.arange(20_000))
    streams = [
        uniform(keys, Purpose.PLACE, 0),
        uniform(keys, Purpose.PLACE, 1),
        uniform(keys, Purpose.LENGTH, 0),
        uniform(sample_keys(0, 1, np.arange(20_000)), Purpose.PLACE, 0),
    ]
    correlation = np.corrcoef(streams) - np.eye(4)
    assert abs(correlation).max() < 0.03  # four standard errors


def test_uniform_numbers_fill_the_unit_interval():
    numbers = uniform(sample_keys(0, 0, np.arange(100_000)), Purpose.PLACE)
    counts = np.histogram(numbers, 10, (0, 1))[0]
    assert abs(counts - 10_000).max() < 500
    assert numbers.max() < 1


def test_below_reaches_every_value_and_not_the_limit():
    keys = sample_keys(0, 0, np.arange(1000))
    assert np.unique(below(np.full(1000, 7), keys, Purpose.PLACE)).tolist() == [*range(7)]


def test_numbers_do_not_change_between_versions():
    # A run that is continued must see the data it would have seen; made with Python integers.
    assert bits(sample_keys(1234, 0, 0), Purpose.OBJECTIVE).tolist() == [730802438097127015]
    assert bits(sample_keys(1234, 2, 77), Purpose.SPAN_ORDER, 5).tolist() == [17025554830564292837]
