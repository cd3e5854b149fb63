"""A model folder with `[quantize]`: loaded as integers or as floats, and written again."""

from pathlib import Path

import pytest
import torch

from glmctl.core.checkpoint.folder import Found, read_model_folder, write_model_folder
from glmctl.core.open import Glm, load, without_integers
from glmctl.core.quantization.absmax import dequantize, pack, quantize
from glmctl.core.quantization.swap import QuantizedLinear
from glmctl.errors import InputError
from glmctl.recipe.schema import QuantizationConfig

IDS = torch.tensor([[321, 10, 323, 30, 320, 326, 40, 41, 42]])


@pytest.fixture(params=[8, 4])
def bits(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def plain(tiny_model: Path, bits: int) -> Glm:
    """The tiny model with the dequantized weights in its linears."""
    glm = load(tiny_model)
    for block in glm.module.blocks:
        for linear in (m for m in block.modules() if isinstance(m, torch.nn.Linear)):
            linear.weight.data = dequantize(*quantize(linear.weight, bits, ""), torch.float32)
    return glm


@pytest.fixture
def folder(tiny_model: Path, bits: int, tmp_path: Path) -> Path:
    """The tiny model with integers in its linears."""
    stored = read_model_folder(tiny_model)
    tensors = dict(stored.tensors)
    for name, weight in stored.tensors.items():
        if name.startswith("blocks.") and weight.dim() == 2:
            values, scale = quantize(weight, bits, name)
            tensors[name] = values if bits == 8 else pack(values)
            tensors[f"{name}_scale"] = scale
    glm = load(tiny_model)
    section = QuantizationConfig(bits=bits)
    found = Found(glm.config, tensors, glm.tokenizer, license="none", quantize=section)
    return write_model_folder(tmp_path / "few", found)


def test_a_quantized_folder_loads_as_integers(folder: Path, plain: Glm, bits: int):
    glm = load(folder)
    linear = glm.module.blocks[0].ffn.up
    assert isinstance(linear, QuantizedLinear)
    assert linear.weight.shape == (128, 32 * bits // 8)
    torch.testing.assert_close(glm.logits(IDS), plain.logits(IDS), rtol=1e-5, atol=1e-5)
    assert glm.quantize == QuantizationConfig(bits=bits)


def test_in_float32_it_is_a_plain_model_with_the_dequantized_weights(folder: Path, plain: Glm):
    glm = load(folder, dtype="float32")
    assert glm.quantize is None
    assert glm.module.state_dict().keys() == plain.module.state_dict().keys()
    assert torch.equal(glm.logits(IDS), plain.logits(IDS))
    assert load(folder, dtype="float64").logits(IDS).dtype == torch.float64


def test_in_bfloat16_it_keeps_its_integers_and_is_near(folder: Path, plain: Glm):
    glm = load(folder, dtype="bfloat16")
    assert glm.module.blocks[0].ffn.up.weight_scale.dtype == torch.float16
    with torch.inference_mode():
        error = (glm.logits(IDS) - plain.logits(IDS)).norm() / plain.logits(IDS).norm()
    assert error < 0.02


def test_blanks_are_filled_and_scored_as_by_the_dequantized_model(folder: Path, plain: Glm):
    glm = load(folder)
    texts, choices = ["The cat [MASK] beside the oven."], [["sleeps", "opens"]]
    (ours,), (theirs,) = (model.infill(texts, max_new_tokens=4) for model in (glm, plain))
    assert ours.text == theirs.text
    torch.testing.assert_close(
        torch.tensor(glm.score(texts, choices)),
        torch.tensor(plain.score(texts, choices)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_quantized_model_is_saved_as_it_was_read(folder: Path, bits: int, tmp_path: Path):
    copy = read_model_folder(load(folder).save(tmp_path / "copy"))
    before = read_model_folder(folder)
    assert copy.quantize == before.quantize == QuantizationConfig(bits=bits)
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in copy.tensors.items())
    assert copy.license == "none"


def test_a_plain_model_is_left_as_it_is(tiny_model: Path):
    from glmctl.core.checkpoint.find import find

    found = find(tiny_model, None)
    assert without_integers(found) is found


def test_integers_without_the_section_are_refused(folder: Path):
    config = folder / "config.toml"
    config.write_text(config.read_text().partition("[quantize]")[0])
    with pytest.raises(InputError) as caught:
        load(folder)
    problems = "\n".join(caught.value.problems)
    assert "tensor blocks.0.ffn.up.weight_scale is unknown" in problems
    assert "tensor blocks.0.ffn.up.weight is torch.int8, the model needs torch.float32" in problems
