"""A run that is killed again and again ends as the run that was not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
[recipe]
source = "a run of seconds that saves often, accumulates and drops out"
[model]
num_layers = 2
hidden_size = 16
num_attention_heads = 2
max_positions = 32
[tokenizer]
kind = "wordpiece"
path = "{folder}/vocab.txt"
special = "glm-english"
[data]
sequence_length = 32
corpus = [{{ name = "letters", path = "{folder}/text.txt" }}]
[train]
steps = 12
global_batch_size = 4
micro_batch_size = 2
save_every = 3
[optimizer]
peak_lr = 1e-2
[schedule]
warmup_steps = 2
"""
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    lines = (" ".join("abcdefgh"[(i * j) % 8] for j in range(5 + i % 23)) for i in range(60))
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder))
    script = Path(__file__).with_name("killed_runs.py")
    command = [sys.executable, str(script), str(folder / "recipe.toml"), str(folder / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_attempt_was_killed_where_it_should_be(seen):
    assert len(seen["killed"]) == 11
    assert set(seen["killed"].values()) == {-9}
    assert seen["ended"] == [0, 0]


@pytest.mark.parametrize("run", ["after kills", "after timed kills"])
def test_the_weights_equal_those_of_the_unbroken_run(seen, run):
    assert seen[run]["digest"] == seen["unbroken"]["digest"]
    assert seen[run]["model"] == seen["unbroken"]["model"]


@pytest.mark.parametrize("run", ["after kills", "after timed kills"])
def test_the_records_are_those_of_the_unbroken_run_none_missing_or_twice(seen, run):
    assert [step for step, _, _ in seen[run]["losses"]] == [*range(1, 13)]
    assert seen[run]["losses"] == seen["unbroken"]["losses"]


def test_nothing_half_written_is_left(seen):
    assert seen["leftovers"] == []
