from pathlib import Path

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.find import recipe_name
from glmctl.recipe.load import Origin, expand_path, load_recipe, to_toml, trace_recipe
from glmctl.recipe.schema import Recipe

SMALL = """
[recipe]
source = "a test"
[model]
num_layers = 2
hidden_size = 8
num_attention_heads = 2
max_positions = 16
[data]
sequence_length = 16
corpus = [{ name = "a", path = "a.txt" }]
[train]
steps = 10
global_batch_size = 8
micro_batch_size = 2
[topology.profiles.pair]
gpus_per_node = 2
micro_batch_size = 4
note = "two of them"
"""


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.fixture
def small(tmp_path):
    return write(tmp_path, "small.toml", SMALL)


def problems_of(path, *overrides, **layout):
    with pytest.raises(UsageError) as caught:
        load_recipe(path, overrides, **layout)
    assert caught.value.place == path
    assert caught.value.exit_code == 2
    return caught.value.problems


TEN_MISTAKES = """
[recipe]
source = "a test"
stage = "pretrian"
[modle]
num_layers = 3
[model]
num_layers = 2
hidden_size = 10
num_attention_heads = 4
max_positions = 16
[objective]
mask_ration = 0.2
token_weight = 0
[data]
sequence_length = 32
[train]
steps = "many"
global_batch_size = 9
micro_batch_size = 2
probe_every = 5
"""


def test_ten_mistakes_are_reported_at_once(tmp_path):
    path = write(tmp_path, "ten.toml", TEN_MISTAKES)
    assert sorted(problems_of(path)) == [
        "data.corpus: missing; state it (The sources)",
        "data.sequence_length: 32 is more than model.max_positions 16; lower it or raise the other",
        "model.hidden_size: 10 is not a multiple of num_attention_heads 4; try 2 or 5 heads",
        "modle: unknown key; did you mean 'model'?",
        "objective.mask_ration: unknown key; did you mean 'mask_ratio'?",
        "objective.token_weight: all four weights are 0; give one of them a positive value",
        "recipe.stage: should be 'pretrain', 'finetune', 'eval', 'quantize' or 'record'; "
        'found "pretrian"',
        "train.global_batch_size: 9 is not a multiple of micro_batch_size 2 x 1 GPUs = 2; "
        "try micro_batch_size 1 or 3",
        "train.probe_every: 5 needs data.probe, the text to probe on; "
        "set it, or leave probe_every out",
        'train.steps: should be a valid integer; found "many"',
    ]


def test_a_key_that_resembles_nothing_lists_the_known_ones(small):
    (problem,) = problems_of(small, "schedule.zzz=1")
    assert problem == (
        "schedule.zzz: unknown key; known keys: kind, warmup_steps, warmup_ratio, decay_steps, "
        "min_ratio"
    )


def test_a_number_in_quotes_is_not_a_number(small):
    assert problems_of(small, "train.seed='7'") == (
        'train.seed: should be a valid integer; found "7"',
    )


def test_a_section_that_is_no_table_is_refused(small):
    assert problems_of(small, "optimizer=3") == ("optimizer: should be a table; found 3",)


def test_infinity_is_not_a_learning_rate(small):
    (problem,) = problems_of(small, "optimizer.peak_lr=inf")
    assert problem == "optimizer.peak_lr: should be a finite number; found Infinity"


def test_a_wrong_key_in_a_profile_is_named_with_its_place(small):
    assert problems_of(small, "topology.profiles.pair.gpus=3")[0].startswith(
        "topology.profiles.pair.gpus: unknown key; did you mean 'gpu"
    )


def test_a_wrong_key_in_a_corpus_is_named_with_its_place(small):
    assert problems_of(small, "data.corpus=[{name='a', path='b', pth='c'}]") == (
        "data.corpus.0.pth: unknown key; did you mean 'path'?",
    )


def test_an_empty_list_of_corpora_is_refused(small):
    both = "data.corpus=[{name='a', path='b', dataset='c'}]"
    assert problems_of(small, both) == (
        "data.corpus.0.path: 'b' and dataset 'c' are two sources; leave one out, or make two "
        "corpora of them",
    )
    assert problems_of(small, "data.corpus=[{name='a'}]") == (
        "data.corpus.0.path: missing; state it (a file or a folder), or dataset (a name of the "
        "hub)",
    )
    assert problems_of(small, "data.corpus=[{name='a', path='b', split='test'}]") == (
        "data.corpus.0.split: 'test' belongs to a dataset, and path is given; leave it out",
    )
    assert problems_of(small, "data.corpus=[{name='a', path='b', weight=0}]") == (
        "data.corpus.0.weight: 0 would never read 'a'; take the corpus out of the list, or give "
        "it a positive weight",
    )
    assert problems_of(small, "data.on_error='ignore'") == (
        "data.on_error: should be 'stop' or 'skip'; found \"ignore\"",
    )
    assert problems_of(small, "data.corpus=[]") == (
        "data.corpus: should have at least 1 item; found none",
    )


def test_a_share_above_one_is_refused_with_its_value(small):
    assert problems_of(small, "model.dropout=1.5") == (
        "model.dropout: should be less than or equal to 1; found 1.5",
    )


