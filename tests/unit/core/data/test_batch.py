"""From pieces of documents to packed tensors."""

import numpy as np
import torch

from glmctl.core.data.batch import TrainingData, make_batch
from glmctl.core.data.order import RowOrder
from glmctl.core.objective.blank_infilling import DOCUMENT, TOKEN, Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.tokenizer.special import SpecialTokens
from glmctl.recipe.schema import ObjectiveConfig

SPECIAL = SpecialTokens(
    pad=90,
    eos=90,
    sep=91,
    cls=92,
    mask=93,
    unk=94,
    sop=95,
    eop=96,
    smask=None,
    gmask=None,
    noise=None,
    sentinel_masks=(),
    sentinel_starts=(),
    strings={},
)


class Store:
    """Documents in memory, read as those of a `TokenStore`."""

    def __init__(self, *documents: list[int]) -> None:
        self.documents = [np.array(document, np.int32) for document in documents]
        self.lengths = np.array([len(document) for document in self.documents])

    def tokens(self, document: int, start: int, stop: int) -> np.ndarray:
        return self.documents[document][start:stop]


def training_data(*stores: Store, pack: bool = True, rows: int = 4, micro: int = 2) -> TrainingData:
    lengths = np.concatenate([store.lengths for store in stores])
    order = RowOrder(lengths, 8, pack, seed=3)
    corruption = Corruption(ObjectiveConfig(), SPECIAL, np.zeros(97, np.bool_), 64)
    return TrainingData(stores, order, corruption, SPECIAL, rows, micro)


def test_a_batch_wants_the_rows_that_carry_a_loss():
    # The worked example of the paper: x1 x2 [M] x4 [M], then x5 x6, then x3.
    examples = Examples(
        input_ids=np.array([1, 2, 93, 4, 93, 95, 5, 6, 95, 3], np.int32),
        target_ids=np.array([1, 2, 93, 4, 93, 5, 6, 96, 3, 96], np.int32),
        loss_mask=np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], np.uint8),
        position_ids=np.array([[0, 1, 2, 3, 4, 4, 4, 4, 2, 2], [0] * 5 + [1, 2, 3, 1, 2]]),
        lengths=np.array([10]),
        part_a_lengths=np.array([5]),
        objective=np.array([0], np.uint8),
        spans=np.array([[0, 4, 6], [0, 2, 3]]),
    )
    batch = make_batch(examples)
    assert batch.input_ids.dtype == torch.int64
    assert batch.wanted.tolist() == [5, 6, 7, 8, 9]
    assert batch.target_ids.tolist() == [5, 6, 96, 3, 96]
    assert batch.position_ids.shape == (2, 10)
    assert batch.segments.lengths == (10,)
    assert batch.segments.part_a_lengths == (5,)
    assert batch.num_targets == 5


def test_a_sample_in_which_nothing_is_hidden_is_left_out():
    # Samples: 7 8; then 1 [M] | sop 2.
    examples = Examples(
        input_ids=np.array([7, 8, 1, 93, 95, 2], np.int32),
        target_ids=np.array([7, 8, 1, 93, 2, 96], np.int32),
        loss_mask=np.array([0, 0, 0, 0, 1, 1], np.uint8),
        position_ids=np.array([[0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 2]]),
        lengths=np.array([2, 4]),
        part_a_lengths=np.array([2, 2]),
        objective=np.array([0, 0], np.uint8),
        spans=np.array([[1, 1, 2]]),
    )
    batch = make_batch(examples)
    assert batch.input_ids.tolist() == [1, 93, 95, 2]
    assert batch.segments.lengths == (4,)
    assert batch.wanted.tolist() == [2, 3]
    assert batch.target_ids.tolist() == [2, 96]


def test_a_sample_is_cls_then_tokens_then_eos_where_its_document_ends():
    data = training_data(Store([1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12]), pack=False)
    tokens, lengths, _ = data.samples(0, data.order.num_rows)
    samples = {tuple(part) for part in np.split(tokens, np.cumsum(lengths)[:-1])}
    assert samples == {(92, 1, 2, 3, 90), (92, 4, 5, 6, 7, 8, 9, 10), (92, 11, 12, 90)}


