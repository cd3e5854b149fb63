"""Which neighbouring samples share an attention call."""

import pytest
import torch

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments, Sight

# Three samples of 6 tokens; the last one has another Part A.
SEGMENTS = Segments((6, 6, 6), (4, 4, 3))
IDS = torch.tensor([5, 6, 1, 7, 2, 8] * 3)
PLACES = torch.tensor(
    [[0, 1, 2, 3, 2, 2] * 2 + [0, 1, 2, 2, 2, 2], [0, 0, 0, 0, 1, 2] * 2 + [0, 0, 0, 1, 2, 3]]
)
PART_B = torch.tensor([4, 5, 10, 11, 15, 16, 17])


@pytest.mark.parametrize("wanted", [None, PART_B])
def test_samples_of_one_shape_share_a_call_and_others_do_not(wanted):
    runs = Sight(SEGMENTS, wanted, torch.zeros(1)).runs
    assert [(run.num_samples, run.part_a_length) for run in runs] == [(2, 4), (1, 3)]


def test_samples_of_one_length_and_another_part_a_give_what_each_gives_alone(model: GLM):
    alone = [
        model.hidden(IDS[at : at + 6], PLACES[:, at : at + 6], Segments((6,), (part_a,)))
        for at, part_a in ((0, 4), (6, 4), (12, 3))
    ]
    torch.testing.assert_close(model.hidden(IDS, PLACES, SEGMENTS), torch.cat(alone))
    of_part_b = model.hidden(IDS, PLACES, SEGMENTS, PART_B)
    torch.testing.assert_close(of_part_b, torch.cat(alone)[PART_B])


# Part A 0-3, then pieces of 2, 1 and 3 tokens; the same again, cut into pieces of 3 and 3.
CUT = Segments((10, 10), (4, 4), ((2, 1, 3), (3, 3)))
CUT_IDS = torch.tensor([5, 6, 1, 7, 2, 8, 2, 2, 9, 4] * 2)
CUT_PLACES = torch.tensor(
    [
        [0, 1, 2, 3, *[2] * 6] * 2,
        [*[0] * 4, 1, 2, 1, 1, 2, 3, *[0] * 4, 1, 2, 3, 1, 2, 3],
    ]
)


@pytest.mark.parametrize("wanted", [None, torch.tensor([5, 6, 9, 15, 16, 19])])
def test_pieces_of_part_b_give_what_each_gives_alone_behind_part_a(model: GLM, wanted):
    together = model.hidden(CUT_IDS, CUT_PLACES, CUT, wanted)
    everything = torch.full((20, 32), float("nan"), dtype=torch.float64)
    everything[slice(None) if wanted is None else wanted] = together
    checked = 0
    for start, pieces in ((0, ((4, 6), (6, 7), (7, 10))), (10, ((4, 7), (7, 10)))):
        for first, stop in pieces:
            rows = [*range(start, start + 4), *range(start + first, start + stop)]
            segments = Segments((len(rows),), (4,))
            alone = model.hidden(CUT_IDS[rows], CUT_PLACES[:, rows], segments)
            ours = everything[rows]
            kept = ~ours.isnan().any(1)
            checked += int(kept[4:].sum())
            torch.testing.assert_close(ours[kept], alone[kept])
    assert checked == (12 if wanted is None else 6)


def test_samples_that_are_cut_differently_do_not_share_a_call():
    same = Segments((10,) * 3, (4,) * 3, ((2, 4), (2, 4), (4, 2)))
    assert [run.num_samples for run in Sight(same, None, torch.zeros(1)).runs] == [2, 1]


def test_one_piece_is_a_whole_part_b():
    segments = Segments((6, 6), (4, 4), ((2,), ()))
    assert [run.num_samples for run in Sight(segments, None, torch.zeros(1)).runs] == [2]
