"""What pretraining settles before the first step."""

import pytest

from glmctl.core.data.sources import DataSources
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.model import ModelConfig, TokenizerConfig
from glmctl.stages.pretrain import row_order, sized_for


@pytest.fixture
def tokenizer(tmp_path):
    """One of 129 tokens: 127 of the vocabulary, sop and eop."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(122))]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    return load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=str(tmp_path / "vocab.txt"), special="glm-english")
    )


def config(rows: int | None) -> ModelConfig:
    return ModelConfig(
        num_layers=1, hidden_size=4, num_attention_heads=1, max_positions=8, vocab_rows=rows
    )


def test_the_word_embedding_has_the_next_multiple_of_128_rows(tokenizer):
    assert tokenizer.size == 129
    assert sized_for(config(None), tokenizer).vocab_rows == 256


def test_rows_that_the_recipe_states_stay(tokenizer):
    assert sized_for(config(130), tokenizer).vocab_rows == 130


def test_fewer_rows_than_tokens_are_refused_with_both_numbers(tokenizer):
    with pytest.raises(UsageError, match="128 is less than the 129 tokens of the tokenizer"):
        sized_for(config(128), tokenizer)


def test_an_epoch_reads_the_documents_of_a_corpus_as_often_as_its_weight_says(tmp_path):
    (tmp_path / "once.txt").write_text("one\ntwo\n")
    (tmp_path / "often.txt").write_text("three\n")
    corpus = (
        f'[{{name="once", path="{tmp_path}/once.txt"}},'
        f' {{name="often", path="{tmp_path}/often.txt", weight=3}}]'
    )
    recipe = load_recipe("smoke/tiny", [f"data.corpus={corpus}"])
    tokenizer = load_tokenizer(recipe.tokenizer)
    sources = DataSources(recipe.data, tokenizer, tmp_path / "data", verify=True, note=print)
    assert row_order(recipe, sources.corpora()).copies(0).tolist() == [1, 1, 3]
