import json
import tomllib


def test_ls_names_every_recipe_with_its_size_and_gpus(glmctl):
    done = glmctl("recipe", "ls")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("glm-large")]
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
    assert tables["data"]["corpus"] == [{"name": "wikibook", "path": "${WIKIBOOK}", "weight": 1.0}]
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
    assert done.stderr == "error: wrong.toml: recipe.extends: there is no file gone.toml\n"


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
