from collections import Counter

import numpy as np
import pytest
from scipy import stats

from glmctl.core.objective.blank_infilling import Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.objective.statistics import SpanCounter, SpanStatistics, chi_square, upper_tail
from glmctl.core.tokenizer.load import find_tokenizer
from glmctl.recipe.schema import ObjectiveConfig

TOKENIZER = find_tokenizer()


def corruption(**options: object) -> Corruption:
    config = ObjectiveConfig.model_validate(options)
    return Corruption(config, TOKENIZER.special, TOKENIZER.sentence_ends(), 9999)


def count(length: int, num_samples: int = 600, seed: int = 1, **options: object) -> SpanStatistics:
    """Statistics of texts of one length."""
    corrupt = corruption(**options)
    counter = SpanCounter(corrupt)
    tokens = np.tile([TOKENIZER.special.cls, *[50] * (length - 1)], num_samples)
    lengths = np.full(num_samples, length)
    keys = sample_keys(seed, 0, np.arange(num_samples))
    counter.add(tokens, lengths, corrupt(tokens, lengths, keys))
    return counter.result()


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 37])
@pytest.mark.parametrize("distance", [0.0, 0.3, 5.0, 40.0, 300.0])
def test_the_tail_of_the_chi_square_is_that_of_scipy(degrees: int, distance: float):
    expected = stats.chi2.sf(distance, degrees)
    assert upper_tail(distance, degrees) == pytest.approx(expected, rel=1e-10)


def test_the_chi_square_is_that_of_scipy_and_rare_lengths_share_a_cell():
    found = chi_square(Counter({1: 52, 2: 28, 3: 18, 4: 2, 5: 1}), [0.5, 0.3, 0.15, 0.04, 0.01])
    assert found is not None
    # Of length 4 or 5, 5.05 spans are expected together.
    expected = stats.chisquare([52, 28, 18, 3], [50.5, 30.3, 15.15, 5.05])
    assert (found.num_spans, found.degrees_of_freedom) == (101, 3)
    assert found.chi_square == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("observed", [{}, {1: 4, 2: 3}])
def test_too_few_spans_are_not_tested(observed: dict[int, int]):
    assert chi_square(Counter(observed), [0.5, 0.5]) is None


def test_what_is_drawn_follows_the_law_as_often_as_chance_has_it():
    values = [count(128, 200, seed).test.p_value for seed in range(60)]
    assert stats.kstest(values, "uniform").pvalue > 0.001


@pytest.mark.parametrize("change", [{"mean_span_length": 3.3}, {"max_span_length": 8}])
def test_another_law_is_noticed(change: dict[str, float]):
    corrupt, claimed = corruption(**change), corruption()
    counter = SpanCounter(claimed)
    tokens, lengths = np.full(400_000, 50), np.full(2000, 200)
    keys = sample_keys(1, 0, np.arange(2000))
    counter.add(tokens, lengths, corrupt(tokens, lengths, keys))
    assert counter.result().test.p_value < 1e-6


def test_lines_that_may_cut_a_span_are_not_tested():
    found = count(12)
    assert found.objectives["token"]["num_spans"] == 600
    assert found.test is None
    assert (
        found.law == "not tested: too few short spans in lines with room for all that may be drawn"
    )


@pytest.mark.parametrize("weights", [{"sentence_weight": 1.0}, {"document_weight": 1.0}])
def test_spans_without_a_law_are_not_tested_and_it_is_said(weights: dict[str, float]):
    found = count(100, token_weight=0.0, **weights)
    assert found.test is None
    assert found.law.startswith("not tested: a sentence or a long span is as long as its text")


def test_a_mix_tests_its_short_spans_alone():
    found = count(200, token_weight=0.5, document_weight=0.5)
    assert list(found.objectives) == ["token", "document"]
    assert found.objectives["document"]["law_share"] is None
    assert found.test.num_spans == found.objectives["token"]["num_spans"]
    assert found.test.p_value > 1e-4


def test_spans_in_place_have_the_law_too():
    assert count(200, kind="mlm").test.p_value > 1e-4


def two_examples() -> Examples:
    """Of 10 and 6 tokens: spans 7-9, 1-2, 4-5 of the first, 1-3 of the second."""
    none = np.zeros(0, np.int32)
    return Examples(
        input_ids=none,
        target_ids=none,
        loss_mask=none.astype(np.uint8),
        position_ids=np.zeros((2, 0), np.int32),
        lengths=np.array([16, 8]),
        part_a_lengths=np.array([9, 5]),
        objective=np.zeros(2, np.uint8),
        spans=np.array([[0, 7, 9], [0, 1, 2], [0, 4, 5], [1, 1, 3]]),
    )


def test_lengths_and_shares_are_counted():
    counter = SpanCounter(corruption())
    for _ in range(2):
        counter.add(np.full(16, 50), np.array([10, 6]), two_examples())
    counter.num_failed = 3
    found = counter.result()
    assert (found.num_lines, found.num_failed_lines) == (7, 3)
    token = found.objectives["token"]
    assert (token["num_lines"], token["num_source_tokens"], token["num_spans"]) == (4, 32, 8)
    assert token["masked_share"] == 12 / 32
    assert token["mean_span_length"] == 1.5
    assert token["span_lengths"] == {1: 4, 2: 4}
    assert token["part_a"] == {"shortest": 5, "mean": 7.0, "longest": 9}
    assert token["part_b"] == {"shortest": 3, "mean": 5.0, "longest": 7}
