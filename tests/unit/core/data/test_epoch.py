"""An epoch from files to rows: every document exactly once."""

import json

import numpy as np
import pytest

from glmctl.core.data.batch import TrainingData
from glmctl.core.data.order import RowOrder
from glmctl.core.data.sources import DataSources
from glmctl.core.objective.corruption import Corruption
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.recipe.model import TokenizerConfig
from glmctl.recipe.schema import CorpusConfig, DataConfig, ObjectiveConfig

LINES = ["The oven is hot. " * 9, "a", "", "\u70e4\u7bb1", "b", "", "The cat sleeps."]
ROWS = ["c", "", "Six rolls, and a long walk. " * 20, "d"]


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_document_is_in_the_rows_of_an_epoch_exactly_once(tmp_path, pack, epoch):
    (tmp_path / "a.txt").write_text("\n".join(LINES), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ROWS))
    config = DataConfig(
        sequence_length=16,
        pack=pack,
        corpus=tuple(
            CorpusConfig(name=name, path=str(tmp_path / name)) for name in ("a.txt", "b.jsonl")
        ),
    )
    tokenizer = load_tokenizer(TokenizerConfig())
    stores = DataSources(config, tokenizer, tmp_path / "data", verify=True, note=print).corpora()
    lengths = np.concatenate([store.lengths for store in stores])
    assert 1 in lengths
    order = RowOrder(lengths, 16, pack, seed=5)
    corruption = Corruption(ObjectiveConfig(), tokenizer.special, tokenizer.sentence_ends(), 16)
    data = TrainingData(stores, order, corruption, tokenizer.special, 4, 4)

    first, num_rows = order.first_row(epoch), order.num_rows
    tokens, sizes, _ = data.samples(first, num_rows)
    samples = np.split(tokens, np.cumsum(sizes)[:-1])
    pieces = order.pieces(first, num_rows)
    read: dict[int, list[int]] = {}
    for number in np.lexsort((pieces.start, pieces.document)):
        head, *sample = samples[number].tolist()
        assert head == tokenizer.special.cls
        if pieces.is_end[number]:
            assert sample.pop() == tokenizer.special.eos
        read.setdefault(int(pieces.document[number]), []).extend(sample)
    texts = [tokenizer.decode(ids) for _, ids in sorted(read.items())]
    assert texts == [text for text in LINES + ROWS if text]
