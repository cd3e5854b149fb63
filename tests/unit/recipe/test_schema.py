import pytest
from pydantic import ValidationError

from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import ModelConfig, ObjectiveConfig, Recipe


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


def test_an_objective_without_weight_is_refused():
    with pytest.raises(ValidationError, match="all four weights are 0"):
        ObjectiveConfig(token_weight=0)


def test_values_cannot_change():
    with pytest.raises(ValidationError, match="frozen"):
        tiny().train.steps = 3


def test_derived_numbers_are_properties():
    recipe = load_recipe("glm-base")
    assert recipe.model.head_size == 64
    assert recipe.model.ffn_hidden_size == 3072
    assert recipe.topology.world_size == 64
    assert recipe.micro_steps == 1


def test_the_json_schema_describes_every_key():
    schema = Recipe.model_json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, value in section["properties"].items()
        if "description" not in value
    ]
    assert undescribed == []
