"""Which neighbouring samples share an attention call."""

import pytest
import torch

from glmctl.core.model.attention import Segments, Sight
from glmctl.core.model.glm import GLM

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
