import pytest

from glmctl.core.objective.blank_infilling import restore

TARGETS = [1, 2, 100, 4, 100, 5, 6, 102, 3, 102]


def test_the_example_of_the_paper_comes_back():
    assert restore(TARGETS, 5, [(4, 6), (2, 3)]) == [1, 2, 3, 4, 5, 6]


def test_a_suffix_without_an_end_token_comes_back():
    assert restore([1, 2, 104, 3, 4], 3, [(2, 4)]) == [1, 2, 3, 4]


def test_targets_in_place_are_the_source():
    assert restore([1, 2, 3], 3, [(1, 2)]) == [1, 2, 3]


def test_neighbouring_spans_come_back():
    assert restore([1, 100, 100, 5, 4, 102, 2, 3, 102], 4, [(3, 4), (1, 3)]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("length", "spans", "message"),
    [
        (5, [(4, 6)], "10 tokens are not Part A"),
        (5, [(4, 6), (5, 6)], "the spans overlap or leave the text of 6 tokens"),
        (5, [(5, 7), (2, 3)], "the spans overlap or leave the text of 6 tokens"),
        (5, [(6, 4), (2, 7)], "the spans overlap or leave the text"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    length: int, spans: list[tuple[int, int]], message: str
):
    with pytest.raises(ValueError, match=message):
        restore(TARGETS, length, spans)
