import json
import tomllib

import pytest

from glmctl.cli.app import run


def test_ls_names_every_recipe_with_its_size_and_gpus(glmctl):
    done = glmctl("recipe", "ls")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("glm-large ")]
    for part in ("GLM-PT-LARGE", "64 x V100-32GB", "334,688,256", "paper", "ACL 2022"):
        assert part in line


def test_ls_as_json_holds_the_resolved_recipes(glmctl):
    record = json.loads(glmctl("recipe", "ls", "--json").stdout)
    assert record["schema"] == "glmctl.RecipeList/1"
    large = {recipe["name"]: recipe for recipe in record["recipes"]}["glm-large"]
    assert large["model"]["num_layers"] == 24
    assert large["optimizer"]["weight_decay"] == 0.1  # from the recipe that it extends


def test_show_prints_toml_with_inherited_and_changed_values(glmctl):
    done = glmctl("recipe", "show", "glm-large", "--set", "train.seed=7", "--gpus", "8")
    tables = tomllib.loads(done.stdout)
    assert tables["train"]["seed"] == 7
    (corpus,) = tables["data"]["corpus"]
    assert (corpus["name"], corpus["path"]) == ("wikibook", "${WIKIBOOK}")
    assert tables["topology"]["gpus_per_node"] == 8
    assert "extends" not in tables["recipe"]


def test_show_as_json_is_one_object(glmctl):
    record = json.loads(glmctl("recipe", "show", "glm-base", "--json").stdout)
    assert record["schema"] == "glmctl.Recipe/1"
    assert record["model"]["hidden_size"] == 768


def test_validate_goes_through_all_files_and_exits_2_when_one_is_wrong(glmctl, tmp_path):
    (tmp_path / "wrong.toml").write_text("[recipe]\nextends = 'gone.toml'\n")
    done = glmctl("recipe", "validate", "glm-base", "wrong.toml", "smoke/tiny")
    assert done.returncode == 2
    assert done.stdout == "glm-base: ok\nsmoke/tiny: ok\n"
    assert done.stderr == (
        "error: wrong.toml: recipe.extends: there is no file gone.toml and no built-in recipe "
        "gone; correct the path\n"
    )


def test_validate_is_quiet_about_unset_variables(glmctl):
    assert glmctl("recipe", "validate", "glm-base").returncode == 0


def test_validate_as_json_lists_the_problems_of_each_file(glmctl):
    done = glmctl("recipe", "validate", "glm-base", "nothing", "--json")
    assert done.returncode == 2
    good, bad = json.loads(done.stdout)["recipes"]
    assert good == {"path": "glm-base", "problems": []}
    assert bad["problems"][0].startswith("no such file")


def test_schema_is_a_json_schema_that_refuses_unknown_keys(glmctl):
    schema = json.loads(glmctl("recipe", "schema").stdout)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["train"] == {"$ref": "#/$defs/TrainConfig"}


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "eval", "task"])
def test_every_kind_of_file_has_a_schema_that_knows_the_keys_of_a_task(capsys, kind):
    assert run(["recipe", "schema", kind]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["task"] == {"$ref": "#/$defs/TaskConfig"}
    task = schema["$defs"]["TaskConfig"]
    assert task["properties"]["verbalizer"]["description"] == "The word of each label."
    assert "required" not in task
    assert {"type": "string"} in task["properties"]["patterns"]["items"]["anyOf"]
    assert {it.removeprefix("#/$defs/") for it in refs(schema)} <= schema["$defs"].keys()
    if kind == "finetune":
        assert "one run for each combination" in schema["properties"]["matrix"]["description"]


def refs(value) -> list[str]:
    """Every reference inside a schema."""
    if isinstance(value, list):
        return [it for item in value for it in refs(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + [it for item in value.values() for it in refs(item)]


def test_show_prints_a_task_as_a_file_that_is_the_same_task(glmctl, tmp_path):
    done = glmctl("recipe", "show", "cb")
    assert done.returncode == 0, done.stderr
    (tmp_path / "cb.toml").write_text(done.stdout)
    (task,) = tomllib.loads(done.stdout)["task"]
    assert task["verbalizer"] == {"contradiction": " No", "entailment": " Yes", "neutral": " Maybe"}
    assert task["files"]["train"] == "CB/train.jsonl"
    assert "~{hypothesis:strip}" in task["patterns"][3]["parts"]
    assert glmctl("recipe", "validate", "cb.toml").returncode == 0
    assert (
        glmctl("recipe", "show", "cb.toml").stdout.partition("[[task]]")[2]
        == (done.stdout.partition("[[task]]")[2])
    )
    record = json.loads(glmctl("recipe", "show", "cb", "--json").stdout)
    assert (record["schema"], record["task"]) == ("glmctl.Task/1", [task])


def test_the_options_of_a_recipe_are_not_those_of_a_task(glmctl):
    done = glmctl("recipe", "show", "cb", "--set", "task.pattern=1")
    assert done.returncode == 2
    assert "cb is a task; the options but --json are of recipes" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("pretrain", "superglue/335m"), "stage 'finetune'; run: glmctl finetune superglue/335m"),
        (("pretrain", "lm/zero-shot"), "stage 'eval'; run: glmctl eval lm/zero-shot"),
        (("finetune", "glm-base"), "stage 'pretrain'; run: glmctl pretrain glm-base"),
        (("finetune", "lm/zero-shot"), "stage 'eval'; run: glmctl eval lm/zero-shot"),
        (("eval", "glm-base"), "stage 'pretrain'; run: glmctl pretrain glm-base"),
        (("eval", "superglue/335m"), "stage 'finetune'; run: glmctl finetune superglue/335m"),
    ],
)
def test_the_recipe_of_another_command_is_answered_with_that_command(capsys, words, problem):
    assert run([*words]) == 2
    assert capsys.readouterr() == ("", f"error: {words[1]}: is a recipe of {problem}\n")


