"""`glmctl convert`, there and back."""

import json


def test_there_and_back_is_the_same_model(glmctl, tiny_model):
    there = glmctl("convert", str(tiny_model), "there", "--to", "original")
    assert (there.returncode, there.stderr) == (
        0, "the original format holds no tokenizer, so it is left out\n"
    )  # fmt: skip
    assert "layers compared 2" in " ".join(there.stdout.split())
    back = glmctl("convert", "there", "back", "--json")
    assert back.returncode == 0, back.stderr
    result = json.loads(back.stdout)
    assert result["schema"] == "glmctl.ConvertResult/1"
    assert (result["to"], result["out"], result["license"]) == ("glmctl", "back", "none")


def test_a_format_that_cannot_hold_the_model_ends_with_3(glmctl, tiny_model, tmp_path):
    done = glmctl("convert", str(tiny_model), "out", "--to", "transformers")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"error: {tiny_model} to transformers" in done.stderr
    assert "the model can be written with --to glmctl or --to original" in done.stderr
    assert not [*tmp_path.iterdir()]


def test_wrong_words_end_with_2(glmctl):
    assert glmctl("convert", "glmctl-default", "out", "--to", "gguf").returncode == 2
    assert glmctl("convert", "glmctl-default", "out", "--model-parallel", "2").returncode == 2
    done = glmctl("convert", "nowhere", "out")
    assert done.returncode == 3
    assert "nowhere: no such file or folder" in done.stderr
