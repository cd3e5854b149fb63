import math
import subprocess
import sys

import pytest

from glmctl.recipe.load import load_recipe
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.plan import (
    count_parameters,
    expected_samples,
    forward_flops,
    make_plan,
    span_moments,
    token_spans,
)
from glmctl.recipe.schema import ObjectiveConfig

# Paper and released configurations: layers, hidden, heads, positions, vocabulary rows, parameters.
SIZES = {
    "GLM-Base": (12, 768, 12, 512, 30592, 109_338_624),
    "GLM-Large": (24, 1024, 16, 512, 30592, 334_688_256),
    "GLM-410M": (30, 1024, 16, 512, 30592, 410_265_600),
    "GLM-515M": (30, 1152, 18, 512, 30592, 514_632_960),
    "GLM-RoBERTa": (24, 1024, 16, 512, 50304, 354_873_344),
    "GLM-RoBERTa-1.25": (24, 1152, 18, 1024, 50304, 442_879_488),
    "GLM-Large-Chinese": (24, 1024, 16, 1024, 50048, 355_659_776),
    "GLM-2B": (36, 2048, 32, 1024, 50304, 1_920_122_880),
    "GLM-10B": (48, 4096, 64, 1024, 50304, 9_880_682_496),
    "GLM-10B-Chinese": (48, 4096, 64, 1024, 50048, 9_879_633_920),
    "seed-large": (24, 2048, 32, 512, 30592, 1_273_356_288),
}


# Table D.2: the components of the chat models and of GLM-130B, and their parameters.
QUERY_GROUPS = {
    "norm": "rms", "ffn": "swiglu", "attention": "causal", "linear_bias": False,
    "tie_embeddings": False, "position": "rotary", "max_positions": 8192, "num_kv_heads": 2,
    "hidden_size": 4096, "num_attention_heads": 32, "ffn_hidden_size": 13696,
}  # fmt: skip
GLM_4 = {**QUERY_GROUPS, "num_layers": 40, "vocab_rows": 151552}
GLM_130B = {
    "num_layers": 70, "hidden_size": 12288, "num_attention_heads": 96, "ffn_hidden_size": 32768,
    "ffn": "geglu", "position": "rotary", "vocab_rows": 150528, "max_positions": 2048,
    "norm_placement": "deep", "residual_scale": 140**0.5, "residual_from": "normalised",
}  # fmt: skip
FAMILY = {
    "ChatGLM-6B": (
        {
            "num_layers": 28, "hidden_size": 4096, "num_attention_heads": 32,
            "position": "rotary_2d", "vocab_rows": 130528, "max_positions": 2048,
        },
        6_173_286_400,
    ),
    "ChatGLM2-6B": ({**QUERY_GROUPS, "num_layers": 28, "vocab_rows": 65024}, 6_243_584_000),
    "GLM-4-9B": (GLM_4, 9_399_951_360),
    "GLM-4-9B-1M": ({**GLM_4, "num_kv_heads": 4}, 9_483_857_920),
    "GLM-4-9B-0414": ({**GLM_4, "norm_placement": "sandwich"}, 9_400_279_040),
    "GLM-4-32B-0414": (
        {
            **GLM_4, "norm_placement": "sandwich", "num_layers": 61, "hidden_size": 6144,
            "num_attention_heads": 48, "head_size": 128, "ffn_hidden_size": 23040,
            "qkv_bias": False,
        },
        32_566_081_536,
    ),
    # The paper does not say whether the embedding is tied: 128.7 and 130.55 thousand million.
    "GLM-130B": (GLM_130B, 128_697_794_560),
    "GLM-130B untied": ({**GLM_130B, "tie_embeddings": False}, 130_547_482_624),
}  # fmt: skip


def model(layers, hidden, heads, places, rows, position="learned_2d"):
    return ModelConfig(
        num_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        max_positions=places,
        vocab_rows=rows,
        position=position,
    )


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_the_paper(name):
    *sizes, total = SIZES[name]
    assert count_parameters(model(*sizes)).total == total


@pytest.mark.parametrize("name", FAMILY)
def test_parameters_of_the_family_are_those_of_the_releases(name):
    config, total = FAMILY[name]
    assert count_parameters(ModelConfig(**config)).total == total


def test_parts_add_up_to_the_total():
    count = count_parameters(model(2, 8, 2, 16, 32))
    assert count.word_embedding == 32 * 8
    assert count.position_embeddings == 2 * 17 * 8
    assert count.layers == 2 * (12 * 64 + 13 * 8)
    assert count.final_norm == 16
    assert count.total == 256 + 272 + 1744 + 16


def test_one_position_table_has_no_spare_row():
    assert count_parameters(model(2, 8, 2, 16, 32, "learned_1d")).position_embeddings == 128


def test_relative_positions_cost_a_projection_in_each_layer():
    relative = count_parameters(model(2, 8, 2, 16, 32, "relative_xl"))
    assert relative.position_embeddings == 16
    assert relative.layers == 1744 + 2 * (64 + 8)


