"""The order in which documents are read."""

import numpy as np
import pytest

from glmctl.core.data.order import Pieces, RowOrder

LENGTHS = np.array([5, 0, 17, 1, 3, 40, 2])


def epoch_pieces(order: RowOrder, epoch: int = 0) -> Pieces:
    return order.pieces(epoch * order.num_rows, order.num_rows)


def tokens_read(pieces: Pieces) -> list[tuple[int, int]]:
    return [
        (int(document), token)
        for document, start, stop in zip(pieces.document, pieces.start, pieces.stop, strict=True)
        for token in range(start, stop)
    ]


def row_sizes(pieces: Pieces) -> np.ndarray:
    sizes = 1 + pieces.stop - pieces.start + pieces.is_end
    return np.bincount(pieces.row, weights=sizes)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_an_epoch_reads_every_token_of_every_document_once(pack, epoch):
    pieces = epoch_pieces(RowOrder(LENGTHS, 8, pack, seed=7), epoch)
    expected = [(d, t) for d, length in enumerate(LENGTHS) for t in range(length)]
    assert sorted(tokens_read(pieces)) == expected


@pytest.mark.parametrize("pack", [True, False])
def test_no_row_is_longer_than_the_sequence_length(pack):
    order = RowOrder(LENGTHS, 8, pack, seed=7)
    assert row_sizes(epoch_pieces(order)).max() == 8


def test_packed_rows_are_cut_from_one_stream():
    # Stream of one document of 10 tokens: [CLS] 0..9 [eos] = 12 places, 4 a row.
    pieces = epoch_pieces(RowOrder(np.array([10]), 5, True, seed=0))
    assert pieces.row.tolist() == [0, 1, 2]
    assert pieces.start.tolist() == [0, 3, 7]
    assert pieces.stop.tolist() == [3, 7, 10]
    assert pieces.is_end.tolist() == [False, False, True]


def test_a_row_that_would_hold_special_tokens_only_has_no_piece():
    # [CLS] 0 1 2 | [eos]
    pieces = epoch_pieces(RowOrder(np.array([3]), 5, True, seed=0))
    assert pieces.row.tolist() == [0]
    assert pieces.is_end.tolist() == [False]


def test_an_unpacked_row_is_one_piece_of_one_document():
    pieces = epoch_pieces(RowOrder(np.array([9]), 5, False, seed=0))
    order = np.argsort(pieces.start)
    assert pieces.start[order].tolist() == [0, 4, 8]
    assert pieces.stop[order].tolist() == [4, 8, 9]
    assert pieces.is_end[order].tolist() == [False, False, True]


@pytest.mark.parametrize("pack", [True, False])
def test_rows_do_not_depend_on_how_many_are_asked_for_at_once(pack):
    order = RowOrder(LENGTHS, 8, pack, seed=7)
    whole = order.pieces(0, 3 * order.num_rows)
    single = [RowOrder(LENGTHS, 8, pack, seed=7).pieces(r, 1) for r in range(3 * order.num_rows)]
    for name in ("row", "keys", "document", "start", "stop", "is_end"):
        joined = np.concatenate([getattr(pieces, name) for pieces in single])
        assert joined.tolist() == getattr(whole, name).tolist()


@pytest.mark.parametrize("pack", [True, False])
def test_epochs_and_seeds_have_orders_of_their_own(pack):
    order = RowOrder(np.full(50, 5), 8, pack, seed=7)
    other = RowOrder(np.full(50, 5), 8, pack, seed=8)
    orders = {
        tuple(epoch_pieces(order, 0).document),
        tuple(epoch_pieces(order, 1).document),
        tuple(epoch_pieces(other, 0).document),
    }
    assert len(orders) == 3


def test_every_sample_of_a_run_has_a_key_of_its_own():
    order = RowOrder(LENGTHS, 8, True, seed=7)
    keys = order.pieces(0, 20 * order.num_rows).keys
    assert len(np.unique(keys)) == len(keys)


def test_the_first_document_of_an_epoch_is_any_of_them():
    order = RowOrder(np.full(4, 7), 10, False, seed=1)
    first = [int(order.pieces(4 * epoch, 1).document[0]) for epoch in range(400)]
    assert np.bincount(first).min() > 70


@pytest.mark.parametrize("pack", [True, False])
def test_a_weighted_document_is_read_so_many_times(pack):
    weights = np.array([2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0])
    order = RowOrder(LENGTHS, 8, pack, seed=7, weights=weights)
    expected = [(d, t) for d, length in enumerate(LENGTHS) for t in range(length)]
    read = tokens_read(order.pieces(order.first_row(1), order.num_rows))
    assert sorted(read) == sorted(pair for pair in expected for _ in range(int(weights[pair[0]])))


@pytest.mark.parametrize("pack", [True, False])
def test_a_fraction_of_a_weight_is_paid_over_the_epochs(pack):
    lengths, num_epochs = np.full(400, 10), 10
    order = RowOrder(lengths, 8, pack, seed=7, weights=np.full(400, 0.3))
    readings = np.zeros(400)
    for epoch in range(num_epochs):
        first, after = order.first_row(epoch), order.first_row(epoch + 1)
        pieces = order.pieces(first, after - first)
        of_epoch = np.bincount([d for d, token in tokens_read(pieces) if token == 0], minlength=400)
        assert set(of_epoch) == {0, 1}
        assert 80 < of_epoch.sum() < 160  # 120 are expected
        readings += of_epoch
    assert set(readings) == {3}  # 10 epochs of 0.3


def test_rows_of_uneven_epochs_follow_one_another():
    order = RowOrder(LENGTHS, 8, True, seed=7, weights=np.full(len(LENGTHS), 0.7))
    whole = order.pieces(0, order.first_row(4))
    parts = [order.pieces(row, 1) for row in range(order.first_row(4))]
    assert np.concatenate([part.document for part in parts]).tolist() == whole.document.tolist()
    assert np.concatenate([part.keys for part in parts]).tolist() == whole.keys.tolist()
    assert np.unique(whole.keys).size == whole.keys.size
