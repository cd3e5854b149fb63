"""The model against recordings of the original code, and against a dense reference in float64."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from glmctl.core.checkpoint.dialects.original import our_name, read_with_heads
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.train.optimizer import clip_gradients, make_optimizer, set_learning_rate
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import OptimizerConfig


@pytest.fixture
def original(recorded):
    """Builds a recorded model: `original("ckpt")` or `original("noblock_module.pt", ...)`."""

    def build(name: str, position: str = "learned_2d") -> GLM:
        sizes = json.loads(recorded("glm_orig/config.json").read_text())
        config = ModelConfig(
            num_layers=sizes["num_layers"],
            hidden_size=sizes["hidden_size"],
            num_attention_heads=sizes["num_attention_heads"],
            max_positions=sizes["max_sequence_length"],
            vocab_rows=sizes["vocab_size"],
            position=position,
            dropout=0.0,
            attention_dropout=0.0,
        )
        model = GLM(config).eval()
        tensors = read_with_heads(recorded(f"glm_orig/{name}"))[0]
        model.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
        return model

    return build


@pytest.fixture
def arrays(recorded):
    """The arrays of a recorded file as tensors."""

    def read(name: str) -> dict[str, Tensor]:
        with np.load(recorded(f"glm_orig/{name}")) as file:
            return {
                key: torch.from_numpy(file[key])
                for key in file.files
                if file[key].dtype.kind in "if"
            }

    return read


def pack(rows: dict[str, Tensor], sep: Tensor | list[int] | None = None):
    """Rows as they stand in the file -> ids [T], places [2, T] and segments."""
    ids = rows["input_ids"]
    places = rows.get("position_ids", torch.zeros(len(ids), 2, ids.shape[1], dtype=torch.int64))
    part_a = rows["sep"] if sep is None else torch.as_tensor(sep)
    segments = Segments((ids.shape[1],) * len(ids), tuple(part_a.tolist()))
    return ids.flatten(), places.transpose(0, 1).flatten(1), segments


def logits(model: GLM, rows: dict[str, Tensor], sep: Tensor | list[int] | None = None) -> Tensor:
    with torch.inference_mode():
        return model.logits(model.hidden(*pack(rows, sep))).view(*rows["input_ids"].shape, -1)


def assert_equal(ours: Tensor, theirs: Tensor, atol: float = 3e-5) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs.numpy(), rtol=0, atol=atol)


def test_logits_equal_the_original(original, arrays):
    rows = arrays("forward.npz")
    assert_equal(logits(original("ckpt"), rows), rows["logits"])


def test_logits_equal_the_original_with_one_part_a_length_for_all_rows(original, arrays):
    rows = arrays("forward.npz")
    ours = logits(original("ckpt"), rows, [11] * len(rows["input_ids"]))
    assert_equal(ours, rows["logits_scalar_sep11"])


def test_merged_model_parallel_shards_give_the_logits_of_the_whole(original, arrays):
    rows = arrays("forward.npz")
    assert_equal(logits(original("ckpt_mp2"), rows), rows["logits"])


def test_merged_shards_equal_the_whole_checkpoint_bit_for_bit(recorded):
    whole = read_with_heads(recorded("glm_orig/ckpt"))[0]
    merged = read_with_heads(recorded("glm_orig/ckpt_mp2"))[0]
    assert whole.keys() == merged.keys()
    assert all(torch.equal(whole[name], merged[name]) for name in whole)


def test_a_half_precision_checkpoint_gives_the_logits_of_the_original(original, arrays):
    rows = arrays("forward_half_weights.npz")
    assert_equal(logits(original("ckpt_half"), rows), rows["logits_fp32_compute"])


def test_final_hidden_states_equal_the_original(original, arrays):
    rows = arrays("forward.npz")
    with torch.inference_mode():
        hidden = original("ckpt").hidden(*pack(rows)).view_as(rows["final_hidden"])
    assert_equal(hidden, rows["final_hidden"])


def test_hidden_states_after_the_embedding_and_one_layer_equal_the_original(original, arrays):
    rows = arrays("forward.npz")
    model = original("ckpt")
    seen = []
    model.blocks[0].register_forward_hook(lambda _, args, out: seen.extend([args[0], out]))
    logits(model, rows)
    shape = rows["final_hidden"].shape
    assert_equal(seen[0].view(shape), rows["hidden_after_embedding"])
    assert_equal(seen[1].view(shape), rows["hidden_after_layer1"])


def test_an_attention_scale_of_8_is_the_same_function(original, arrays):
    rows = arrays("forward_variants.npz")
    assert_equal(logits(original("ckpt"), rows), rows["logits_attention_scale8"])


def test_one_row_of_positions_gives_the_logits_of_the_original(original, arrays):
    rows = arrays("forward_variants.npz")
    places = rows["position_ids_1d"]
    rows["position_ids"] = torch.stack([places, torch.zeros_like(places)], 1)
    model = original("noblock_module.pt", position="learned_1d")
    assert_equal(logits(model, rows), rows["logits_noblock"])


def test_relative_positions_give_the_logits_of_the_original(original, arrays):
    rows = arrays("relative.npz")
    model = original("relative_module.pt", position="relative_xl")
    prefix = {"input_ids": rows["input_ids"][2:], "sep": rows["sep"][2:]}
    assert_equal(logits(model, prefix), rows["logits_sep_rows2on"])
    causal = {"input_ids": rows["input_ids"][:2]}
    assert_equal(logits(model, causal, [0, 0]), rows["logits_causal_rows01"])


def target_rows(rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    wanted = rows["loss_mask"].flatten().nonzero()[:, 0]
    return wanted, rows["targets"].flatten()[wanted]


def test_losses_equal_the_original(original, arrays):
    rows = arrays("loss_grads.npz")
    wanted, targets = target_rows(rows)
    total, losses = original("ckpt").loss(*pack(rows), wanted, targets)
    assert_equal(losses, rows["token_losses"].flatten()[wanted], atol=1e-5)
    assert_equal(total / len(wanted), rows["loss"], atol=1e-5)


def test_losses_at_every_place_equal_the_original(original, arrays):
    rows = arrays("loss_grads.npz")
    everywhere = torch.arange(rows["targets"].numel())
    _, losses = original("ckpt").loss(*pack(rows), everywhere, rows["targets"].flatten())
    assert_equal(losses, rows["token_losses"].flatten(), atol=1e-5)


def test_every_gradient_equals_the_original(original, arrays, recorded):
    rows = arrays("loss_grads.npz")
    wanted, targets = target_rows(rows)
    model = original("ckpt")
    total, _ = model.loss(*pack(rows), wanted, targets)
    (total / len(wanted)).backward()
    parameters = dict(model.named_parameters())
    with np.load(recorded("glm_orig/loss_grads.npz")) as file:
        names = [str(name) for name in file["grad_names"]]
    assert {our_name(name) for name in names} == parameters.keys()
    for name, norm in zip(names, rows["grad_norms"].tolist(), strict=True):
        assert parameters[our_name(name)].grad.norm().item() == pytest.approx(norm, rel=1e-4)
    whole = [name for name in rows if name.startswith("grad:")]
    assert whole
    for name in whole:
        ours = parameters[our_name(name.removeprefix("grad:"))].grad
        np.testing.assert_allclose(ours.numpy(), rows[name].numpy(), rtol=1e-4, atol=2e-6)


def test_eight_adamw_steps_end_where_the_original_ended(original, arrays, recorded):
    rows = arrays("train8.npz")
    wanted, targets = target_rows(rows)
    model = original("ckpt")
    config = OptimizerConfig(peak_lr=2e-3, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-6)
    optimizer = make_optimizer(model, config)
    for step, rate in enumerate(rows["lrs"].tolist()):
        total, _ = model.loss(*pack(rows), wanted, targets)
        loss = total / len(wanted)
        loss.backward()
        norm = clip_gradients(model.parameters(), 1.0)
        assert loss.item() == pytest.approx(rows["losses"][step].item(), abs=2e-5)
        assert norm.item() == pytest.approx(rows["grad_norms"][step].item(), rel=1e-4)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad()
    parameters = dict(model.named_parameters())
    with np.load(recorded("glm_orig/train8.npz")) as file:
        norms = dict(zip(map(str, file["final_names"]), file["final_param_l2"], strict=True))
    assert {our_name(name) for name in norms} == parameters.keys()
    for name, norm in norms.items():
        assert parameters[our_name(name)].norm().item() == pytest.approx(norm, rel=2e-5, abs=2e-5)
    for name in (name for name in rows if name.startswith("final:")):
        assert_equal(parameters[our_name(name.removeprefix("final:"))], rows[name], atol=2e-5)


def test_cached_decoding_gives_the_logits_of_the_original(original, arrays):
    rows = arrays("cached_decode.npz")
    model = original("ckpt")
    ids, places, segments = pack(rows)
    (length,), (part_a,) = segments.lengths, segments.part_a_lengths
    cache = KeyValueCache(model.config, 1, length, torch.float32, ids.device)
    with torch.inference_mode():
        last = torch.tensor([part_a - 1])
        model.hidden(ids[:part_a], places[:, :part_a], Segments((part_a,), (part_a,)), last, cache)
        steps = [
            model.logits(model.step(ids[i : i + 1], places[:, i : i + 1], cache))
            for i in range(part_a, length)
        ]
    assert_equal(torch.cat(steps), rows["step_logits"])
    assert_equal(logits(model, rows)[0, part_a:], rows["full_logits"][0])


def test_the_checkpoint_with_random_states_of_the_original_is_read_as_data(recorded, arrays):
    rows = arrays("train8.npz")
    tensors = read_with_heads(recorded("glm_orig/ckpt_writer"))[0]
    for name in (name for name in rows if name.startswith("final:")):
        assert_equal(tensors[our_name(name.removeprefix("final:"))], rows[name], atol=2e-5)


def test_a_model_filled_by_formula_gives_the_logits_computed_by_the_original_in_float64():
    # Filling and values: facts about the original, run in float64 (its checkpoint names sorted).
    config = ModelConfig(
        num_layers=2, hidden_size=16, num_attention_heads=4, max_positions=32, vocab_rows=128,
        dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    model = GLM(config).double().eval()
    with torch.no_grad():
        for k, name in enumerate(sorted(ORIGINAL_NAMES)):
            parameter = model.get_parameter(our_name(name))
            j = torch.arange(parameter.numel(), dtype=torch.float64)
            filled = 0.1 * torch.sin(1 + k + 0.37 * j) + float(name.endswith("layernorm.weight"))
            parameter.copy_(filled.view_as(parameter))
    rows = {
        "input_ids": torch.tensor([[1, 10, 2, 12, 0, 3, 20, 21], [1, 30, 31, 2, 0, 3, 22, 23]]),
        "position_ids": torch.tensor(
            [
                [[0, 1, 2, 3, 4, 2, 2, 2], [0, 0, 0, 0, 0, 1, 2, 3]],
                [[0, 1, 2, 3, 4, 3, 3, 3], [0, 0, 0, 0, 0, 1, 2, 3]],
            ]
        ),
    }
    ours = logits(model, rows, [5, 5])
    assert ours[0, 5, :5].tolist() == pytest.approx(
        [0.33444890150534673, 0.3326463778722045, 0.2874467918450001, 0.20474688358232213,
         0.09533568707821356], abs=1e-12,
    )  # fmt: skip
    assert ours[1, 7, :5].tolist() == pytest.approx(
        [0.33933858248908577, 0.3718239835241422, 0.35580120985481273, 0.29336059330163716,
         0.1926481396916275], abs=1e-12,
    )  # fmt: skip
    assert ours.sum().item() == pytest.approx(19.630055821877683, abs=1e-10)
    assert ours.abs().sum().item() == pytest.approx(459.43657920617966, abs=1e-10)


ORIGINAL_NAMES = [
    "word_embeddings.weight",
    "transformer.position_embeddings.weight",
    "transformer.block_position_embeddings.weight",
    "transformer.final_layernorm.weight",
    "transformer.final_layernorm.bias",
    *(
        f"transformer.layers.{layer}.{part}.{kind}"
        for layer in range(2)
        for part in (
            "input_layernorm",
            "attention.query_key_value",
            "attention.dense",
            "post_attention_layernorm",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
        )
        for kind in ("weight", "bias")
    ),
]
