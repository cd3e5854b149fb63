"""Data that `datasets` reads: fetched once, kept with its revision, and never asked for offline."""

import json

import pytest

TASK = """[task]
patterns = ["{text} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
[task.hub]
path = "PATH"
revision = "1f2e3d"
splits = { val = "validation" }
columns = { sentence = "text" }
"""


@pytest.fixture
def own(tmp_path):
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "set").mkdir()
    table = pyarrow.table({"sentence": ["Warm.", "Cold."], "label": [1, 0]})
    parquet.write_table(table, tmp_path / "set/validation-00000-of-00001.parquet")
    (tmp_path / "own.toml").write_text(TASK.replace("PATH", "./set"))
    home = {"GLMCTL_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")}
    return tmp_path, home


def test_a_split_is_read_once_and_then_from_its_file(glmctl, tiny_model, own):
    folder, home = own
    args = ("eval", "own.toml", str(tiny_model), "--json")
    first = glmctl(*args, env=home)
    assert first.returncode == 0, first.stderr
    task = json.loads(first.stdout)["tasks"]["own"]
    assert task["num_questions"] == 2
    assert task["file"].endswith("/1f2e3d/default/validation/validation.jsonl")
    (folder / "set/validation-00000-of-00001.parquet").unlink()
    again = glmctl(*args, "--offline", env=home)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["tasks"]["own"]["digest"] == task["digest"]


def test_a_column_that_is_not_there_is_named(glmctl, tiny_model, own):
    folder, home = own
    task = (folder / "own.toml").read_text().replace("sentence", "words")
    (folder / "own.toml").write_text(task)
    done = glmctl("eval", "own.toml", str(tiny_model), env=home)
    assert done.returncode == 3
    assert "has no column words; there are sentence, label; correct hub.columns" in done.stderr


def test_offline_says_what_is_missing_and_what_to_do(glmctl, tiny_model, own):
    folder, home = own
    (folder / "own.toml").write_text(TASK.replace("PATH", "someone/reviews"))
    done = glmctl("eval", "own.toml", str(tiny_model), "--offline", env=home)
    assert done.returncode == 4, done.stderr
    assert "own: someone/reviews of the hub, validation: not on this machine, and" in done.stderr
    assert "run this command where there is one and copy " in done.stderr
    assert "; or name it with --data FILE" in done.stderr