def test_toml_that_does_not_parse_names_line_and_column(tmp_path):
    path = write(tmp_path, "bad.toml", "[recipe]\nsource = \n")
    (problem,) = problems_of(path)
    assert problem == "not TOML: Invalid value (at line 2, column 10); correct the file there"


def test_a_file_that_is_not_utf8_names_the_byte(tmp_path):
    (tmp_path / "bad.toml").write_bytes(b"[recipe]\nsource = '\xff'\n")
    assert problems_of(str(tmp_path / "bad.toml")) == ("not UTF-8 at byte 19; save it as UTF-8",)


def test_an_unknown_name_lists_the_names_spelt_alike():
    assert problems_of("glm-bsae") == (
        "no such file, and no built-in recipe of this name; did you mean glm-base "
        "or glm-sent or glm-2b?",
    )


def test_a_name_like_no_other_says_what_lists_the_names():
    assert problems_of("xyz") == (
        "no such file, and no built-in recipe of this name; glmctl recipe ls lists them",
    )


def test_set_reads_toml_values_and_bare_words(small):
    recipe = load_recipe(
        small,
        ["train.steps=20", "optimizer.kind=sgd", "optimizer.betas=[0.5, 0.6]", "model.dropout=0"],
    )
    assert recipe.train.steps == 20
    assert recipe.optimizer.kind == "sgd"
    assert recipe.optimizer.betas == (0.5, 0.6)
    assert recipe.model.dropout == 0.0


def test_set_keeps_everything_after_the_first_equals_sign(small):
    recipe = load_recipe(small, ["recipe.source=a=b"])
    assert recipe.recipe.source == "a=b"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train.steps", "--set train.steps: is not of the form section.key=value"),
        ("train..steps=3", "--set train..steps=3: is not of the form section.key=value"),
        ("train.steps.x=3", 'train.steps: should be a valid integer; found {"x": 3}'),
        (
            "train.seed=[3",
            "--set train.seed=[3: '[3' is not a TOML value; close the quote or bracket",
        ),
    ],
)
def test_set_that_cannot_be_carried_out_is_refused(small, text, problem):
    assert problems_of(small, text) == (problem,)


def test_a_child_changes_what_it_states_and_keeps_the_rest(small, tmp_path):
    child = "[recipe]\nextends = 'small.toml'\n[train]\nsteps = 99\n[optimizer]\nbetas = [0.1, 0.2]"
    recipe = load_recipe(write(tmp_path, "child.toml", child))
    assert recipe.train.steps == 99
    assert recipe.train.global_batch_size == 8
    assert recipe.optimizer.betas == (0.1, 0.2)


def test_a_list_replaces_the_list_of_the_parent(small, tmp_path):
    child = "[recipe]\nextends = 'small.toml'\n[[data.corpus]]\nname = 'b'\npath = 'b.txt'"
    recipe = load_recipe(write(tmp_path, "child.toml", child))
    assert [corpus.name for corpus in recipe.data.corpus] == ["b"]


def test_parents_are_found_from_the_folder_of_the_child(small, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "child.toml", "[recipe]\nextends = '../small.toml'")
    monkeypatch.chdir("/")
    assert load_recipe(path).train.steps == 10


def test_three_parents_are_allowed_and_four_are_not(small, tmp_path):
    write(tmp_path, "one.toml", "[recipe]\nextends = 'small.toml'")
    write(tmp_path, "two.toml", "[recipe]\nextends = 'one.toml'")
    three = write(tmp_path, "three.toml", "[recipe]\nextends = 'two.toml'")
    four = write(tmp_path, "four.toml", "[recipe]\nextends = 'three.toml'")
    assert load_recipe(three).train.steps == 10
    (problem,) = problems_of(four)
    assert problem == (
        f"recipe.extends: {tmp_path}/small.toml is one parent too many, the most are 3; merge two "
        "of the files"
    )


def test_every_recipe_of_the_package_can_be_extended(tmp_path):
    path = write(tmp_path, "mine.toml", "[recipe]\nextends = 'glm-410m'\nsource = 'mine'")
    assert load_recipe(path).model == load_recipe("glm-410m").model


def test_a_child_does_not_claim_to_be_the_experiment_of_its_parent(tmp_path):
    head = load_recipe(write(tmp_path, "mine.toml", "[recipe]\nextends = 'glm-base'")).recipe
    assert head.experiments == ()
    assert head.certainty is None


def test_a_recipe_that_extends_itself_is_refused(tmp_path):
    path = write(tmp_path, "loop.toml", "[recipe]\nextends = 'loop.toml'")
    assert "one parent too many" in problems_of(path)[0]


def test_a_parent_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path, "child.toml", "[recipe]\nextends = 'gone.toml'")
    assert problems_of(path) == (
        f"recipe.extends: there is no file {tmp_path}/gone.toml and no built-in recipe gone; "
        "correct the path",
    )


def test_a_parent_that_is_not_beside_the_child_is_a_builtin_recipe(tmp_path):
    path = write(tmp_path, "child.toml", "[recipe]\nextends = 'glm-base'")
    assert load_recipe(path).optimizer.peak_lr == 4e-4


