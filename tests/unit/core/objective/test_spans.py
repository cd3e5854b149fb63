import numpy as np
import pytest

from glmctl.core.objective.draws import Purpose, sample_keys
from glmctl.core.objective.spans import (
    LengthLaw,
    document_spans,
    sentence_spans,
    shuffled,
    token_spans,
)

LAW = LengthLaw(3.0, 39)
NUM_SAMPLES = 2000
KEYS = sample_keys(3, 0, np.arange(NUM_SAMPLES))


def test_lengths_have_the_poisson_weights_of_the_released_code():
    expected = [0.149361, 0.224042, 0.224042, 0.168031, 0.100819, 0.050409]
    assert LAW.weights[:6].round(6).tolist() == expected
    assert round(float(LAW.weights.sum()), 6) == 0.950213


def test_the_table_of_lengths_agrees_with_bisection():
    numbers = np.random.default_rng(0).random(100_000)
    numbers[:3] = 0.0, 1 - 2**-53, LAW.cumulative[0]
    expected = 1 + np.searchsorted(LAW.cumulative, numbers, side="right")
    assert (LAW.lengths(numbers) == expected).all()


def test_a_maximum_length_of_one_hides_single_tokens():
    spans = token_spans(np.full(5, 40), KEYS[:5], np.full(5, 6), LengthLaw(3.0, 1))
    assert (spans[:, 2] - spans[:, 1]).tolist() == [1] * 30


def test_token_spans_spare_both_ends_and_never_touch():
    lengths = np.random.default_rng(1).integers(1, 60, NUM_SAMPLES)
    spans = token_spans(lengths, KEYS, lengths // 3, LAW)
    sample, start, stop = spans.T
    assert (start >= 1).all()
    assert (stop <= lengths[sample] - 1).all()
    assert (stop > start).all()
    is_next = sample[1:] == sample[:-1]
    assert (start[1:] > stop[:-1])[is_next].all()
    assert (start == 1).any()
    assert (stop == lengths[sample] - 1).any()


def test_spans_are_drawn_until_they_hold_the_goal():
    spans = token_spans(np.full(NUM_SAMPLES, 512), KEYS, np.full(NUM_SAMPLES, 76), LAW)
    hidden = np.bincount(spans[:, 0], spans[:, 2] - spans[:, 1])
    assert hidden.min() == 76
    assert hidden.max() < 76 + 15
    last = spans[np.flatnonzero(np.diff(spans[:, 0], append=NUM_SAMPLES))]
    assert (hidden - (last[:, 2] - last[:, 1])).max() > 76  # the last drawn is not the last


def test_a_span_that_finds_no_room_is_cut():
    spans = token_spans(np.full(NUM_SAMPLES, 5), KEYS, np.full(NUM_SAMPLES, 1), LAW)
    size = spans[:, 2] - spans[:, 1]
    assert spans[:, 0].tolist() == [*range(NUM_SAMPLES)]
    # Cut at three: the weights of 3 and more.
    assert abs((size == 3).mean() - (0.950213 - 0.149361 - 0.224042) / 0.950213) < 0.05


@pytest.mark.parametrize("length", [1, 2])
def test_a_sample_without_room_has_no_span(length: int):
    assert token_spans(np.array([length]), KEYS[:1], np.array([1]), LAW).tolist() == []


def test_every_place_of_a_single_span_is_equally_likely():
    spans = token_spans(np.full(NUM_SAMPLES, 12), KEYS, np.ones(NUM_SAMPLES, int), LengthLaw(1, 1))
    counts = np.bincount(spans[:, 1], minlength=12)
    assert counts[[0, 11]].tolist() == [0, 0]
    assert abs(counts[1:11] - 200).max() < 60


def sentences(tokens: list[int], goal: int, seed: int = 0) -> list[list[int]]:
    """Token 7 ends a sentence, 0 is eos."""
    keys = sample_keys(seed, 0, 0)
    ends = np.arange(10) == 7
    spans = sentence_spans(
        np.array(tokens), np.array([len(tokens)]), keys, np.array([goal]), ends, 0
    )
    return spans[:, 1:].tolist()


def test_a_sentence_reaches_from_the_last_one_to_its_mark():
    assert sentences([9, 1, 7, 2, 2, 7, 3, 7, 0], 100) == [[1, 3], [3, 6], [6, 8]]


def test_a_last_sentence_without_a_mark_counts():
    assert sentences([9, 1, 7, 2, 2], 100) == [[1, 3], [3, 5]]
    assert sentences([9, 1, 7, 2, 2, 0], 100) == [[1, 3], [3, 5]]


def test_an_empty_text_has_no_sentence():
    assert sentences([9], 1) == []
    assert sentences([9, 0], 1) == []


def test_sentences_are_drawn_until_they_hold_the_goal():
    text = [9, 1, 7, 2, 7, 3, 7, 4, 7, 0]
    drawn = [sentences(text, 3, seed) for seed in range(200)]
    assert {len(spans) for spans in drawn} == {2}
    pairs = {tuple(start for start, _ in spans) for spans in drawn}
    assert pairs == {(1, 3), (1, 5), (1, 7), (3, 5), (3, 7), (5, 7)}


def test_no_goal_hides_no_sentence():
    assert sentences([9, 1, 7, 2, 7, 0], 0) == []


def test_long_spans_stay_in_the_sample():
    lengths = np.random.default_rng(1).integers(1, 40, NUM_SAMPLES)
    spans, is_suffix = document_spans(lengths, KEYS, 0.25, 0.5)
    sample, start, stop = spans.T
    assert sample.tolist() == np.flatnonzero(lengths > 2).tolist()
    size, length = stop - start, lengths[sample]
    assert (size >= np.maximum(1, (0.25 * length).astype(int))).all()
    assert (size <= length - 2).all()
    assert (stop == length)[is_suffix[sample]].all()
    inside = ~is_suffix[sample]
    assert (start[inside] >= 1).all()
    assert (stop[inside] <= length[inside] - 1).all()


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_suffix_form_can_be_always_or_never(probability: float):
    _, is_suffix = document_spans(np.full(50, 30), KEYS[:50], 0.5, probability)
    assert is_suffix.tolist() == [bool(probability)] * 50


def test_a_shuffle_stays_in_its_row():
    row = np.repeat(np.arange(100), 6)
    order = shuffled(row, KEYS, Purpose.SPAN_ORDER)
    assert sorted(order.tolist()) == [*range(600)]
    assert (row[order] == row).all()
    assert len({tuple(group % 6) for group in order.reshape(100, 6)}) > 80
