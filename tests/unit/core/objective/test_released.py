"""The worked examples of the released sampler: ids 10 to 29 are text, seeds are batch numbers."""

from random import Random

import numpy as np

from glmctl.core.objective.blank_infilling import Examples
from glmctl.core.objective.released import ReleasedSampler, Row
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import ObjectiveConfig

SPECIAL = SpecialTokens(
    pad=0,
    eos=0,
    sep=9,
    cls=1,
    mask=2,
    unk=9,
    sop=3,
    eop=4,
    smask=6,
    gmask=5,
    noise=7,
    sentinel_masks=(102, 104),
    sentinel_starts=(103, 105),
    strings={},
)
TEXT = [1, *range(10, 30), 0]
LONGEST = 32
SENTENCE_ENDS = np.isin(np.arange(110), [19, 25])


def corrupt(tokens: list[int], seed: int, **options: object) -> Examples:
    config = ObjectiveConfig.model_validate(options)
    rng = Random(seed)
    sampler = ReleasedSampler(config, SPECIAL, SENTENCE_ENDS, LONGEST, rng, rng)
    return sampler.corrupt([Row(tokens, [0] + [1] * (len(tokens) - 1))])


def part_a(example: Examples) -> list[int]:
    return example.input_ids[: example.part_a_lengths[0]].tolist()


def part_b(example: Examples) -> list[int]:
    return example.input_ids[example.part_a_lengths[0] :].tolist()


def targets_of_part_b(example: Examples) -> list[int]:
    return example.target_ids[example.part_a_lengths[0] :].tolist()


def test_short_spans_of_batch_0():
    example = corrupt(TEXT, 0)
    visible = [1, 10, 11, 12, 13, 14, 2, 17, 18, 19, 2, 23, 24, 25, 26, 27, 28, 29, 0]
    assert example.input_ids.tolist() == [*visible, 3, 20, 21, 22, 3, 15, 16]
    assert example.target_ids.tolist() == [*visible, 20, 21, 22, 4, 15, 16, 4]
    assert example.position_ids[0].tolist() == [*range(19), 10, 10, 10, 10, 6, 6, 6]
    assert example.position_ids[1].tolist() == [0] * 19 + [1, 2, 3, 4, 1, 2, 3]
    assert example.loss_mask.tolist() == [0] * 19 + [1] * 7
    assert example.part_a_lengths.tolist() == [19]
    assert example.spans.tolist() == [[0, 11, 14], [0, 6, 8]]


def test_short_spans_of_batch_1():
    example = corrupt(TEXT, 1)
    assert example.part_a_lengths.tolist() == [19]
    assert part_b(example) == [3, 23, 24, 25, 3, 16, 17]
    assert example.position_ids[0, 19:].tolist() == [13] * 4 + [7] * 3


def test_spans_in_text_order_of_batch_1():
    example = corrupt(TEXT, 1, span_order="text")
    assert part_b(example) == [3, 16, 17, 3, 23, 24, 25]
    assert example.position_ids[0, 19:].tolist() == [7] * 3 + [13] * 4


def test_two_documents_in_a_row():
    tokens = [1, *range(10, 26), 0, 1, *range(40, 60), 0]
    example = corrupt(tokens, 0, mask_ratio=0.3)
    first = [1, 10, 11, 12, 13, 2, 17, 18, 19, 20, 21, 22, 23, 24, 25, 0]
    second = [1, 40, 2, 43, 44, 2, 48, 49, 50, 51, 52, 53, 54, 55, 2, 0]
    assert part_a(example) == first + second
    assert part_b(example) == [3, 41, 42, 3, 14, 15, 16, 3, 56, 57, 58, 59, 3, 45, 46, 47]
    places = [18] * 3 + [5] * 4 + [30] * 5 + [21] * 4
    assert example.position_ids[0, 32:].tolist() == places


def test_places_are_shifted_at_random():
    example = corrupt(TEXT, 2, mask_ratio=0.3, random_position=True)
    assert part_b(example) == [3, 21, 22, 23, 24, 25, 3, 13]
    assert example.position_ids[0].tolist() == [*range(9, 27), *[21] * 6, *[13] * 2]


def test_a_whole_sentence_is_hidden():
    example = corrupt(TEXT, 0, token_weight=0.0, sentence_weight=1.0)
    assert part_a(example) == [1, 6, *range(20, 30), 0]
    assert part_b(example) == [3, *range(10, 20)]
    assert targets_of_part_b(example) == [*range(10, 20), 4]
    assert example.position_ids[0, 13:].tolist() == [1] * 11


def document(seed: int) -> Examples:
    return corrupt(TEXT, seed, token_weight=0.0, document_weight=1.0, document_min_ratio=0.25)


def test_a_long_span_inside_the_text_has_an_end_token():
    example = document(0)
    assert part_a(example) == [1, *range(10, 17), 5, 0]
    assert targets_of_part_b(example) == [*range(17, 30), 4]
    assert part_a(document(5)) == [1, *range(10, 17), 5, *range(22, 30), 0]


def test_the_end_of_the_text_is_predicted_without_an_end_token():
    example = document(1)
    assert part_a(example) == [1, *range(10, 18), 5]
    assert part_b(example) == [3, *range(18, 30)]
    assert targets_of_part_b(example) == [*range(18, 30), 0]
    assert example.position_ids[0].tolist() == [*range(10), *[9] * 13]
    assert example.position_ids[1].tolist() == [0] * 10 + [*range(1, 14)]
    assert document(2).part_a_lengths.tolist() == [16]


def test_sentinels_number_the_spans_and_give_them_one_place():
    example = corrupt(TEXT, 2, mask_ratio=0.3, sentinel=True)
    assert part_a(example) == [1, 10, 11, 12, 102, *range(14, 21), 2, *range(26, 30), 0]
    assert part_b(example) == [3, 21, 22, 23, 24, 25, 103, 13]
    assert example.position_ids[0, 18:].tolist() == [32] * 8


def test_masked_lm_predicts_in_place():
    example = corrupt(TEXT, 0, kind="mlm")
    hidden = [6, 7, 11, 12, 13]
    wanted = [2 if place in hidden else token for place, token in enumerate(TEXT)]
    assert example.input_ids.tolist() == wanted
    assert example.target_ids.tolist() == TEXT
    assert np.flatnonzero(example.loss_mask).tolist() == hidden
    assert example.position_ids.tolist() == [[*range(22)], [0] * 22]
    assert example.part_a_lengths.tolist() == [22]


def test_a_row_whose_spans_find_no_place_is_left_out():
    short = [1, 10, 11, 12, 13, 14, 0]
    kept = [len(corrupt(short, seed).lengths) for seed in range(200)]
    # A span of six tokens or more does not fit: one draw in twelve is longer than five.
    assert 5 < kept.count(0) < 35
    assert corrupt(short, kept.index(0)).input_ids.tolist() == []
