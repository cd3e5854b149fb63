"""Released folders are read under our names, and what does not fit is named all at once."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from glmctl.core.checkpoint.find import find
from glmctl.core.checkpoint.folder import Found
from glmctl.errors import InputError, UsageError


@pytest.fixture
def chatglm2(released, tmp_path: Path):
    """Writes a ChatGLM2 folder, with other tensors or config keys."""

    def make(name: str = "chatglm2", **values: object) -> Path:
        config = {**released.CHATGLM2_CONFIG, **values}
        tensors = released.tensors_of(released.CHATGLM2)
        return released.write(tmp_path / name, config, tensors, kind="bin", num_shards=2)

    return make


def read(folder: Path) -> Found:
    return find(folder, None)


def refused(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read(folder)
    return caught.value


def test_the_config_of_chatglm2_becomes_our_components(chatglm2):
    config = read(chatglm2(rope_ratio=50)).config
    assert config.model_dump(exclude_defaults=True) == {
        "num_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "num_kv_heads": 1,
        "head_size": 4, "ffn_hidden_size": 10, "max_positions": 64, "vocab_rows": 16,
        "position": "rotary", "norm": "rms", "ffn": "swiglu", "attention": "causal",
        "linear_bias": False, "tie_embeddings": False, "dropout": 0.0, "attention_dropout": 0.0,
        "rotary": {"fraction": 0.5, "interleaved": True, "ratio": 50.0},
    }  # fmt: skip


def test_the_ratio_of_chatglm2_32k_divides_the_places(chatglm2):
    rotary = read(chatglm2(rope_ratio=16, _name_or_path="THUDM/chatglm2-6b-32k")).config.rotary
    assert (rotary.scaling, rotary.ratio) == (16, 1)


def test_the_config_of_chatglm_becomes_our_components(released, tmp_path):
    tensors = released.tensors_of(released.CHATGLM)
    found = read(released.write(tmp_path / "m", released.CHATGLM_CONFIG, tensors, kind="bin"))
    config = found.config
    assert (config.position, config.norm_placement) == ("rotary_2d", "deep")
    assert (config.residual_from, config.residual_scale) == ("normalised", 56**0.5)
    assert not config.tie_embeddings
    assert (found.layout.sop, found.layout.mask, found.layout.gmask) == (15, 13, 12)


def test_an_output_layer_that_repeats_the_embedding_is_tied(released, tmp_path):
    tensors = released.tensors_of(released.CHATGLM)
    tensors["lm_head.weight"] = tensors["transformer.word_embeddings.weight"].clone()
    found = read(released.write(tmp_path / "m", released.CHATGLM_CONFIG, tensors, kind="bin"))
    assert found.config.tie_embeddings
    assert "output_embedding.weight" not in found.tensors


def test_query_key_and_value_of_chatglm_leave_their_heads(released, tmp_path):
    tensors = released.tensors_of(released.CHATGLM)
    name = "transformer.layers.1.attention.query_key_value.bias"
    # Two heads of 4: q, k, v of the first, then of the second.
    tensors[name] = torch.arange(24.0)
    found = read(released.write(tmp_path / "m", released.CHATGLM_CONFIG, tensors, kind="bin"))
    ours = found.tensors["blocks.1.attention.query_key_value.bias"]
    assert ours.tolist() == [
        *(0, 1, 2, 3, 12, 13, 14, 15),
        *(4, 5, 6, 7, 16, 17, 18, 19),
        *(8, 9, 10, 11, 20, 21, 22, 23),
    ]


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_of_chatglm_stay_integers_and_leave_their_heads_with_their_scales(
    released, tmp_path, bits
):
    tensors = released.tensors_of(released.CHATGLM)
    for name in [name for name in tensors if ".layers." in name and tensors[name].dim() == 2]:
        rows, columns = tensors[name].shape
        tensors[name] = torch.arange(rows * columns * bits // 8).view(rows, -1).to(torch.int8)
        tensors[f"{name}_scale"] = torch.arange(float(rows)).half()
    config = {**released.CHATGLM_CONFIG, "quantization_bit": bits}
    found = read(released.write(tmp_path / "m", config, tensors, kind="bin"))
    assert found.quantize.bits == bits
    name = "blocks.0.attention.query_key_value.weight"
    order = [*range(4), *range(12, 16), *range(4, 8), *range(16, 20), *range(8, 12), *range(20, 24)]
    theirs = tensors["transformer.layers.0.attention.query_key_value.weight"]
    assert found.tensors[name].dtype == torch.int8
    assert torch.equal(found.tensors[name], theirs[order])
    assert found.tensors[f"{name}_scale"].tolist() == order


@pytest.mark.parametrize(
    ("bits", "problem"),
    [
        (8, "quantization_bit is 8, and no tensor holds integers; expected None"),
        (3, "quantization_bit is 3, and no tensor holds integers"),
    ],
)
def test_a_number_of_bits_that_contradicts_the_tensors_is_named(chatglm2, bits, problem):
    assert problem in str(refused(chatglm2(quantization_bit=bits)))


def test_formats_and_shards_hold_the_same_model(released, tmp_path):
    tensors = released.tensors_of(released.HUB_GLM)
    prefixed = {f"glm.{name}": tensor for name, tensor in tensors.items()}
    folders = [
        released.write(tmp_path / "a", released.HUB_GLM_CONFIG, tensors),
        released.write(tmp_path / "b", released.HUB_GLM_CONFIG, tensors, kind="bin"),
        released.write(tmp_path / "c", released.HUB_GLM_CONFIG, tensors, num_shards=3),
        released.write(tmp_path / "d", released.HUB_GLM_CONFIG, prefixed, kind="bin", num_shards=2),
    ]
    (tmp_path / "d" / "pytorch_model.bin.index.json").unlink()
    first, *others = [read(folder) for folder in folders]
    assert first.config.ffn == "gelu_erf"
    assert torch.equal(first.tensors["word_embedding.weight"], tensors["word_embeddings.weight"])
    for other in others:
        assert other.config == first.config
        assert other.tensors.keys() == first.tensors.keys()
        assert all(torch.equal(other.tensors[n], t) for n, t in first.tensors.items())


def test_a_learned_prefix_is_dealt_out_to_the_layers(released, tmp_path):
    tensors = released.tensors_of(released.CHATGLM2)
    # Three tokens; in each row for each of 2 layers the keys (1 head of 4) and the values.
    table = torch.arange(3 * 16.0).view(3, 16)
    tensors["transformer.prefix_encoder.embedding.weight"] = table
    found = read(released.write(tmp_path / "m", released.CHATGLM2_CONFIG, tensors))
    assert found.config.num_prefix_tokens == 3
    keys, values = found.tensors["blocks.1.attention.prefix"]
    assert keys.tolist() == [[[8, 9, 10, 11], [24, 25, 26, 27], [40, 41, 42, 43]]]
    assert values.tolist() == [[[12, 13, 14, 15], [28, 29, 30, 31], [44, 45, 46, 47]]]


def test_a_prefix_that_linears_make_is_made_once(released, tmp_path):
    shapes = {"embedding.weight": (3, 8), "trans.0.weight": (5, 8), "trans.0.bias": (5,)}
    shapes |= {"trans.2.weight": (16, 5), "trans.2.bias": (16,)}
    lead = "transformer.prefix_encoder"
    shapes = {f"{lead}.{name}": shape for name, shape in shapes.items()}
    tensors = released.tensors_of({**released.CHATGLM2, **shapes})
    found = read(released.write(tmp_path / "m", released.CHATGLM2_CONFIG, tensors))
    inner = (
        tensors[f"{lead}.embedding.weight"] @ tensors[f"{lead}.trans.0.weight"].T
        + tensors[f"{lead}.trans.0.bias"]
    ).tanh()
    table = inner @ tensors[f"{lead}.trans.2.weight"].T + tensors[f"{lead}.trans.2.bias"]
    values = found.tensors["blocks.1.attention.prefix"][1, 0]  # [3, 4]
    torch.testing.assert_close(values, table[:, 12:])


@pytest.fixture
def prefix(released, tmp_path: Path) -> Path:
    """What the P-tuning of ChatGLM saves: a config.json and the learned prefix alone."""
    name = "transformer.prefix_encoder.embedding.weight"
    config = {**released.CHATGLM_CONFIG, "pre_seq_len": 3}
    tensors = released.tensors_of({name: (3, 2 * 2 * 8)})
    return released.write(tmp_path / "checkpoint-3000", config, tensors, kind="bin")


def test_a_prefix_alone_says_what_it_is_and_what_it_needs(prefix):
    problem = refused(prefix).problems[0]
    assert "only a learned prefix of a ChatGLM (P-tuning v2), transformer.prefix_encod" in problem
    assert "give that as model= in Python" in problem


def test_a_prefix_is_read_over_its_model(released, prefix, tmp_path):
    tensors = released.tensors_of(released.CHATGLM)
    base = released.write(tmp_path / "base", released.CHATGLM_CONFIG, tensors)
    found = find(prefix, str(base))
    assert (found.config.num_prefix_tokens, found.provenance) == (3, {"base": str(base)})
    words = tensors["transformer.word_embeddings.weight"]
    assert torch.equal(found.tensors["word_embedding.weight"], words)
    table = torch.load(prefix / "pytorch_model.bin")["transformer.prefix_encoder.embedding.weight"]
    keys, _ = found.tensors["blocks.0.attention.prefix"]  # 2 heads of 4
    assert torch.equal(keys[1], table[:, 4:8])
    with pytest.raises(UsageError, match="holds its own sizes; leave out model"):
        find(base, str(base))
    with pytest.raises(InputError, match=r"holds no config\.json; name the released folder"):
        find(prefix, str(base / "config.json"))


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("THUDM/chatglm3-6b", {}, ("causal", "chat")),
        ("THUDM/chatglm3-6b-base", {"chat_template": "..."}, ("causal",)),
        ("THUDM/glm-4-9b", {}, ("causal",)),
        ("THUDM/glm-4-9b-chat-1m", {}, ("causal", "chat")),
        ("THUDM/codegeex2-6b", {}, ("causal",)),
        ("/database/mine", {"chat_template": "..."}, ("causal", "chat")),
        (None, {}, ("causal",)),
    ],
)
def test_a_chat_is_told_by_its_name_or_its_template(chatglm2, name, settings, expected):
    folder = chatglm2(_name_or_path=name)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read(folder).abilities == expected


def test_the_first_chatglm_has_the_ids_of_its_code(released, tmp_path):
    config = dict(released.CHATGLM_CONFIG)
    for key in ("bos_token_id", "mask_token_id", "gmask_token_id"):
        del config[key]
    tensors = released.tensors_of(released.CHATGLM)
    layout = read(released.write(tmp_path / "m", config, tensors, kind="bin")).layout
    assert (layout.sop, layout.mask, layout.gmask) == (150004, 150000, 150001)


def test_ids_that_are_no_numbers_are_named_by_their_key(released, tmp_path):
    config = {**released.CHATGLM_CONFIG, "gmask_token_id": "x"}
    tensors = released.tensors_of(released.CHATGLM)
    error = refused(released.write(tmp_path / "m", config, tensors, kind="bin"))
    assert "gmask_token_id is 'x'" in str(error)


def test_heads_of_tasks_are_handed_on(released, tmp_path):
    tensors = released.tensors_of({**released.HUB_GLM, "dense.weight": (8, 8)})
    found = read(released.write(tmp_path / "m", released.HUB_GLM_CONFIG, tensors))
    assert torch.equal(found.heads["pool.weight"], tensors["dense.weight"])


def test_sizes_that_contradict_the_tensors_are_named_with_both(chatglm2):
    error = refused(chatglm2(hidden_size=16, num_layers=3, padded_vocab_size=32))
    assert error.place.endswith("config.json")
    where = "transformer.embedding.word_embeddings.weight in pytorch_model-00001-of-00002.bin"
    assert set(error.problems) == {
        "num_layers is 3, and transformer.encoder.layers.*.* has 2",
        f"hidden_size is 16, and {where} has 8",
        f"padded_vocab_size is 32, and {where} has 16",
    }


def test_a_huge_number_of_layers_is_refused_before_anything_is_built(chatglm2):
    assert "num_layers is 1000000000000, and" in str(refused(chatglm2(num_layers=10**12)))


def test_shapes_that_do_not_fit_are_told_once_for_all_layers(chatglm2):
    error = refused(chatglm2(ffn_hidden_size=11))
    layer = "tensor transformer.encoder.layers.0.mlp"
    assert error.problems == (
        f"{layer}.dense_4h_to_h.weight in pytorch_model-00001-of-00002.bin (and 1 more) is (8, 10),"
        " and config.json asks for (8, 11)",
        f"{layer}.dense_h_to_4h.weight in pytorch_model-00002-of-00002.bin (and 1 more) is (20, 8),"
        " and config.json asks for (22, 8)",
    )


def test_values_that_are_not_read_or_wrong_are_named_together(chatglm2):
    error = refused(chatglm2(post_layer_norm=False, layernorm_epsilon="small", seq_length=None))
    assert len(error.problems) == 3
    assert "post_layer_norm is False; of ChatGLM2, ChatGLM3 or GLM-4 only True is read" in str(
        error
    )
    assert "seq_length is missing" in error.problems
    assert "layernorm_epsilon is 'small'" in str(error)


def test_missing_and_unknown_tensors_are_named_together(released, tmp_path):
    tensors = released.tensors_of({**released.CHATGLM2, "transformer.vision.weight": (2, 2)})
    del tensors["transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"]
    error = refused(released.write(tmp_path / "m", released.CHATGLM2_CONFIG, tensors))
    assert error.problems == (
        "tensor transformer.encoder.layers.1.mlp.dense_4h_to_h.weight is missing",
        "tensor transformer.vision.weight in model.safetensors is unknown to ChatGLM2, ChatGLM3 or "
        "GLM-4",
    )


def test_a_missing_shard_is_named(chatglm2):
    folder = chatglm2()
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    expected = "shard pytorch_model-00002-of-00002.bin is missing; fetch the folder again"
    assert refused(folder).problems == (expected,)
    (folder / "pytorch_model.bin.index.json").unlink()
    assert refused(folder).problems == (expected,)


def test_a_shard_of_another_model_is_named(released, chatglm2, tmp_path):
    folder = chatglm2()
    other = released.write(
        tmp_path / "other", released.HUB_GLM_CONFIG, released.tensors_of(released.HUB_GLM),
        kind="bin", num_shards=2,
    )  # fmt: skip
    name = "pytorch_model-00001-of-00002.bin"
    shutil.copy(other / name, folder / name)
    text = str(refused(folder))
    assert f"embedding.word_embeddings.weight stands in no file, and the index names {name}" in text
    assert f"tensor word_embeddings.weight stands in {name}, and the index names no file" in text


def test_an_index_that_names_files_elsewhere_is_refused(chatglm2):
    folder = chatglm2()
    index = {"weight_map": {"a": "../secret.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "names '../secret.bin', which is no file of this folder" in str(refused(folder))


@pytest.mark.parametrize("model_type", ["llama", None, 3, ["glm"]])
def test_a_model_of_another_family_is_refused(released, tmp_path, model_type):
    config = {**released.CHATGLM2_CONFIG, "model_type": model_type}
    tensors = released.tensors_of(released.CHATGLM2)
    error = refused(released.write(tmp_path / "m", config, tensors))
    known = ("the hub's GLM", "ChatGLM-6B", "ChatGLM2, ChatGLM3 or GLM-4", "transformers' glm4")
    assert all(name in str(error).partition("known formats: ")[2] for name in known)


def test_a_config_that_is_no_object_is_refused(chatglm2):
    folder = chatglm2()
    (folder / "config.json").write_text("[1, 2]")
    assert "holds a list, not an object" in str(refused(folder))