@pytest.mark.parametrize("command", ["pretrain", "finetune", "eval"])
def test_a_record_is_not_run_and_says_what_it_would_need(capsys, command):
    assert run([command, "zero-shot/glm-130b"]) == 2
    problem = "is a record, which nothing runs; that would need the weights of GLM-130B in a format"
    assert capsys.readouterr().err.startswith(f"error: zero-shot/glm-130b: {problem}")


def test_ls_shows_published_numbers_of_records_too(glmctl):
    lines = {line.split()[0]: line for line in glmctl("recipe", "ls").stdout.splitlines()}
    assert "  superglue/average 77  " in lines["glm-large"]
    assert "  130B-PILE and 10 more  " in lines["zero-shot/glm-130b"]
    assert "  pile, bits a byte 0.634 and 56 more  " in lines["zero-shot/glm-130b"]


def test_a_recipe_of_an_evaluation_is_scored_beside_its_numbers(glmctl, tmp_path):
    texts = ("the market opens at seven", "the baker sells warm bread")
    text = "".join(json.dumps({"text": it}) + "\n" for it in texts)
    (tmp_path / "lambada_test.jsonl").write_text(text)
    words = ("eval", "lm/zero-shot", "--data", ".", "--tasks", "lambada", "--device", "cpu")
    done = glmctl(*words)
    assert done.returncode == 0, done.stderr
    lines = [it.split() for it in done.stdout.splitlines() if it.startswith("lambada/accuracy")]
    assert {"72.35", "glm-10b", "code"} < {*next(it for it in lines if "glm-10b" in it)}
    assert len(lines) == 9
    record = json.loads(glmctl(*words, "--json").stdout)
    first = record["published"][0]
    assert first["metric"] == "lambada/accuracy"
    assert first["difference"] == record["tasks"]["lambada"]["score"] - first["published"]


def test_the_plan_of_the_paper_on_eight_gpus(glmctl):
    done = glmctl("pretrain", "glm-base", "--gpus", "8", "--dry-run")
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in ("total 109,338,624", "micro steps 8", "rows per step 1,024"):
        assert line in lines


def test_the_plan_counts_the_vocabulary_that_the_recipe_leaves_out(glmctl):
    done = glmctl("pretrain", "smoke/tiny", "--dry-run", "--json")
    parameters = json.loads(done.stdout)["parameters"]
    assert parameters["word_embedding"] == 7040 * 96  # 7,032 pieces and special tokens, ceil128
    assert parameters["missing"] is None


def test_a_plan_needs_no_variable_of_a_path(glmctl):
    done = glmctl(
        "pretrain", "smoke/tiny", "--dry-run", "--set", "tokenizer.path=${NOWHERE}/v.model"
    )
    assert done.returncode == 0, done.stderr
    assert "its rows are left to a tokenizer that is not here" in done.stdout


def test_a_recipe_that_does_not_exist_is_exit_2_without_a_traceback(glmctl):
    done = glmctl("recipe", "show", "glm-bsae")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: glm-bsae: no such file")


def test_the_help_lists_the_commands_under_one_heading(glmctl):
    listed = glmctl("recipe", "--help").stdout.partition("\nCommands:\n")[2]
    names = [line.split()[0] for line in listed.splitlines() if line[2:3].strip()]
    assert names == ["ls", "show", "diff", "cp", "validate", "schema", "migrate"]


def test_show_origin_says_for_each_key_who_states_it(glmctl):
    done = glmctl("recipe", "show", "glm-doc", "--origin", "--gpus", "8", "--set", "train.seed=3")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "key from value"
    for line in (
        "objective.document_weight glm-doc.toml 0.5",
        "model.num_layers parent glm-large.toml 24",
        "optimizer.eps parent glm-base.toml 1e-06",
        "train.seed --set 3",
        "topology.nodes --gpus 8 1",
        "data.pack default true",
    ):
        assert line in lines


