"""Metrics against values computed by hand from their official definitions."""

import pytest

from glmctl.core.tasks.metrics import Judged, measure, token_f1, wilson

YES_NO = ("no", "yes")


def judged(pairs, groups=None):
    numbers = groups or range(len(pairs))
    return [
        Judged(group, prediction, gold if isinstance(gold, tuple) else (gold,))
        for group, (prediction, gold) in zip(numbers, pairs, strict=True)
    ]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("yes", "yes"), ("no", "yes"), ("no", "no"), ("no", "no")], 75.0),
        ([("yes", "no")], 0.0),
        ([("yes", "yes")], 100.0),
        ([("yes", "yes"), ("yes", "no"), ("no", "yes")], 100 / 3),
        ([("", "yes"), ("yes", "yes")], 50.0),
    ],
)
def test_accuracy_is_the_share_of_right_labels(pairs, expected):
    assert measure("accuracy", judged(pairs), YES_NO).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # precision 1/2, recall 1/3
        ([("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "yes")], 40.0),
        ([("no", "yes"), ("no", "no")], 0.0),
        ([("no", "no"), ("no", "no")], 0.0),
        ([("yes", "yes"), ("no", "no")], 100.0),
        ([("yes", "no"), ("yes", "yes")], 200 / 3),
    ],
)
def test_f1_is_of_the_second_label(pairs, expected):
    assert measure("f1", judged(pairs), YES_NO).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # a: 2/3, b: 2/3, c: 0 (never predicted, once actual)
        ([("a", "a"), ("b", "b"), ("a", "c"), ("b", "b"), ("b", "a")], 100 * (0.5 + 0.8) / 3),
        ([("a", "a"), ("b", "b")], 100.0),  # c does not occur
        ([("a", "b"), ("b", "a")], 0.0),
        ([("a", "a"), ("a", "b")], 100 * (2 / 3) / 2),
        ([("c", "a")], 0.0),
    ],
)
def test_macro_f1_is_the_mean_over_the_labels_that_occur(pairs, expected):
    value = measure("f1_macro", judged(pairs), ("a", "b", "c")).value
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # true positives 2, false positives 1, false negatives 1, true negatives 1
        (
            [("yes", "yes")] * 2 + [("yes", "no"), ("no", "yes"), ("no", "no")],
            100 * (2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5,
        ),
        ([("yes", "yes"), ("no", "no")], 100.0),
        ([("no", "yes"), ("yes", "no")], -100.0),
        ([("yes", "yes"), ("yes", "no")], 0.0),  # one label only: not defined
        ([("yes", "yes")], 0.0),
    ],
)
def test_matthews_coefficient(pairs, expected):
    assert measure("matthews", judged(pairs), YES_NO).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("groups", "right", "expected"),
    [
        ([1, 1, 2, 2], [True, True, True, False], 50.0),
        ([1, 2, 1, 2], [True, True, False, True], 50.0),
        ([1], [False], 0.0),
        ([1, 1, 1], [True, True, True], 100.0),
        ([1, 2, 3, 3], [True, False, True, True], 200 / 3),
    ],
)
def test_a_question_with_several_answers_is_right_when_all_of_them_are(groups, right, expected):
    pairs = [("yes", "yes" if it else "no") for it in right]
    value = measure("exact_groups", judged(pairs, groups), YES_NO).value
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("The Grey Cat.", ("grey cat",), 100.0, 100.0),
        ("grey cat", ("the big grey cat",), 0.0, 80.0),  # 2 of 2 and 2 of 3 words
        ("", ("cat",), 0.0, 0.0),
        ("cat", (), 0.0, 0.0),
        ("a cat", ("dog", "an oven", "cat"), 100.0, 100.0),
        ("cat cat dog", ("cat dog dog",), 0.0, 200 / 3),  # each word as often as in both
        ("its oven", ("it's oven",), 100.0, 100.0),
    ],
)
def test_an_answer_is_compared_with_the_closest_gold(prediction, golds, exact, overlap):
    rows = judged([(prediction, golds)])
    assert measure("exact_match", rows, ()).value == pytest.approx(exact, abs=1e-12)
    assert measure("token_f1", rows, ()).value == pytest.approx(overlap, abs=1e-12)


def test_words_in_common_are_counted_once_each():
    assert token_f1("cat cat", "cat") == pytest.approx(2 / 3)


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
