"""Recipes of evaluations and records, and which command runs a recipe."""

from pathlib import Path

import pytest

from glmctl.core.tasks.find import find_suite
from glmctl.errors import UsageError
from glmctl.recipe.kinds import EvalRecipe, load_any
from glmctl.recipe.load import require_stage, stage_of, to_toml

HEAD = '[recipe]\nstage = "{}"\nsource = "test"\n'


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str, stage: str = "eval") -> str:
        (tmp_path / "own.toml").write_text(HEAD.format(stage) + text)
        return str(tmp_path / "own.toml")

    return write


TASKS = """
[task]
max_length = 64
[matrix]
task = ["rte", { name = "copa", task = { pattern = 1, max_length = 32 } }]
[[published]]
metric = "rte/accuracy"
value = 74.0
certainty = "recalled"
source = "Table 1"
"""


def test_the_tasks_of_a_matrix_are_a_suite_with_what_differs(recipe_file):
    suite, names = find_suite(recipe_file(TASKS))
    rte, copa = suite.choose(names)
    assert (suite.name, suite.folder, names) == ("own", "superglue", ("rte", "copa"))
    assert (rte.max_length, rte.pattern) == (64, 0)
    assert (copa.max_length, copa.pattern, copa.kind) == (32, 1, "choice")


def test_what_differs_in_one_task_does_not_reach_the_next(recipe_file):
    text = """
[task]
decode = { max_new_tokens = 9 }
[matrix]
task = [{ name = "squad_v1", task = { decode = { max_new_tokens = 4 } } }, "xquad-en"]
"""
    suite, names = find_suite(recipe_file(text))
    assert [it.decode.max_new_tokens for it in suite.choose(names)] == [4, 9]


def test_one_task_needs_no_matrix_and_may_be_written_whole(recipe_file, tmp_path):
    text = '[task]\npatterns = ["{a} [MASK]"]\nverbalizer = { 0 = "no", 1 = "yes" }'
    suite, names = find_suite(recipe_file(text))
    assert (names, suite.root) == (("own",), tmp_path)


def test_an_evaluation_comes_back_from_its_text(recipe_file, tmp_path):
    recipe = load_any(recipe_file(TASKS))
    assert isinstance(recipe, EvalRecipe)
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert load_any(str(tmp_path / "again.toml")) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "task: missing; name one, or several in matrix.task"),
        ('[matrix]\ntask = [{ name = "rte" }]', "matrix.task: {'name': 'rte'} should have a name"),
        ('[matrix]\nseed = [1]\ntask = ["rte"]', "matrix.seed: unknown key; known keys: task"),
        ('[train]\n[task]\nname = "rte"', "train: unknown key; known keys: recipe, task"),
        ('[task]\nname = "rte"\n[[published]]\ncertainty = "paper"', "source: missing"),
    ],
)
def test_mistakes_say_where_they_are(recipe_file, text, message):
    with pytest.raises(UsageError) as caught:
        load_any(recipe_file(text))
    assert any(message in problem for problem in caught.value.problems)


@pytest.mark.parametrize("text", ['[task]\nname = "rte"', '[matrix]\ntask = ["rte"]'])
def test_a_fine_tuning_that_states_no_task_of_its_own_is_no_evaluation(recipe_file, text):
    path = recipe_file(text, "finetune")
    with pytest.raises(UsageError, match=f"stage 'finetune'; run: glmctl finetune {path}"):
        find_suite(path)


def test_a_fine_tuning_that_states_a_whole_task_can_be_evaluated_by_it(recipe_file):
    text = '[task]\npatterns = ["{a} [MASK]"]\nverbalizer = { 0 = "no", 1 = "yes" }'
    assert find_suite(recipe_file(text, "finetune"))[1] == ("own",)


def test_tasks_whose_data_lies_in_two_folders_are_two_recipes(recipe_file):
    with pytest.raises(UsageError, match="has tasks of superglue and of glue, which lie in sever"):
        find_suite(recipe_file('[matrix]\ntask = ["rte", "sst2"]'))


def test_a_record_needs_no_model_and_says_what_a_run_would_need(recipe_file):
    with pytest.raises(UsageError, match=r"recipe\.needs: missing; a record says what a run would"):
        load_any(recipe_file("", "record"))
    path = recipe_file('needs = "its data, which is private"\n[topology]\nnodes = 96', "record")
    assert load_any(path).topology.world_size == 96
    with pytest.raises(UsageError) as caught:
        require_stage(path, "pretrain", "record")
    problem = "is a record, which nothing runs; that would need its data, which is private"
    assert caught.value.problems == (problem,)


def test_only_a_record_says_what_it_needs(recipe_file):
    with pytest.raises(UsageError, match=r"recipe\.needs: is not read with stage 'eval'; leave it"):
        load_any(recipe_file('needs = "time"\n[task]\nname = "rte"'))


@pytest.mark.parametrize(
    ("name", "stage"),
    [("glm-base", "pretrain"), ("superglue/335m", "finetune"), ("chatglm-6b", "record")],
)
def test_the_stage_of_a_recipe(name, stage):
    assert stage_of(name) == stage_of(f"{name}.toml") == stage


def test_what_is_no_recipe_has_no_stage(tmp_path):
    (tmp_path / "task.toml").write_text("[task]\nname = 'rte'\n")
    assert stage_of(str(tmp_path / "task.toml")) is None
    assert stage_of("rte") is None


def test_a_recipe_that_another_command_runs_is_refused_with_that_command():
    with pytest.raises(UsageError) as caught:
        require_stage("superglue/335m", "pretrain", "record")
    assert caught.value.problems == (
        "is a recipe of stage 'finetune'; run: glmctl finetune superglue/335m",
    )
    require_stage("chatglm-6b", "pretrain", "record")  # it has a plan