def test_parameters_without_a_vocabulary_say_what_is_missing():
    assert "word embedding" in (count_parameters(model(1, 8, 2, 16, None)).missing or "")


def test_the_cut_poisson_law_has_the_mean_of_the_released_code():
    assert span_moments(ObjectiveConfig())[0] == pytest.approx(3.157, abs=5e-4)


def test_a_law_that_is_not_cut_has_its_moments():
    mean, square = span_moments(ObjectiveConfig(max_span_length=512))
    share = 1 - math.exp(-3)  # without the length 0
    assert (mean, square) == pytest.approx((3 / share, 12 / share))


def test_token_spans_hide_the_ratio_and_half_a_span_more():
    (sample,) = expected_samples(ObjectiveConfig(), 512)
    assert sample.hidden == pytest.approx(77.5, abs=0.01)  # 76 are asked for
    assert sample.part_a + sample.part_b == pytest.approx(512 + 2 * 77.5 / 3.157, abs=0.01)


def test_a_document_span_has_the_mean_of_its_uniform_law():
    objective = ObjectiveConfig(token_weight=0, document_weight=2, document_min_ratio=0.25)
    (sample,) = expected_samples(objective, 100)
    assert (sample.share, sample.hidden, sample.part_a, sample.part_b) == (1, 62.5, 38.5, 63.5)


def test_weights_are_normalised():
    objective = ObjectiveConfig(token_weight=5, sentence_weight=3, document_weight=2)
    assert [sample.share for sample in expected_samples(objective, 512)] == [0.5, 0.3, 0.2]


def test_masked_words_have_no_part_b():
    (sample,) = expected_samples(ObjectiveConfig(kind="mlm"), 512)
    assert (sample.part_a, sample.part_b) == (512, 0)
    assert sample.wanted == sample.hidden


class Fixed:
    """A sample of four tokens in Part A and three in Part B."""

    part_a, part_b, wanted = 4, 3, 3


def test_operations_of_one_layer_count_by_hand():
    # keys and values of 7 rows; queries, output and feed-forward of 3; 3 x 4 + 6 pairs; 3 logits
    by_hand = 2 * (7 * 2 * 64 + 3 * 10 * 64 + 18 * 2 * 8 + 3 * 8 * 32)
    assert forward_flops(model(1, 8, 2, 16, 32), Fixed()) == by_hand


def test_a_causal_layer_of_query_groups_and_gates_counts_by_hand():
    # 7 rows of width 8: queries, output 8 x 8, keys and values 8 x 8, three products 8 x 5
    by_hand = 2 * (7 * (2 * 64 + 64 + 3 * 40) + 28 * 2 * 8)
    sizes = {
        "hidden_size": 8, "num_attention_heads": 4, "num_kv_heads": 2, "ffn_hidden_size": 5,
        "ffn": "swiglu", "attention": "causal", "max_positions": 16, "vocab_rows": 32,
    }  # fmt: skip
    one, two = (forward_flops(ModelConfig(num_layers=depth, **sizes), Fixed()) for depth in (1, 2))
    assert two - one == by_hand


def test_every_further_layer_runs_all_rows():
    # 12 H^2 products a row; 4 x 4 pairs in Part A, 18 in Part B
    by_hand = 2 * (7 * 12 * 64 + 34 * 2 * 8)
    one, two = (forward_flops(model(depth, 8, 2, 16, 32), Fixed()) for depth in (1, 2))
    assert two - one == by_hand


def test_eight_gpus_keep_the_global_batch():
    plan = make_plan(load_recipe("glm-base", gpus=8))
    assert plan.layout.micro_steps == 8
    assert plan.layout.rows_per_step == 1024
    assert plan.work.source_tokens_per_step == 524_288
    assert plan.work.source_tokens == 150_000 * 524_288


def test_memory_counts_weights_gradients_and_moments():
    memory = make_plan(load_recipe("glm-large", ["train.precision=fp32"])).memory_per_gpu
    assert memory.weights_bytes == 4 * 334_688_256
    assert memory.gradients_bytes == 4 * 334_688_256
    assert memory.optimizer_bytes == 8 * 334_688_256
    assert memory.gpu_has_bytes == 32 * 2**30


def test_sgd_has_no_moments():
    plan = make_plan(load_recipe("glm-large", ["optimizer.kind=sgd"]))
    assert plan.memory_per_gpu.optimizer_bytes == 0


def test_bf16_keeps_float32_weights_and_halves_the_products():
    keep = "train.activation_checkpointing=false"
    full = make_plan(load_recipe("glm-large", [keep, "train.precision=fp32"])).memory_per_gpu
    half = make_plan(load_recipe("glm-large", [keep, "train.precision=bf16"])).memory_per_gpu
    assert half.weights_bytes == full.weights_bytes + 2 * 302_309_376
    assert 0.5 < half.activations_bytes / full.activations_bytes < 0.6


