import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmctl.core.checkpoint.folder import read_model_folder
from glmctl.core.open import load
from glmctl.core.quantization.absmax import dequantize, pack, quantize
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import QuantizeConfig
from glmctl.stages.quantize import QuantizeResult, run, settings, sizes


def quantized(model: Path, out: Path, bits: int = 8, **more: object) -> QuantizeResult:
    config = QuantizeConfig(model=str(model), bits=bits, **more)
    return run(config, out=out, device="cpu", note=lambda _: None)


@pytest.mark.parametrize("bits", [8, 4])
def test_linears_become_integers_and_everything_else_stays(bits: int, tiny_model: Path, tmp_path):
    source = replace(load(tiny_model), abilities=("token",)).save(tmp_path / "source")
    quantized(source, tmp_path / "few", bits)
    before, after = read_model_folder(source), read_model_folder(tmp_path / "few")
    assert after.quantize.model_dump() == {"method": "absmax", "bits": bits}
    linears = [name for name in before.tensors if f"{name}_scale" in after.tensors]
    assert len(linears) == 2 * 4
    assert after.tensors.keys() - before.tensors.keys() == {f"{name}_scale" for name in linears}
    for name, weight in before.tensors.items():
        if name in linears:
            values, scale = quantize(weight, bits, name)
            assert torch.equal(after.tensors[name], values if bits == 8 else pack(values))
            assert torch.equal(after.tensors[f"{name}_scale"], scale)
        else:
            assert torch.equal(after.tensors[name], weight)
    assert after.license == "none"
    assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
    assert after.provenance == {"source": str(source)}
    assert list(after.abilities) == ["token"]


def test_the_figures_after_are_those_of_the_model_that_is_written(tiny_model: Path, tmp_path: Path):
    result = quantized(tiny_model, tmp_path / "few", 4)
    assert result.calibration == "glmctl-demo-held-out"
    assert result.before.num_blanks == result.after.num_blanks > 100
    assert result.before.perplexity != result.after.perplexity
    # A model with the dequantized weights, quantized again, is the same model.
    load(tmp_path / "few", dtype="float32").save(tmp_path / "plain")
    again = quantized(tmp_path / "plain", tmp_path / "twice", 4)
    assert again.before.perplexity == pytest.approx(result.after.perplexity, rel=1e-9)
    rise = result.after.perplexity / result.before.perplexity - 1
    assert result.perplexity_rise_share == rise


def test_the_error_of_a_layer_is_that_of_its_weights(tiny_model: Path, tmp_path: Path):
    result = quantized(tiny_model, tmp_path / "few", 4)
    block = load(tiny_model).module.blocks[1]
    weights = [m.weight.detach() for m in block.modules() if isinstance(m, torch.nn.Linear)]
    lost = [w - dequantize(*quantize(w, 4, ""), torch.float32) for w in weights]
    flat = [torch.cat([part.flatten() for part in parts]) for parts in (lost, weights)]
    expected = (flat[0].norm() / flat[1].norm()).item()
    assert len(result.layer_errors) == 2
    assert result.layer_errors[1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.53), (4, 0.27)])
@pytest.mark.parametrize("width", [64, 192, 768, 1024, 4096])
def test_bytes_with_scales_against_float16(bits: int, most: float, width: int):
    weight = torch.ones(width, width)
    values, scale = quantize(weight, bits, "w")
    name = "blocks.0.ffn.up.weight"
    tensors = {name: values if bits == 8 else pack(values), f"{name}_scale": scale}
    part = sizes({name: weight}, tensors)[0]
    assert (part.name, part.stored_bytes) == ("ffn.up", 4 * width * width)
    assert part.quantized_bytes == width * width * bits // 8 + 2 * width
    assert part.float16_ratio == part.quantized_bytes / (2 * width * width) <= most


def test_sizes_name_each_kind_of_linear_the_rest_and_the_whole(tiny_model: Path, tmp_path: Path):
    parts = {part.name: part for part in quantized(tiny_model, tmp_path / "few").parts}
    assert [*parts] == [
        *("everything else", "attention.query_key_value", "attention.output"),
        *("ffn.up", "ffn.down", "all"),
    ]
    assert parts["ffn.up"].stored_bytes == 2 * 128 * 32 * 4
    assert parts["ffn.up"].quantized_bytes == 2 * (128 * 32 + 128 * 2)
    rest = parts["everything else"]
    assert rest.stored_bytes == rest.quantized_bytes
    whole = parts.pop("all")
    for key in ("stored_bytes", "quantized_bytes"):
        assert getattr(whole, key) == sum(getattr(part, key) for part in parts.values())


