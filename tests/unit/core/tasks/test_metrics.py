"""Intervals of metrics; their values are in test_metric_vectors.py."""

import pytest

from glmctl.core.tasks.metrics import Judged, measure, wilson

YES_NO = ("no", "yes")


def judged(pairs, groups=None):
    numbers = groups or range(len(pairs))
    return [
        Judged(group, prediction, gold if isinstance(gold, tuple) else (gold,))
        for group, (prediction, gold) in zip(numbers, pairs, strict=True)
    ]


def test_the_interval_of_a_share_is_wilsons():
    # Brown, Cai and DasGupta (2001), formula (4), with z = 1.96: 0 of 10 and 8 of 10.
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(0.8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-5)
    pairs = [("yes", "yes")] * 8 + [("yes", "no")] * 2
    value = measure("accuracy", judged(pairs), YES_NO)
    assert value.interval == pytest.approx((49.016, 94.331), abs=1e-3)
    assert value.method == "wilson"


def test_other_intervals_come_from_resampled_questions():
    # Answers of a question stand or fall together: 10 questions of 20 answers each.
    pairs, groups = [], []
    for question in range(10):
        pairs += [("yes", "yes" if question < 5 else "no")] * 20
        groups += [question] * 20
    value = measure("accuracy", judged(pairs, groups), YES_NO)
    assert (value.value, value.method) == (50.0, "bootstrap")
    low, high = value.interval
    assert 15 <= low <= 25
    assert 75 <= high <= 85
    assert measure("accuracy", judged(pairs, groups), YES_NO) == value
