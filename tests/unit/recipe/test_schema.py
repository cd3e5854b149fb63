import pytest
from pydantic import ValidationError

from glmctl.errors import UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import ObjectiveConfig, Recipe


def tiny(*overrides):
    return load_recipe("smoke/tiny", overrides)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["schedule.warmup_steps=900", "schedule.decay_steps=800"],
            "schedule.warmup_steps: 900 is more than schedule.decay_steps 800, which include it; "
            "lower it",
        ),
        (
            ["objective.block_mask_probability=0.1"],
            "tokenizer.noise_token: false, but objective.block_mask_probability 0.1 puts "
            "[dBLOCK] into the input; set it to true",
        ),
        (
            ["objective.sentinel=true"],
            "objective.sentinel: true needs tokenizer.num_sentinels; set it to the most spans "
            "that a sample can have",
        ),
        (
            ["objective.kind=mlm"],
            "model.position: 'learned_2d' does not fit objective.kind 'mlm'; use 'learned_1d'",
        ),
        (
            ["model.position=learned_1d"],
            "model.position: 'learned_1d' does not fit objective.kind 'blank_infilling'; "
            "use 'learned_2d'",
        ),
    ],
)
def test_sections_that_disagree_are_refused(overrides, problem):
    with pytest.raises(Exception, match="smoke/tiny") as caught:
        tiny(*overrides)
    assert caught.value.problems == (problem,)


def test_a_section_checks_itself_when_it_is_built_alone():
    with pytest.raises(ValidationError, match="hidden_size: 10 is not a multiple"):
        ModelConfig(num_layers=1, hidden_size=10, num_attention_heads=4, max_positions=8)


SIZES = {"num_layers": 1, "hidden_size": 16, "num_attention_heads": 4, "max_positions": 8}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads: 3 does not divide num_attention_heads 4; try 2 or 4"),
        ({"rotary": {}}, "rotary: is not read with position 'learned_2d'"),
        ({"norm_placement": "deep"}, "residual_scale: norm_placement 'deep' needs it"),
        ({"residual_scale": 2.0}, "norm_placement: 'pre' reads no residual_scale"),
        ({"position": "relative_xl", "num_kv_heads": 2}, "takes no num_kv_heads"),
        (
            {"position": "rotary", "rotary": {"fraction": 0.25}},
            "rotary: 0.25 of a head of 4 is 1 dimensions, and 'rotary' turns them 2 at a time",
        ),
        (
            {"position": "rotary_2d", "head_size": 6},
            "rotary: 1 of a head of 6 is 6 dimensions, and 'rotary_2d' turns them 4 at a time",
        ),
    ],
)
def test_components_that_do_not_go_together_are_refused(values, problem):
    with pytest.raises(ValidationError, match=problem):
        ModelConfig.model_validate({**SIZES, **values})


def test_a_head_size_of_its_own_needs_no_width_that_heads_divide():
    config = ModelConfig.model_validate({**SIZES, "hidden_size": 18, "head_size": 6})
    assert config.head_width == 6


def test_an_objective_without_weight_is_refused():
    with pytest.raises(ValidationError, match="all four weights are 0"):
        ObjectiveConfig(token_weight=0)


def test_values_cannot_change():
    with pytest.raises(ValidationError, match="frozen"):
        tiny().train.steps = 3


def test_derived_numbers_are_properties():
    recipe = load_recipe("glm-base")
    assert recipe.model.head_width == 64
    assert recipe.model.ffn_width == 3072
    assert recipe.topology.world_size == 64
    assert recipe.micro_steps == 1


def test_replicas_are_what_is_left_of_the_gpus():
    layout = ["topology.tensor_parallel_size=4", "topology.pipeline_parallel_size=4"]
    recipe = load_recipe("glm-base", layout)
    assert recipe.topology.replica_size == 16
    assert recipe.topology.data_parallel_size == 4
    assert recipe.micro_steps == 16


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["topology.tensor_parallel_size=3"],
            "topology.tensor_parallel_size: 3 x pipeline_parallel_size 1 = 3 GPUs hold one "
            "replica, and 8 x 8 = 64 GPUs do not hold whole ones; 2 or 4 a replica do",
        ),
        (
            ["topology.tensor_parallel_size=8"],
            "topology.tensor_parallel_size: 8 does not divide model.num_attention_heads 12; "
            "try 6 or 12",
        ),
        (
            ["topology.pipeline_parallel_size=8"],
            "topology.pipeline_parallel_size: 8 does not divide model.num_layers 12; try 6 or 12",
        ),
        (
            ["topology.tensor_parallel_size=4", "train.global_batch_size=72"],
            "train.global_batch_size: 72 is not a multiple of micro_batch_size 16 x 16 replicas "
            "= 256; 12 or 18 replicas divide it",
        ),
    ],
)
def test_a_layout_that_does_not_divide_is_refused(overrides, problem):
    with pytest.raises(UsageError) as caught:
        load_recipe("glm-base", overrides)
    assert caught.value.problems == (problem,)


@pytest.mark.parametrize(
    ("stages", "found"), [("[5, 7]", "2 stages of 12"), ("[3, 3, 3, 4]", "4 stages of 13")]
)
def test_stages_that_do_not_hold_the_layers_are_refused(stages, found):
    layout = ["topology.pipeline_parallel_size=4", f"topology.stage_layers={stages}"]
    with pytest.raises(UsageError) as caught:
        load_recipe("glm-base", layout)
    assert caught.value.problems == (
        f"topology.stage_layers: {found} layers in all, but pipeline_parallel_size is 4 and "
        "model.num_layers 12; make them agree",
    )


def test_a_record_and_no_other_recipe_says_what_it_needs():
    with pytest.raises(UsageError, match=r"recipe\.needs: missing; a record says"):
        tiny("recipe.stage=record")
    with pytest.raises(UsageError, match=r"recipe\.needs: is not read with stage 'pretrain'"):
        tiny("recipe.needs=a GPU")


def test_fewer_gpus_than_one_replica_are_one_mistake():
    with pytest.raises(UsageError) as caught:
        load_recipe("glm-base", ["topology.tensor_parallel_size=4"], gpus=2)
    (problem,) = caught.value.problems
    assert problem.endswith("1 x 2 = 2 GPUs do not hold whole ones; 2 a replica do")


def test_the_json_schema_describes_every_key():
    schema = Recipe.model_json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, value in section["properties"].items()
        if "description" not in value
    ]
    assert undescribed == []