def test_several_corpora_are_read_as_one():
    data = training_data(Store([1, 2]), Store([3]), Store([4, 5], [6]), pack=False)
    tokens, _, _ = data.samples(0, data.order.num_rows)
    assert sorted(tokens[tokens < 90]) == [1, 2, 3, 4, 5, 6]


def test_a_step_holds_its_rows_in_micro_batches():
    documents = Store(*([number] * 6 for number in range(20)))
    data = training_data(documents, pack=False)  # 8 tokens each, one of them hidden
    step = data.step(3)
    assert [len(batch.segments.lengths) for batch in step.micro_batches.values()] == [2, 2]
    assert step.num_tokens == 4 * 8
    assert (step.first_row, step.num_rows) == (12, 4)


def test_the_samples_of_a_step_do_not_depend_on_the_micro_batch():
    documents = Store(*([number] * 6 for number in range(20)))
    one = training_data(documents, micro=4).step(2).micro_batches
    two = training_data(documents, micro=1).step(2).micro_batches
    assert len(one) == 1
    assert torch.equal(torch.cat([batch.input_ids for batch in two.values()]), one[0].input_ids)
    assert torch.equal(torch.cat([batch.target_ids for batch in two.values()]), one[0].target_ids)


def test_another_epoch_hides_other_tokens():
    data = training_data(Store([*range(1, 8)]), pack=False, rows=1, micro=1)
    seen = {tuple(data.step(step).micro_batches[0].input_ids.tolist()) for step in range(20)}
    assert len(seen) > 1


def test_replicas_share_the_micro_batches_of_a_step():
    documents = Store(*([number] * 12 for number in range(20)))
    alone = training_data(documents, micro=1).step(2).micro_batches
    first, second = (training_data(documents, micro=1).step(2, rank, 2) for rank in (0, 1))
    assert list(first.micro_batches) == [0, 2]
    assert list(second.micro_batches) == [1, 3]
    for number, batch in (first.micro_batches | second.micro_batches).items():
        assert torch.equal(batch.input_ids, alone[number].input_ids)


def test_a_replica_without_a_target_takes_part_with_an_empty_batch():
    data = training_data(Store([1], [2], [3], [4]), pack=False)
    data.corruption = Corruption(
        ObjectiveConfig(mask_ratio=0.0), SPECIAL, np.zeros(97, np.bool_), 64
    )
    assert data.step(1).micro_batches == {}
    idle = data.step(1, rank=1, num_replicas=2)
    assert list(idle.micro_batches) == [1]
    assert idle.num_targets == 0


def test_a_run_ends_with_its_last_row():
    data = training_data(Store(*([number] * 6 for number in range(20))), pack=False)
    data.end_row = 14
    step = data.step(3)
    assert (step.first_row, step.num_rows, step.num_tokens) == (12, 2, 16)


def test_targets_know_their_objective_and_the_length_of_their_span():
    # Two samples of blank infilling: spans of 1 and 3 tokens with their ends, then a document
    # span of 9 that is the end of its sample, which has no end token.
    examples = Examples(
        input_ids=np.arange(6 + 6 + 2 + 9),
        target_ids=np.arange(6 + 6 + 2 + 9),
        loss_mask=np.array([0] * 6 + [1] * 6 + [0] * 2 + [1] * 9, np.uint8),
        position_ids=np.zeros((2, 23), np.int32),
        lengths=np.array([12, 11]),
        part_a_lengths=np.array([6, 2]),
        objective=np.array([TOKEN, DOCUMENT], np.uint8),
        spans=np.array([[0, 4, 5], [0, 1, 4], [1, 1, 10]]),
    )
    batch = make_batch(examples)
    # Samples are sorted by length: the document first.
    assert batch.kinds.tolist() == [2 * 5 + 3] * 9 + [0] * 2 + [1] * 4