def test_a_parent_beside_the_child_goes_before_a_builtin_recipe_of_its_name(tmp_path):
    write(tmp_path, "glm-base.toml", SMALL)
    path = write(tmp_path, "child.toml", "[recipe]\nextends = 'glm-base.toml'")
    assert load_recipe(path).train.steps == 10


def test_a_parent_that_is_no_string_is_refused(tmp_path):
    path = write(tmp_path, "child.toml", "[recipe]\nextends = ['a', 'b']")
    assert problems_of(path) == (
        "recipe.extends: should be one path as a string; found ['a', 'b']",
    )


def test_gpus_means_one_node_and_the_same_global_batch(small):
    recipe = load_recipe(small, gpus=2)
    assert (recipe.topology.nodes, recipe.topology.gpus_per_node) == (1, 2)
    assert recipe.train.global_batch_size == 8
    assert recipe.micro_steps == 2


def test_gpus_that_do_not_divide_the_batch_propose_numbers_that_do(small):
    assert problems_of(small, gpus=3) == (
        "train.global_batch_size: 8 is not a multiple of micro_batch_size 2 x 3 GPUs = 6; "
        "2 or 4 GPUs divide it",
    )


def test_gpus_that_leave_less_than_a_micro_batch_propose_smaller_ones(small):
    assert problems_of(small, gpus=8) == (
        "train.global_batch_size: 8 is not a multiple of micro_batch_size 2 x 8 GPUs = 16; "
        "try micro_batch_size 1",
    )


def test_a_profile_changes_the_layout_and_its_micro_batch(small):
    recipe = load_recipe(small, topology="pair")
    assert recipe.topology.gpus_per_node == 2
    assert recipe.topology.note == "two of them"
    assert recipe.train.micro_batch_size == 4
    assert recipe.micro_steps == 1


def test_an_unknown_profile_lists_the_known_ones(small):
    assert problems_of(small, topology="tripel") == (
        "--topology tripel: no such profile; known: pair",
    )


def test_gpus_and_topology_together_are_refused(small):
    assert problems_of(small, gpus=2, topology="pair") == (
        "--gpus 2: does not go with --topology pair; choose one of them",
    )


def test_the_resolved_recipe_loads_to_the_same_recipe(small, tmp_path):
    recipe = load_recipe(small, ["train.steps=3"], topology="pair")
    assert load_recipe(write(tmp_path, "again.toml", to_toml(recipe))) == recipe


def test_a_recipe_is_called_by_its_place_among_the_builtin_ones(small):
    assert recipe_name("smoke/tiny") == "smoke/tiny"
    assert recipe_name(Path(__file__).parents[3] / "recipes" / "glm-base.toml") == "glm-base"
    assert recipe_name(small) == "small"


def test_variables_in_a_path_are_filled_in_when_it_is_opened(monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/data")
    assert expand_path("${SOME_DATA}/a.txt", "data.probe") == Path("/data/a.txt")


def test_a_variable_that_is_not_set_is_named_with_key_and_remedy(monkeypatch):
    monkeypatch.delenv("SOME_DATA", raising=False)
    with pytest.raises(UsageError) as caught:
        expand_path("${SOME_DATA}/a.txt", "data.probe")
    assert str(caught.value) == (
        "data.probe: '${SOME_DATA}/a.txt' needs the environment variable SOME_DATA, "
        "which is not set; export SOME_DATA=PATH first"
    )


def test_variables_are_not_needed_to_load(monkeypatch):
    monkeypatch.delenv("WIKIBOOK", raising=False)
    assert load_recipe("glm-base").data.corpus[0].path == "${WIKIBOOK}"


def test_each_stated_value_says_who_stated_it_last(small, tmp_path):
    child = "[recipe]\nextends = 'small.toml'\n[train]\nsteps = 10"
    path = write(tmp_path, "child.toml", child)
    recipe, origins = trace_recipe(Recipe, path, ["train.seed=7"], topology="pair")
    assert recipe.topology.note == "two of them"
    assert origins["train.steps"] == Origin("file", path)  # the same value as the parent's
    assert origins["model.num_layers"] == Origin("parent", f"{tmp_path}/small.toml")
    assert origins["train.seed"] == Origin("set", "--set")
    assert origins["train.micro_batch_size"] == Origin("layout", "--topology pair")
    assert origins["topology.gpus_per_node"] == Origin("layout", "--topology pair")
    assert "optimizer.peak_lr" not in origins


def test_a_builtin_file_is_named_by_its_place_among_the_recipes():
    _, origins = trace_recipe(Recipe, "glm-large", gpus=8)
    assert origins["model.num_layers"] == Origin("file", "glm-large.toml")
    assert origins["model.max_positions"] == Origin("parent", "glm-base.toml")
    assert origins["topology.nodes"] == Origin("layout", "--gpus 8")


def test_a_table_that_is_set_as_a_whole_is_known_by_its_keys(small):
    _, origins = trace_recipe(Recipe, small, ["schedule={kind='linear', warmup_steps=1}"])
    assert origins["schedule.warmup_steps"] == Origin("set", "--set")
