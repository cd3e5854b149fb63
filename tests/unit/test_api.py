import json
import subprocess
import sys

import pytest


def test_importing_glmctl_loads_no_torch():
    code = "import sys, glmctl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_names_of_the_api_are_found_on_the_package(tiny_model):
    import glmctl

    (filled,) = glmctl.load(tiny_model).infill(["The [MASK]"], max_new_tokens=2)
    assert len(filled.blanks) == 1


def test_finetune_gives_the_result_of_the_command(glmctl, tiny_model, tmp_path):
    from glmctl import finetune

    rows = "".join(f"The cat is {w} {i},{i % 2}\n" for i, w in enumerate(["bad", "good"] * 10))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    (tmp_path / "own.toml").write_text(
        '[recipe]\nstage = "finetune"\nsource = "test"\n[task]\npatterns = ["{text} [MASK]"]\n'
        'verbalizer = { 1 = "two", 0 = "six" }\n[train]\nsteps = 2\n'
    )
    result = finetune(
        tmp_path / "own.toml", model=tiny_model, data=tmp_path / "rows.csv",
        run_dir=tmp_path / "run", overrides=["train.seed=3"], device="cpu",
    )  # fmt: skip
    assert (result.steps, result.num_train, result.num_dev) == (2, 16, 4)
    recipe, data = str(tmp_path / "own.toml"), str(tmp_path / "rows.csv")
    args = ("--model", str(tiny_model), "--data", data, "--set", "train.seed=3", "--device", "cpu")
    done = glmctl("finetune", recipe, *args, "--run-dir", "again", "--json")
    assert json.loads(done.stdout)["parameter_digest"] == result.parameter_digest


def test_an_unknown_name_is_an_attribute_error():
    import glmctl

    with pytest.raises(AttributeError, match="module 'glmctl' has no attribute 'lod'"):
        _ = glmctl.lod


def test_corrupt_gives_the_records_of_the_command():
    import glmctl

    text = "The bakery opens at six and closes at two. The grey cat sleeps beside the warm oven."
    (record,) = glmctl.corrupt([text], seed=1)
    assert len(record["input_ids"]) == len(record["target_ids"])
    assert record == glmctl.corrupt([text], seed=1)[0]
