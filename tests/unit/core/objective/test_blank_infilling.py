import numpy as np
import pytest

from glmctl.core.objective.blank_infilling import (
    DOCUMENT,
    SENTENCE,
    TOKEN,
    Blanks,
    Examples,
    assemble,
)
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError
from glmctl.recipe.schema import ObjectiveConfig

SPECIAL = SpecialTokens(
    pad=0,
    eos=0,
    sep=9,
    cls=90,
    mask=100,
    unk=9,
    sop=101,
    eop=102,
    smask=103,
    gmask=104,
    noise=105,
    sentinel_masks=(201,),
    sentinel_starts=(301,),
    strings={},
)


def hide(
    rows: list[list[int]],
    spans: list[list[int]],
    *,
    objective: int = TOKEN,
    is_suffix: bool = False,
    noise: list[int] | None = None,
    offset: int = 0,
    source_loss_mask: list[int] | None = None,
    **options: object,
) -> Examples:
    tokens = np.array([token for row in rows for token in row], np.int32)
    blanks = Blanks(
        spans=np.array(spans, np.int64).reshape(-1, 3),
        objective=np.full(len(rows), objective, np.uint8),
        is_suffix=np.full(len(rows), is_suffix),
        position_offsets=np.full(len(rows), offset),
        noise=None if noise is None else np.isin(np.arange(len(tokens)), noise),
    )
    return assemble(
        tokens,
        np.array([len(row) for row in rows]),
        blanks,
        SPECIAL,
        ObjectiveConfig.model_validate(options),
        max_positions=50,
        source_loss_mask=None if source_loss_mask is None else np.array(source_loss_mask, np.uint8),
    )


def test_assemble_gives_the_worked_example_of_the_paper():
    example = hide([[1, 2, 3, 4, 5, 6]], [[0, 4, 6], [0, 2, 3]])
    assert example.input_ids.tolist() == [1, 2, 100, 4, 100, 101, 5, 6, 101, 3]
    assert example.target_ids[example.part_a_lengths[0] :].tolist() == [5, 6, 102, 3, 102]
    assert example.position_ids[0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 2, 2]
    assert example.position_ids[1].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]
    assert example.loss_mask.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_targets_of_part_a_are_its_tokens():
    example = hide([[1, 2, 3, 4]], [[0, 1, 3]])
    assert example.target_ids.tolist() == [1, 100, 4, 2, 3, 102]


def test_samples_do_not_touch_each_other():
    example = hide([[1, 2, 3], [4, 5], [6, 7, 8, 9]], [[0, 1, 2], [2, 0, 1], [2, 2, 4]])
    first, second, third = [1, 100, 3, 101, 2], [4, 5], [100, 7, 100, 101, 6, 101, 8, 9]
    assert example.input_ids.tolist() == first + second + third
    assert example.lengths.tolist() == [5, 2, 8]
    assert example.part_a_lengths.tolist() == [3, 2, 3]
    assert example.position_ids[0].tolist() == [0, 1, 2, 1, 1, 0, 1, 0, 1, 2, 0, 0, 2, 2, 2]


def test_neighbouring_spans_keep_a_mask_each():
    example = hide([[1, 2, 3, 4, 5]], [[0, 3, 4], [0, 1, 3]], objective=SENTENCE)
    assert example.input_ids.tolist() == [1, 103, 103, 5, 101, 4, 101, 2, 3]
    assert example.position_ids[0].tolist() == [0, 1, 2, 3, 2, 2, 1, 1, 1]


def test_the_mask_is_that_of_the_objective():
    assert hide([[1, 2, 3]], [[0, 1, 2]], objective=DOCUMENT).input_ids[1] == 104


def test_a_suffix_has_no_end_token():
    example = hide([[1, 2, 3, 4]], [[0, 2, 4]], objective=DOCUMENT, is_suffix=True)
    assert example.input_ids.tolist() == [1, 2, 104, 101, 3]
    assert example.target_ids.tolist() == [1, 2, 104, 3, 4]
    assert example.position_ids.tolist() == [[0, 1, 2, 2, 2], [0, 0, 0, 1, 2]]


def test_given_tokens_of_a_suffix_carry_no_loss():
    example = hide([[1, 2, 3, 4]], [[0, 1, 4]], is_suffix=True, source_loss_mask=[1, 1, 0, 1])
    assert example.target_ids.tolist() == [1, 100, 2, 3, 4]
    assert example.loss_mask.tolist() == [0, 0, 1, 0, 1]


def test_given_tokens_count_in_other_spans_as_released():
    example = hide([[1, 2, 3, 4]], [[0, 1, 3]], source_loss_mask=[0, 0, 0, 0])
    assert example.loss_mask.tolist() == [0, 0, 0, 1, 1, 1]


def test_without_a_second_position_part_b_is_1_everywhere():
    example = hide([[1, 2, 3, 4]], [[0, 1, 3]], second_position=False)
    assert example.position_ids[1].tolist() == [0, 0, 0, 1, 1, 1]


def test_an_offset_shifts_all_places_of_the_text():
    example = hide([[1, 2, 3, 4]], [[0, 1, 3]], offset=7)
    assert example.position_ids.tolist() == [[7, 8, 9, 8, 8, 8], [0, 0, 0, 1, 2, 3]]


def test_sentinels_number_the_spans_in_part_b_order():
    example = hide([[1, 2, 3, 4, 5]], [[0, 3, 4], [0, 1, 2]], sentinel=True)
    assert example.input_ids.tolist() == [1, 201, 3, 100, 5, 101, 4, 301, 2]
    assert example.position_ids[0].tolist() == [0, 1, 2, 3, 4, 50, 50, 50, 50]


def test_more_spans_than_sentinels_are_refused():
    with pytest.raises(InputError, match="3 spans and the tokenizer 1 sentinel pairs; raise"):
        hide([[1, 2, 3, 4, 5, 6]], [[0, 1, 2], [0, 3, 4], [0, 5, 6]], sentinel=True)


def test_noise_replaces_what_is_fed_and_not_what_is_predicted():
    example = hide([[1, 2, 3, 4, 5, 6]], [[0, 1, 3]], noise=[2, 5])
    assert example.input_ids.tolist() == [1, 100, 4, 5, 105, 101, 2, 105]
    assert example.target_ids.tolist() == [1, 100, 4, 5, 6, 2, 3, 102]


def test_noise_never_replaces_a_control_token():
    example = hide([[1, 2, 3, 4]], [[0, 1, 3]], noise=[0, 1, 2, 3])
    assert example.input_ids.tolist() == [105, 100, 105, 101, 105, 105]


def test_masked_lm_masks_in_place():
    example = hide([[1, 2, 3, 4], [5, 6]], [[0, 1, 3], [1, 1, 2]], kind="mlm")
    assert example.input_ids.tolist() == [1, 100, 100, 4, 5, 100]
    assert example.target_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert example.loss_mask.tolist() == [0, 1, 1, 0, 0, 1]
    assert example.position_ids.tolist() == [[0, 1, 2, 3, 0, 1], [0] * 6]
    assert example.part_a_lengths.tolist() == [4, 2]


def test_a_sample_without_spans_is_only_part_a():
    example = hide([[1, 2]], [])
    assert example.input_ids.tolist() == [1, 2]
    assert example.loss_mask.tolist() == [0, 0]
    assert example.lengths.tolist() == example.part_a_lengths.tolist() == [2]