def test_a_quantized_model_is_not_quantized_again(tiny_model: Path, tmp_path: Path):
    quantized(tiny_model, tmp_path / "few", 4)
    problem = r"is quantized already \(absmax, 4 bits\); quantize the model that it was made from"
    with pytest.raises(InputError, match=problem):
        quantized(tmp_path / "few", tmp_path / "fewer")
    assert not (tmp_path / "fewer").exists()


def test_a_model_never_takes_the_place_of_its_source_or_of_other_files(tiny_model, tmp_path):
    with pytest.raises(UsageError, match="is the model that is quantized; name another folder"):
        quantized(tiny_model, tiny_model)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "main.tex").touch()
    with pytest.raises(UsageError, match="holds files that are not a model"):
        quantized(tiny_model, tmp_path / "thesis")


def test_a_model_without_a_tokenizer_is_quantized_and_not_measured(golden: Path, tmp_path: Path):
    said: list[str] = []
    config = QuantizeConfig(model=str(golden / "glm_orig" / "ckpt"), bits=4)
    result = run(config, out=tmp_path / "few", device="cpu", note=said.append)
    assert (result.before, result.after, result.calibration) == (None, None, None)
    assert said[0].startswith("perplexity and exact match are not measured: ")
    assert said[0].endswith("or a model folder with a tokenizer")
    assert load(tmp_path / "few").quantize.bits == 4


@pytest.mark.parametrize("asked", [{"max_loss": 0.1}, {"calibration": "glmctl-demo"}])
def test_a_model_that_must_be_measured_and_cannot_is_refused(asked, golden: Path, tmp_path: Path):
    with pytest.raises(InputError, match="has no tokenizer, so text cannot be read"):
        quantized(golden / "glm_orig" / "ckpt", tmp_path / "few", **asked)
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("name", ["chatglm", "chatglm2", "glm-4"])
def test_a_chat_model_is_measured_on_the_next_tokens_of_a_text(name, chat_models, tmp_path: Path):
    (tmp_path / "a.txt").write_text("The oven is hot.\nThe bread is good.\n")
    result = quantized(chat_models / name, tmp_path / "few", calibration=str(tmp_path / "a.txt"))
    glm = load(chat_models / name)
    special, (losses, counts, hits) = glm.tokenizer.special, ([], [], [])
    for line in ("The oven is hot.", "The bread is good."):
        ids = glm.tokenizer.encode(line)
        start = [special.gmask, special.sop]
        row = torch.tensor([[ids[0], *start, *ids[1:]] if name == "chatglm" else [*start, *ids]])
        log_probs = glm.logits(row)[0, 2:-1].log_softmax(-1)
        target = row[0, 3:]
        losses.append(-log_probs.gather(1, target[:, None]).sum().item())
        counts.append(len(target))
        hits.append((log_probs.argmax(1) == target).sum().item())
    assert result.measured == "tokens"
    assert result.before.num_targets == sum(counts)
    assert result.before.perplexity == pytest.approx(math.exp(sum(losses) / sum(counts)), 1e-5)
    assert result.before.exact_match_share == pytest.approx(sum(hits) / sum(counts))
    assert result.after.perplexity != result.before.perplexity


RECIPE = """
[recipe]
stage = "quantize"
extends = "smoke/tiny.toml"
source = "test"
[quantize]
model = "somewhere"
bits = 4
max_loss = 0.05
"""


def test_settings_come_from_a_recipe_and_from_options_over_it(tmp_path: Path):
    path = tmp_path / "q.toml"
    path.write_text(RECIPE)
    config = settings(str(path), {"bits": 8, "max_loss": None}, ["quantize.calibration=a.txt"])
    assert config.model_dump() == {
        "method": "absmax",
        "bits": 8,
        "model": "somewhere",
        "calibration": "a.txt",
        "max_loss": 0.05,
    }


@pytest.mark.parametrize(
    ("source", "options", "overrides", "problem"),
    [
        ("m", {"bits": 5}, [], "m: quantize.bits: should be 8 or 4; found 5"),
        ("m", {"method": "gptq"}, [], "m: quantize.method: should be 'absmax'; found \"gptq\""),
        ("m", {"max_loss": float("nan")}, [], "m: quantize.max_loss: should be a finite number"),
        ("m", {}, ["quantize.bits=4"], "--set: changes a recipe, and m is a model; leave it out"),
        ("smoke/tiny", {}, [], r"smoke/tiny: has no section \[quantize\]; to quantize the model"),
    ],
)
def test_settings_that_are_wrong_are_named(source, options, overrides, problem):
    with pytest.raises(UsageError, match=problem):
        settings(source, options, overrides)
