"""Recipes of fine-tuning, and the runs of their matrix."""

from pathlib import Path

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.finetune import FinetuneRecipe, runs_of, trace_finetuning
from glmctl.recipe.kinds import load_any, trace_any
from glmctl.recipe.load import to_toml

HEAD = '[recipe]\nstage = "finetune"\nsource = "test"\n'
MATRIX = """
[task]
max_length = 64
[train]
epochs = 3
[matrix]
task = ["rte", { name = "copa", train = { steps = 7, global_batch_size = 8 }, task.pattern = 1 }]
seed = [1, 2]
"optimizer.peak_lr" = [1e-5, 2e-5]
"""


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str, head: str = HEAD) -> str:
        (tmp_path / "own.toml").write_text(head + text)
        return str(tmp_path / "own.toml")

    return write


def problems_of(path: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        trace_finetuning(path, overrides)
    return caught.value.problems


def test_what_is_left_out_is_as_usual(recipe_file):
    recipe, origins = trace_any(recipe_file('[task]\nname = "rte"'), ["train.seed=5"])
    assert isinstance(recipe, FinetuneRecipe)
    assert (recipe.train.epochs, recipe.train.seed, recipe.train.global_batch_size) == (10, 5, 16)
    assert (recipe.schedule.kind, recipe.schedule.warmup_ratio) == ("linear", 0.1)
    assert recipe.optimizer.betas == (0.9, 0.999)
    assert recipe.optimizer.peak_lr is None
    assert origins["task.name"].kind == "file"
    assert origins["train.seed"].kind == "set"
    (run,) = runs_of(recipe, "own")
    assert (run.name, run.recipe) == ("", recipe)


def test_a_recipe_comes_back_from_its_text(recipe_file, tmp_path):
    recipe = load_any(recipe_file(MATRIX))
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert load_any(str(tmp_path / "again.toml")) == recipe


def test_a_matrix_makes_a_run_of_each_combination(recipe_file):
    recipe, _ = trace_finetuning(recipe_file(MATRIX))
    runs = runs_of(recipe, "own")
    assert len(runs) == 8
    assert [run.name for run in runs[:3]] == [
        "rte-seed=1-peak_lr=1e-05",
        "rte-seed=1-peak_lr=2e-05",
        "rte-seed=2-peak_lr=1e-05",
    ]
    first, last = runs[0].recipe, runs[-1].recipe
    assert not first.matrix
    assert (first.task, first.train.epochs, first.train.steps) == (
        {"name": "rte", "max_length": 64}, 3, None,
    )  # fmt: skip
    assert last.task == {"name": "copa", "max_length": 64, "pattern": 1}
    assert (last.train.epochs, last.train.steps, last.train.global_batch_size) == (None, 7, 8)
    assert (last.train.seed, last.optimizer.peak_lr) == (2, 2e-5)
    assert runs[-1].values == {"task": "copa", "seed": 2, "optimizer.peak_lr": 2e-5}


def test_models_are_called_without_their_slashes(recipe_file):
    path = recipe_file('[task]\nname = "rte"\n[matrix]\nmodel = ["runs/a", "hf:THUDM/glm"]')
    names = [run.name for run in runs_of(trace_finetuning(path)[0], path)]
    assert names == ["model=runs_a", "model=hf_THUDM_glm"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepochs = 2", "task.name: missing; name a built-in task, or write one"),
        ('[task]\nname = "rte"\n[matrix]\nseeds = [1]', "matrix.seeds: is neither one of task, m"),
        ('[task]\nname = "rte"\n[matrix]\nseed = []', "matrix.seed: is empty; give it a value"),
        ('[task]\nname = "rte"\n[matrix]\nseed = 1', "matrix.seed: should be a valid array"),
        ('[task]\nname = "rte"\n[matrix]\nseed = [{a = 1}]', "matrix.seed: {'a': 1} is a table"),
        ('[task]\nname = "rte"\n[matrix]\nseed = [1, 1]', "several runs are called seed=1"),
        ('[task]\nname = "rte"\n[matrix]\nseed = ["x"]', "train.seed: should be a valid integer"),
        ('[task]\nname = "rte"\n[model]\nlayers = 1', "model.layers: unknown key; known keys: dr"),
    ],
)
def test_mistakes_say_where_they_are(recipe_file, text, message):
    (found,) = problems_of(recipe_file(text))
    assert found.startswith(message) or message in found


def test_another_stage_is_no_fine_tuning(recipe_file):
    path = recipe_file('[task]\nname = "rte"', '[recipe]\nsource = "test"\n')
    assert problems_of(path) == (f"is a recipe of stage 'pretrain'; run: glmctl pretrain {path}",)


def test_the_text_of_what_may_be_forgotten_is_a_key(recipe_file):
    text = '[task]\nname = "rte"\n[data]\nbattery = "own.txt"\n[train]\nmax_forgetting = 0.1\n'
    recipe = load_any(recipe_file(text))
    assert (recipe.data.battery, recipe.train.max_forgetting) == ("own.txt", 0.1)