def test_show_origin_as_json_is_one_record_a_key(glmctl):
    record = json.loads(glmctl("recipe", "show", "glm-large", "--origin", "--json").stdout)
    assert record["schema"] == "glmctl.RecipeOrigins/1"
    keys = {entry.pop("key"): entry for entry in record["keys"]}
    assert keys["model.num_layers"] == {"value": 24, "origin": "file", "place": "glm-large.toml"}
    assert keys["train.keep"] == {"value": 2, "origin": "default", "place": None}


def test_diff_lists_the_changed_keys_with_both_values(glmctl):
    done = glmctl("recipe", "diff", "glm-large", "glm-410m")
    assert done.returncode == 0
    head, *lines = [line.split() for line in done.stdout.splitlines()]
    assert head == ["key", "glm-large", "glm-410m"]
    assert ["model.num_layers", "24", "30"] in lines
    assert ["objective.token_weight", "1.0", "0.5"] in lines
    assert "optimizer.peak_lr" not in done.stdout


def test_diff_of_equal_recipes_says_so(glmctl):
    done = glmctl("recipe", "diff", "glm-large", "glm-large")
    assert done.stdout == "glm-large and glm-large hold the same values\n"


def test_diff_as_json_is_one_object(glmctl):
    record = json.loads(glmctl("recipe", "diff", "glm-10b", "glm-10b-longer", "--json").stdout)
    assert record["schema"] == "glmctl.RecipeDiff/1"
    assert (record["a"], record["b"]) == ("glm-10b", "glm-10b-longer")
    changes = {entry["key"]: (entry["a"], entry["b"]) for entry in record["differences"]}
    assert changes["data.sequence_length"] == (512, 1024)
    assert changes["train.initial_model"] == (None, "runs/glm-10b")


def test_cp_gives_a_file_that_can_be_edited_and_is_never_overwritten(glmctl, tmp_path):
    done = glmctl("recipe", "cp", "glm-doc", "my.toml")
    assert (done.returncode, done.stdout) == (0, "my.toml\n")
    text = (tmp_path / "my.toml").read_text()
    assert text.startswith("# GLM-Doc")
    (tmp_path / "my.toml").write_text(text + "[train]\nseed = 7\n")
    assert json.loads(glmctl("recipe", "show", "my.toml", "--json").stdout)["train"]["seed"] == 7
    again = glmctl("recipe", "cp", "glm-doc", "my.toml")
    assert again.returncode == 2
    assert again.stderr == "error: my.toml: is there already; name another file, or remove it\n"


def test_cp_into_a_folder_keeps_the_name_of_the_file(glmctl, tmp_path):
    (tmp_path / "mine").mkdir()
    assert glmctl("recipe", "cp", "glm-base", "mine").stdout == "mine/glm-base.toml\n"
    assert glmctl("recipe", "validate", "mine/glm-base.toml").returncode == 0


def test_cp_without_a_file_prints_the_text(glmctl):
    done = glmctl("recipe", "cp", "glm-sent")
    assert done.stdout.startswith("# GLM-Sent")
    record = json.loads(glmctl("recipe", "cp", "glm-sent", "--json").stdout)
    assert (record["schema"], record["file"]) == ("glmctl.RecipeCopy/1", None)
    assert record["text"] == done.stdout


def test_migrate_leaves_a_file_of_the_newest_grammar_as_it_is(glmctl, tmp_path):
    glmctl("recipe", "cp", "glm-base", "my.toml")
    before = (tmp_path / "my.toml").read_bytes()
    done = glmctl("recipe", "migrate", "my.toml")
    assert (done.returncode, done.stdout) == (
        0,
        "my.toml: has grammar 1, the newest; nothing to do\n",
    )
    assert (tmp_path / "my.toml").read_bytes() == before
    record = json.loads(glmctl("recipe", "migrate", "my.toml", "--json").stdout)
    assert (record["grammar"], record["is_changed"]) == (1, False)


@pytest.mark.parametrize(
    ("number", "found"), [("2", "2"), ("0", "0"), ("'1'", '"1"'), ("true", "true")]
)
def test_migrate_refuses_a_grammar_that_is_not_known(tmp_path, capsys, number, found):
    (tmp_path / "new.toml").write_text(f"[recipe]\nschema = {number}\n")
    assert run(["recipe", "migrate", str(tmp_path / "new.toml")]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/new.toml: recipe.schema: should be 1, the newest grammar of this "
        f"version; found {found}; for a newer one install a newer glmctl\n"
    )


def test_a_layout_that_splits_the_model_is_planned(glmctl):
    done = glmctl("pretrain", "glm-10b", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in ("total 9,880,682,496", "replicas 256", "sharding zero2", "micro steps 1"):
        assert line in lines


def test_a_layout_that_splits_the_model_is_not_run(glmctl):
    degrees = ("topology.tensor_parallel_size=4", "topology.pipeline_parallel_size=2")
    done = glmctl("pretrain", "glm-10b", "--set", degrees[0], "--set", degrees[1])
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: topology: sharding = zero2, tensor_parallel_size = 4, pipeline_parallel_size = 2: "
        "this version trains whole replicas and splits no model; "
    )
