"""What a run starts from."""

import pytest
import torch

from glmctl.core.checkpoint.folder import read_model_folder
from glmctl.core.open import load
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.core.train.run import RunFolder
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.model import TokenizerConfig
from glmctl.recipe.schema import QuantizeConfig
from glmctl.stages import quantize
from glmctl.stages.pretrain import first_model

SIZES = [
    *("model.num_layers=2", "model.hidden_size=32", "model.num_attention_heads=4"),
    *("model.max_positions=64", "model.vocab_rows=384", "data.sequence_length=64"),
]


@pytest.fixture
def first(tmp_path, tiny_model):
    """Builds the first model of a run that goes on from the tiny one."""
    tokenizer = load_tokenizer(TokenizerConfig(path=str(tiny_model.parent / "tiny.model")))

    def build(*overrides: str, tokenizer=tokenizer):
        start = f"train.initial_model='{tiny_model}'"
        recipe = load_recipe("smoke/tiny", [*SIZES, start, *overrides])
        return first_model(recipe, tokenizer, RunFolder(tmp_path))

    return build


def test_a_run_starts_from_the_weights_of_another(first, tiny_model):
    stored = read_model_folder(tiny_model).tensors
    weights = first().state_dict()
    assert weights.keys() == stored.keys()
    assert all(torch.equal(weights[name], stored[name]) for name in stored)
    assert all(weight.requires_grad for weight in first().parameters())


def test_the_recipe_says_how_it_goes_on(first):
    assert first("model.dropout=0.3").config.dropout == 0.3


def test_without_another_model_the_weights_are_random(first, tmp_path):
    recipe = load_recipe("smoke/tiny", SIZES)
    one, other = (first_model(recipe, None, RunFolder(tmp_path)) for _ in range(2))
    assert torch.equal(one.word_embedding.weight, other.word_embedding.weight)
    assert not torch.equal(one.word_embedding.weight, first().word_embedding.weight)


def test_another_number_of_heads_is_refused(first):
    with pytest.raises(InputError, match="its attention heads: 4; the recipe asks for 8; change"):
        first("model.num_attention_heads=8")


def test_another_tokenizer_is_refused(first):
    with pytest.raises(InputError, match=r"its tokenizer: .*; the recipe asks for "):
        first(tokenizer=load_tokenizer(TokenizerConfig()))


def test_other_sizes_are_refused(first):
    with pytest.raises(InputError, match=r"tensor blocks\.2\..* is missing"):
        first("model.num_layers=3")


def test_a_variable_of_the_path_that_is_not_set_is_named(first, monkeypatch):
    monkeypatch.delenv("FIRST_STAGE", raising=False)
    with pytest.raises(UsageError, match=r"train.initial_model: '\$\{FIRST_STAGE\}' needs"):
        first("train.initial_model=${FIRST_STAGE}")


def test_a_run_that_has_a_checkpoint_no_longer_needs_the_other_model(first, tmp_path):
    step = tmp_path / "checkpoints" / "step-00000001"
    step.mkdir(parents=True)
    assert first("train.initial_model='gone'") is not None


def test_a_quantized_model_is_trained_on_from_its_dequantized_weights(first, tiny_model, tmp_path):
    config = QuantizeConfig(model=str(tiny_model))
    quantize.run(config, out=tmp_path / "few", device="cpu", note=lambda _: None)
    expected = load(tmp_path / "few", dtype="float32").module.state_dict()
    module = first(f"train.initial_model='{tmp_path / 'few'}'")
    weights = dict(module.named_parameters())
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert all(weight.requires_grad for weight in weights.values())