def test_checkpointing_keeps_one_layer_whole_and_the_input_of_each():
    recipe = load_recipe("glm-large", ["train.precision=fp32"])
    tokens = 16 * (512 + 2 * token_spans(recipe.objective, 512)[1])
    kept = make_plan(recipe).memory_per_gpu.activations_bytes
    # 24 inputs of 1024 float32; one layer of 16 float32 and 2 masks a hidden unit
    assert kept == pytest.approx(tokens * 1024 * (24 * 4 + 16 * 4 + 2), rel=1e-6)


def memory(*layout):
    """GLM-Large on 64 GPUs: 302,309,376 parameters in its layers, 32,378,880 around them."""
    return make_plan(load_recipe("glm-large", layout)).memory_per_gpu


def test_sharding_splits_one_part_more_at_a_time():
    everything = 4 * 334_688_256
    for sharding, weights, gradients, moments in (
        ("none", everything, everything, 2 * everything),
        ("zero1", everything, everything, 2 * everything // 64),
        ("zero2", everything, everything // 64, 2 * everything // 64),
        ("zero3", everything // 64, everything // 64, 2 * everything // 64),
    ):
        part = memory(f"topology.sharding={sharding}", "train.precision=fp32")
        held = (part.weights_bytes, part.gradients_bytes, part.optimizer_bytes)
        assert held == (weights, gradients, moments), sharding


def test_sharding_leaves_only_the_copy_for_the_products_whole():
    part = memory("topology.sharding=zero2", "train.precision=fp16")
    assert part.weights_bytes == 334_688_256 * 4 // 64 + 334_688_256 * 2


def test_tensor_parallel_gpus_share_every_matrix():
    part = memory("topology.tensor_parallel_size=4", "train.precision=fp32")
    assert part.weights_bytes == 334_688_256
    whole = memory("train.precision=fp32", "train.activation_checkpointing=false")
    split = memory(
        "topology.tensor_parallel_size=4",
        "train.precision=fp32",
        "train.activation_checkpointing=false",
    )
    # of 16 float32 and 2 masks a hidden unit, 12 float32 are split over the four
    assert split.activations_bytes / whole.activations_bytes == pytest.approx(30 / 66)


def test_an_end_of_the_pipeline_holds_its_layers_and_the_embeddings():
    part = memory("topology.pipeline_parallel_size=8", "train.precision=fp32")
    assert part.weights_bytes == 4 * (302_309_376 // 8 + 32_378_880)


@pytest.mark.parametrize(
    ("stages", "held"),
    [
        ("[2, 4, 4, 3, 3, 3, 3, 2]", 2 * 12_596_224 + 32_378_880),
        ("[1, 6, 3, 3, 4, 3, 3, 1]", 6 * 12_596_224),
    ],
    ids=["an-end", "the-middle"],
)
def test_the_fullest_of_uneven_stages_is_the_one_that_counts(stages, held):
    layout = ["topology.pipeline_parallel_size=8", f"topology.stage_layers={stages}"]
    assert memory(*layout, "train.precision=fp32").weights_bytes == 4 * held


def test_the_first_stage_of_a_pipeline_keeps_as_many_micro_batches_as_there_are_stages():
    free = "train.activation_checkpointing=false"
    whole = memory(free).activations_bytes
    assert memory(free, "topology.pipeline_parallel_size=8").activations_bytes == whole
    one = memory(free, "topology.pipeline_parallel_size=8", "train.global_batch_size=128")
    assert one.activations_bytes == pytest.approx(whole / 8)


def test_a_plan_names_replicas_and_degrees():
    layout = ["topology.tensor_parallel_size=4", "topology.pipeline_parallel_size=2"]
    plan = make_plan(load_recipe("glm-large", layout)).layout
    assert (plan.gpus, plan.replicas, plan.micro_steps) == (64, 8, 8)
    assert (plan.tensor_parallel_size, plan.pipeline_parallel_size) == (4, 2)


def test_an_unknown_gpu_has_no_hours():
    assert make_plan(load_recipe("glm-base", ["topology.gpu=abacus"])).work.duration_hours is None


def test_hours_are_operations_over_a_share_of_the_peak():
    gpu = "topology.gpu=A100-80GB"
    again = make_plan(load_recipe("glm-base", [gpu])).work
    once = make_plan(load_recipe("glm-base", [gpu, "train.activation_checkpointing=false"])).work
    assert once.duration_hours == pytest.approx(once.run_flops / (64 * 312e12 * 0.4) / 3600)
    assert again.duration_hours == pytest.approx(4 / 3 * once.duration_hours)


def test_the_plan_knows_the_chunk_of_the_loss():
    from glmctl.core.model.heads import MAX_LOGITS
    from glmctl.recipe.plan import LOGITS_AT_ONCE

    assert LOGITS_AT_ONCE == MAX_LOGITS


def test_a_plan_needs_no_torch():
    code = (
        "import sys; from glmctl.recipe.load import load_recipe; "
        "from glmctl.recipe.plan import make_plan; "
        "make_plan(load_recipe('glm-base')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
