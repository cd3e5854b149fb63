"""An adapter beside a model: nothing at first, and the merged model computes the same."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.open import load
from glmctl.core.train import adapter
from glmctl.core.train.adapter import add_adapter, merged_weights, require_peft, save_adapter
from glmctl.core.train.optimizer import decay_groups
from glmctl.errors import MachineError
from glmctl.recipe.schema import AdapterConfig

CONFIG = AdapterConfig(rank=3, alpha=6)
IDS = torch.arange(20, 32)
PLACES = torch.stack([torch.arange(12), torch.zeros(12, dtype=torch.long)])
SEGMENTS = Segments((12,), (8,))


def hidden(model: GLM, wanted: torch.Tensor | None = None) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model.hidden(IDS, PLACES, SEGMENTS, wanted)


@pytest.fixture
def base(tiny_model) -> GLM:
    return load(str(tiny_model), device="cpu", dtype="float32").module


@pytest.fixture
def adapted(base) -> GLM:
    """The model with an adapter whose weights are no longer those of the beginning."""
    return with_adapter(base)


def with_adapter(model: GLM) -> GLM:
    add_adapter(model, CONFIG, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.normal_(std=0.1, generator=generator)
    return model


@pytest.mark.parametrize("wanted", [None, torch.tensor([3, 9, 11])])
def test_a_new_adapter_changes_nothing(base, wanted):
    before = hidden(base, wanted)
    add_adapter(base, CONFIG, seed=1)
    assert torch.equal(hidden(base, wanted), before)


@pytest.mark.parametrize("wanted", [None, torch.tensor([3, 9, 11])])
def test_the_merged_model_computes_what_base_and_adapter_do(base, wanted):
    plain = GLM(base.config)
    plain.load_state_dict(base.state_dict())
    with_adapter(base)
    before = hidden(plain, wanted)
    plain.load_state_dict(merged_weights(base))
    assert (hidden(plain, wanted) - before).abs().max() > 1e-2
    difference = (hidden(base, wanted) - hidden(plain, wanted)).abs().max()
    assert difference <= 1e-6 * hidden(plain, wanted).abs().max()


def test_the_adapter_alone_is_trained(adapted):
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert {name.split(".lora_")[1] for name in trained} == {
        "A.default.weight", "B.default.weight",
    }  # fmt: skip
    assert len(trained) == 2 * 4 * 2  # layers, linears of each, matrices
    decayed, kept = decay_groups(adapted)
    assert {*decayed} == trained
    assert not kept


def test_equal_seeds_begin_with_equal_adapters(tiny_model):
    drawn = []
    for seed in (1, 1, 2):
        model = load(str(tiny_model), device="cpu").module
        state = torch.get_rng_state()
        add_adapter(model, CONFIG, seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(model.get_submodule("blocks.0.ffn.up").lora_A["default"].weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_targets_choose_the_linears(base):
    add_adapter(base, AdapterConfig(targets=("attention.output",)), seed=1)
    names = {name for name, _ in adapter.adapted(base)}
    assert names == {"blocks.0.attention.output", "blocks.1.attention.output"}


def test_the_files_are_those_of_peft(adapted, tiny_model, tmp_path):
    from peft import LoraConfig, PeftModel

    save_adapter(tmp_path / "adapter", adapted, CONFIG, "base")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, 6, "base")
    tensors = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert len(tensors) == 16
    assert LoraConfig.from_pretrained(tmp_path / "adapter").r == 3
    fresh: nn.Module = load(str(tiny_model), device="cpu", dtype="float32").module
    opened = PeftModel.from_pretrained(fresh, tmp_path / "adapter").base_model.model
    assert torch.equal(hidden(opened), hidden(adapted))


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(adapter, "find_spec", lambda _: None)
    with pytest.raises(MachineError, match=r"adapter.kind: 'lora' needs the package peft; pip in"):
        require_peft(CONFIG)
