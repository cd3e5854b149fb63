"""Conversions of small random models: what is written, what is refused, what is left behind."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from glmctl.core import agreement
from glmctl.core.checkpoint import tensor_files, write
from glmctl.core.checkpoint.dialects import original
from glmctl.core.checkpoint.find import find
from glmctl.core.checkpoint.folder import Found, write_model_folder
from glmctl.core.model.glm import GLM
from glmctl.core.open import load
from glmctl.core.quantization.absmax import quantize
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import ObjectiveConfig, QuantizationConfig
from glmctl.stages import convert

SMALL = {
    "num_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "max_positions": 24,
    "vocab_rows": 32,
}  # fmt: skip
GLM4 = {
    **SMALL, "num_kv_heads": 2, "head_size": 8, "ffn_hidden_size": 20, "position": "rotary",
    "rotary": {"base": 5000.0, "ratio": 4.0, "fraction": 0.5, "interleaved": True}, "norm": "rms",
    "norm_eps": 1e-6, "ffn": "swiglu", "attention": "causal", "linear_bias": False,
    "tie_embeddings": False,
}  # fmt: skip
YARN = {
    "base": 1e6,
    "fraction": 0.5,
    "interleaved": True,
    "yarn": {"factor": 4.0, "original_positions": 8},
}
MODELS = {
    "glm": SMALL,
    "one place": {**SMALL, "position": "learned_1d"},
    "relative": {**SMALL, "position": "relative_xl"},
    "hub": {**SMALL, "ffn": "gelu_erf"},
    "glm4": GLM4,
    "glm4 sandwich": {**GLM4, "norm_placement": "sandwich", "qkv_bias": False},
    "glm4 yarn": {**GLM4, "rotary": YARN},
}
TARGETS = [
    ("glm", "original", 1), ("glm", "original", 2), ("glm", "original", 4), ("glm", "glmctl", None),
    ("one place", "original", 2), ("relative", "original", 2), ("hub", "hub-glm", None),
    ("glm4", "transformers", None), ("glm4 sandwich", "transformers", None),
    ("glm4 yarn", "transformers", None), ("glm4", "glmctl", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def released() -> ModuleType:
    path = Path(__file__).parents[1] / "core" / "checkpoint" / "released.py"
    spec = importlib.util.spec_from_file_location("released", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_tensors(config: ModelConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = {name: tensor.shape for name, tensor in GLM(config).state_dict().items()}
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path):
    """Writes a model folder of one of the kinds above."""

    def make(kind: str, **more) -> Path:
        config = ModelConfig(**MODELS[kind])
        out, provenance = tmp_path / kind.replace(" ", "-"), {"source": "random"}
        tensors = random_tensors(config)
        return write_model_folder(out, Found(config, tensors, None, provenance=provenance, **more))

    return make


def run(source: Path, out: Path, to: str, degree: int | None = None, notes=None):
    note = (notes if notes is not None else []).append
    return convert.run(str(source), out, to=to, model_parallel=degree, model_config=None, note=note)


def assert_equal(found: Path, expected: Path) -> None:
    ours, theirs = find(found, None), find(expected, None)
    for a, b in ((ours.tensors, theirs.tensors), (ours.heads, theirs.heads)):
        assert a.keys() == b.keys()
        assert all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("kind", "to", "degree"), TARGETS)
def test_a_model_comes_back_from_every_format_to_the_bit(folder, tmp_path, kind, to, degree):
    source = folder(kind)
    result = run(source, tmp_path / "there", to, degree)
    assert (result.to, result.num_layers_compared) == (to, 2)
    run(tmp_path / "there", tmp_path / "back", "glmctl")
    assert_equal(tmp_path / "back", source)
    config, back = find(source, None).config, find(tmp_path / "back", None).config
    assert write.computed_values(back) == write.computed_values(config)


@pytest.mark.parametrize("kind", ["glm4", "glm4 sandwich", "glm4 yarn"])
def test_transformers_loads_what_is_written_and_gives_the_same_logits(folder, tmp_path, kind):
    source = folder(kind)
    run(source, tmp_path / "out", "transformers")
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    ids = torch.arange(20).view(2, 10)
    with torch.inference_mode():
        expected = load(source).logits(ids)
        torch.testing.assert_close(theirs(ids).logits, expected, rtol=0, atol=2e-5)


def test_the_hand_written_folder_of_the_hubs_glm_is_written_again(released, tmp_path):
    tensors = released.tensors_of(released.HUB_GLM)
    released.write(tmp_path / "hub", released.HUB_GLM_CONFIG, tensors)
    run(tmp_path / "hub", tmp_path / "ours", "glmctl")
    run(tmp_path / "ours", tmp_path / "again", "hub-glm")
    written = load_file(tmp_path / "again" / "model.safetensors")
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    given = {**released.HUB_GLM_CONFIG, "torch_dtype": "float32"}
    assert {key: config[key] for key in given} == given


def test_chatglm2_becomes_glm_with_queries_keys_and_values_apart(released, tmp_path):
    tensors = released.tensors_of(released.CHATGLM2)
    config = {**released.CHATGLM2_CONFIG, "eos_token_id": 2, "pad_token_id": 0}
    released.write(tmp_path / "chatglm2", config, tensors, kind="bin", num_shards=2)
    run(tmp_path / "chatglm2", tmp_path / "out", "transformers")
    written = load_file(tmp_path / "out" / "model.safetensors")
    joined = tensors["transformer.encoder.layers.1.self_attention.query_key_value.weight"]
    parts = [written[f"model.layers.1.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert [len(part) for part in parts] == [8, 4, 4]
    assert torch.equal(torch.cat(parts), joined)
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = {
        "model_type": "glm", "architectures": ["GlmForCausalLM"], "num_key_value_heads": 1,
        "head_dim": 4, "intermediate_size": 10, "max_position_embeddings": 64, "vocab_size": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "partial_rotary_factor": 0.5,
        "attention_bias": True, "tie_word_embeddings": False, "eos_token_id": 2, "pad_token_id": 0,
        "torch_dtype": "float32",
    }  # fmt: skip
    assert {key: values[key] for key in expected} == expected


def test_the_shards_of_the_original_hold_the_heads_of_their_rank(folder, tmp_path):
    source = folder("glm")
    run(source, tmp_path / "out", "original", 2)
    for tracker in ("latest", "latest_checkpointed_iteration.txt"):
        assert (tmp_path / "out" / tracker).read_text() == "release"
    files = [tmp_path / "out" / "release" / f"mp_rank_0{i}_model_states.pt" for i in (0, 1)]
    shards = [torch.load(file, weights_only=True) for file in files]
    assert [shard["mp_world_size"] for shard in shards] == [2, 2]
    whole = find(source, None).tensors
    second, lead = shards[1]["module"], "transformer.layers.1."
    joined = whole["blocks.1.attention.query_key_value.weight"]  # [3 x 16, 16]
    rows = torch.cat([joined[8:16], joined[24:32], joined[40:48]])
    assert torch.equal(second[f"{lead}attention.query_key_value.weight"], rows)
    output = whole["blocks.1.attention.output.weight"]
    assert torch.equal(second[f"{lead}attention.dense.weight"], output[:, 8:])
    up = whole["blocks.1.ffn.up.bias"]
    assert torch.equal(second[f"{lead}mlp.dense_h_to_4h.bias"], up[32:])
    down = whole["blocks.1.ffn.down.weight"]
    assert torch.equal(second[f"{lead}mlp.dense_4h_to_h.weight"], down[:, 32:])
    assert torch.equal(second["word_embeddings.weight"], whole["word_embedding.weight"][16:])
    places = whole["position_embedding.weight"]
    assert all(
        torch.equal(shard["module"]["transformer.position_embeddings.weight"], places)
        for shard in shards
    )


def test_a_shard_of_the_original_holds_no_more_than_its_part(folder, tmp_path):
    run(folder("glm"), tmp_path / "four", "original", 4)
    for file in (tmp_path / "four" / "release").iterdir():
        for tensor in torch.load(file, weights_only=True)["module"].values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_heads_go_where_the_format_has_them(folder, tmp_path):
    heads = {"pool.weight": torch.ones(16, 16), "pool.bias": torch.ones(16)}
    heads |= {"classes.weight": torch.ones(3, 16), "classes.bias": torch.ones(3)}
    source = folder("glm", heads=heads)
    run(source, tmp_path / "orig", "original", 2)
    assert_equal(tmp_path / "orig", source)
    file = tmp_path / "orig" / "release" / "mp_rank_01_model_states.pt"
    names = torch.load(file, weights_only=True)["module"].keys()
    assert {"model.word_embeddings.weight", "pool_layer.bias", "multichoice_head.bias"} <= names
    hub = folder("hub", heads=heads)
    run(hub, tmp_path / "hub-out", "hub-glm")
    assert_equal(tmp_path / "hub-out", hub)
    names = load_file(tmp_path / "hub-out" / "model.safetensors").keys()
    assert {"glm.word_embeddings.weight", "dense.bias", "out_proj.weight"} <= names


def test_large_models_are_written_in_shards_with_an_index(folder, tmp_path, monkeypatch):
    source = folder("glm4")
    monkeypatch.setattr(tensor_files, "SHARD_BYTES", 4000)
    run(source, tmp_path / "out", "transformers")
    files = sorted((tmp_path / "out").glob("model-*-of-*.safetensors"))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    stored = {name: file.name for file in files for name in load_file(file)}
    assert index["weight_map"] == stored
    assert len(files) > 3
    assert index["metadata"]["total_size"] == sum(
        tensor.nbytes for tensor in find(source, None).tensors.values()
    )
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.num_hidden_layers == 2


def quantized(folder: Path, bits: int = 8) -> Path:
    found = find(folder, None)
    tensors = dict(found.tensors)
    name = "blocks.1.ffn.up.weight"
    tensors[name], tensors[f"{name}_scale"] = quantize(tensors[name], bits, name)
    config = QuantizationConfig(bits=bits)
    model = Found(found.config, tensors, None, quantize=config)
    return write_model_folder(folder.with_name("quantized"), model)


def test_a_quantized_model_keeps_its_integers(folder, tmp_path):
    source = quantized(folder("glm"))
    run(source, tmp_path / "out", "glmctl")
    assert_equal(tmp_path / "out", source)
    assert find(tmp_path / "out", None).quantize == QuantizationConfig(bits=8)


@pytest.mark.parametrize(
    ("kind", "to", "reasons", "fitting"),
    [
        ("glm", "hub-glm", ["ffn is 'gelu_tanh'; the hub's GLM has 'gelu_erf'"], "original"),
        ("hub", "original", ["ffn is 'gelu_erf'; the original GLM has 'gelu_tanh'"], "hub-glm"),
        ("glm4", "original", ["position is 'rotary'; the original GLM has 'learned_2d'",
                              "norm_eps is 1e-06; the original GLM has 1e-05"], "transformers"),
        ("glm4 sandwich", "hub-glm", ["norm_placement is 'sandwich'; the hub's GLM has 'pre'"],
         "transformers"),
        ("relative", "transformers", ["position is 'relative_xl'; transformers' glm has 'rotary'"],
         "original"),
    ],
)  # fmt: skip
def test_a_format_that_cannot_hold_the_model_is_refused(
    folder, tmp_path, kind, to, reasons, fitting
):
    with pytest.raises(InputError) as caught:
        run(folder(kind), tmp_path / "out", to)
    assert {*reasons} <= {*caught.value.problems}
    fitting = f"the model can be written with --to glmctl or --to {fitting}"
    assert caught.value.problems[-1] == fitting
    assert [path.name for path in tmp_path.iterdir()] == [kind.replace(" ", "-")]


def test_integers_and_other_positions_in_the_span_are_held_by_our_folder_only(folder, tmp_path):
    with pytest.raises(InputError, match=r"quantize\.bits is 8; original holds weights in fl"):
        run(quantized(folder("glm")), tmp_path / "out", "original")
    one = ObjectiveConfig(second_position=False)
    with pytest.raises(InputError, match=r"objective\.second_position"):
        run(folder("glm", objective=one), tmp_path / "out", "original")
    run(folder("glm", objective=one), tmp_path / "ours", "glmctl")


RIGHT_PART = write.part_of


def swap_keys_and_values(found, ours, number, num_parts):
    """The model has as many rows of keys as of values, so only their numbers differ."""
    swapped = {1: 2, 2: 1}.get(number, number)
    return RIGHT_PART(found, ours, swapped, num_parts)


def test_a_wrong_map_is_caught_at_its_first_layer_and_leaves_nothing(folder, tmp_path, monkeypatch):
    source = folder("glm4")
    monkeypatch.setattr(write, "part_of", swap_keys_and_values)
    with pytest.raises(InputError, match=r"layer 0 of what was written differs by .*expected 0"):
        run(source, tmp_path / "out", "transformers")
    assert [path.name for path in tmp_path.iterdir()] == ["glm4"]


def test_query_key_and_value_cut_as_one_are_caught(folder, tmp_path, monkeypatch):
    def cut(name, tensor, rank, degree):
        return tensor.chunk(degree, original._split_dim(name) or 0)[rank].clone()

    source = folder("one place")
    monkeypatch.setattr(original, "_part", cut)
    with pytest.raises(InputError):
        run(source, tmp_path / "out", "original", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["one-place"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("word_embedding.weight", "the embeddings"),
        ("span_position_embedding.weight", "the embeddings"),
        ("blocks.0.ffn.down.bias", "layer 0"),
        ("blocks.1.attention.output.weight", "layer 1"),
        ("final_norm.weight", "the logits"),
    ],
)
def test_the_first_layer_that_differs_is_named(folder, name, place):
    source = find(folder("glm"), None)
    other = replace(source, tensors={**source.tensors, name: source.tensors[name] + 1e-3})
    agreement.refuse_difference(source, source, "here")
    assert torch.is_grad_enabled()
    with pytest.raises(InputError, match=f"here: {place} of what was written differs"):
        agreement.refuse_difference(source, other, "here")


def test_components_that_were_written_wrongly_are_caught(folder):
    source = find(folder("glm4"), None)
    config = source.config.model_copy(update={"norm_eps": 1e-3})
    with pytest.raises(InputError, match="other sizes or components"):
        agreement.refuse_difference(source, replace(source, config=config), "here")


def test_licence_and_origin_travel_through_formats_without_a_manifest(folder, tmp_path):
    source = folder("glm", license="mit", abilities=["token"])
    (source / "MODEL_LICENSE").write_text("terms")
    run(source, tmp_path / "there", "original")
    assert (tmp_path / "there" / "MODEL_LICENSE").read_text() == "terms"
    run(tmp_path / "there", tmp_path / "back", "glmctl")
    manifest = json.loads((tmp_path / "back" / "manifest.json").read_text())
    assert manifest["license"] == "mit"
    assert manifest["provenance"] == {
        "source": "random", "converted_from": str(tmp_path / "there"),
    }  # fmt: skip
    assert (tmp_path / "back" / "MODEL_LICENSE").read_text() == "terms"


def test_the_tokenizer_is_kept_by_our_folder_and_missed_by_the_original(tiny_model, tmp_path):
    notes: list[str] = []
    run(tiny_model, tmp_path / "ours", "glmctl", notes=notes)
    assert load(tmp_path / "ours").tokenizer.fingerprint == load(tiny_model).tokenizer.fingerprint
    assert notes == []
    run(tiny_model, tmp_path / "there", "original", notes=notes)
    assert notes == ["the original format holds no tokenizer, so it is left out"]


def test_the_tokenizer_of_glm4_goes_along_and_states_its_ids(vocabularies, tmp_path):
    from glmctl.core.tokenizer.load import find_tokenizer

    config = ModelConfig(**{**GLM4, "vocab_rows": 512})
    tokenizer = find_tokenizer(str(vocabularies / "glm-4"))
    source = write_model_folder(tmp_path / "ours", Found(config, random_tensors(config), tokenizer))
    run(source, tmp_path / "out", "transformers")
    file = tokenizer.vocabulary.files[0]
    assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    strings = tokenizer.special.strings
    ends = ("<|endoftext|>", "<|user|>", "<|observation|>")
    assert values["eos_token_id"] == [strings[text] for text in ends]


def test_wrong_requests_are_refused_before_anything_is_written(folder, tmp_path):
    source = folder("glm")
    with pytest.raises(UsageError, match="belongs to --to original, not glmctl"):
        run(source, tmp_path / "out", "glmctl", 2)
    with pytest.raises(UsageError, match="not both 4 heads and 32 vocabulary rows; use 4 or a div"):
        run(source, tmp_path / "out", "original", 3)
    with pytest.raises(UsageError, match="not empty"):
        run(source, source, "glmctl")
    assert [path.name for path in tmp_path.iterdir()] == ["glm"]


def test_a_source_that_lacks_a_tensor_is_refused_by_name(folder, tmp_path):
    run(folder("glm"), tmp_path / "there", "original")
    file = tmp_path / "there" / "release" / "mp_rank_00_model_states.pt"
    content = torch.load(file, weights_only=True)
    del content["module"]["transformer.layers.1.mlp.dense_4h_to_h.bias"]
    torch.save(content, file)
    with pytest.raises(InputError, match=r"tensor blocks\.1\.ffn\.down\.bias is missing"):
        run(tmp_path / "there", tmp_path / "out", "glmctl")
    assert not (tmp_path / "out").exists()


def test_sizes_that_the_source_does_not_hold_come_from_a_file(folder, tmp_path):
    run(folder("glm"), tmp_path / "there", "original")
    sizes = (tmp_path / "there" / "config.json").rename(tmp_path / "sizes.json")
    shard = tmp_path / "there" / "release" / "mp_rank_00_model_states.pt"
    convert.run(
        str(shard), tmp_path / "out", to="glmctl", model_parallel=None, model_config=str(sizes),
        note=[].append,
    )  # fmt: skip
    assert find(tmp_path / "out", None).config.num_attention_heads == 4
    assert_equal(tmp_path / "out", tmp_path / "glm")


def test_half_precision_stays_half_precision_in_transformers(tmp_path):
    config = ModelConfig(**GLM4)
    tensors = {name: tensor.bfloat16() for name, tensor in random_tensors(config).items()}
    write_model_folder(tmp_path / "half", Found(config, tensors, None))
    run(tmp_path / "half", tmp_path / "out", "transformers")
    assert_equal(tmp_path / "out", tmp_path / "half")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
