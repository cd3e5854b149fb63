import pytest
import torch

from glmctl.core.decode.layout import places_of_spans
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.errors import InputError

SPECIAL = SpecialTokens(
    pad=0, eos=0, sep=9, cls=1, mask=2, unk=9, sop=3, eop=4, smask=6, gmask=5, noise=None,
    sentinel_masks=(), sentinel_starts=(), strings={},
)  # fmt: skip


def test_spans_in_the_order_of_the_blanks_need_no_positions():
    ids = torch.tensor([[1, 10, 2, 12, 5, 0, 3, 20, 21, 3, 22], [1, 6, 0, 3, 20, 0, 0, 0, 0, 0, 0]])
    positions = places_of_spans(ids, SPECIAL)
    assert positions[0].tolist() == [
        [0, 1, 2, 3, 4, 5, 2, 2, 2, 4, 4],
        [0, 0, 0, 0, 0, 0, 1, 2, 3, 1, 2],
    ]
    assert positions[1, 0, :5].tolist() == [0, 1, 2, 1, 1]


def test_a_row_without_spans_is_all_part_a():
    positions = places_of_spans(torch.tensor([[1, 10, 2, 0]]), SPECIAL)
    assert positions.tolist() == [[[0, 1, 2, 3], [0, 0, 0, 0]]]


def test_spans_that_could_belong_to_several_blanks_are_refused():
    with pytest.raises(InputError, match="row 1 has 2 blanks and 1 spans, so which belongs"):
        places_of_spans(torch.tensor([[1, 2, 2, 3, 20]]), SPECIAL)
