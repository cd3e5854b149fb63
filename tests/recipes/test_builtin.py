import pytest

from glmctl.recipe.load import builtin_recipes, load_recipe, recipe_name, to_toml
from glmctl.recipe.plan import count_parameters, make_plan
from glmctl.recipe.schema import Recipe

NAMES = [recipe_name(file) for file in builtin_recipes()]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_plans(name):
    assert make_plan(load_recipe(name)).work.steps > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_of_a_recipe_loads(name):
    recipe = load_recipe(name)
    for profile in recipe.topology.profiles:
        assert load_recipe(name, topology=profile).train.global_batch_size == (
            recipe.train.global_batch_size
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_resolved_recipe_loads_to_itself(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "again.toml")) == recipe


@pytest.mark.parametrize(
    ("name", "parameters"), [("glm-base", 109_338_624), ("glm-large", 334_688_256)]
)
def test_the_paper_models_have_the_paper_sizes(name, parameters):
    assert count_parameters(load_recipe(name).model).total == parameters


def described(recipe: Recipe) -> tuple[object, ...]:
    train, schedule, optimizer = recipe.train, recipe.schedule, recipe.optimizer
    return (
        train.steps,
        train.global_batch_size,
        train.micro_batch_size,
        optimizer.peak_lr,
        optimizer.betas,
        optimizer.eps,
        optimizer.weight_decay,
        schedule.kind,
        schedule.warmup_steps,
        schedule.decay_steps,
        schedule.min_ratio,
        recipe.topology.world_size,
    )


def test_glm_base_is_the_released_script_on_the_gpus_of_the_paper():
    assert described(load_recipe("glm-base")) == (
        *(150_000, 1024, 16),
        *(4e-4, (0.9, 0.98), 1e-6, 0.1),
        *("cosine", 6_000, 120_000, 0.05),
        64,
    )


def test_glm_large_is_the_released_script_on_the_gpus_of_the_paper():
    assert described(load_recipe("glm-large")) == (
        *(200_000, 1024, 16),
        *(2e-4, (0.9, 0.98), 1e-6, 0.1),
        *("cosine", 8_000, 160_000, 0.05),
        64,
    )


def test_the_smoke_recipe_takes_the_overrides_of_the_tests():
    recipe = load_recipe("smoke/tiny", ["train.steps=3", "optimizer.kind=sgd"])
    assert recipe.train.steps == 3
    assert recipe.optimizer.kind == "sgd"
    assert recipe.train.precision == "fp32"
