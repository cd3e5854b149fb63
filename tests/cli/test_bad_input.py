"""Bad input and faults of the machine, as a user meets them: one message, its exit code, no trace.

What concerns one command alone stands in the file of that command.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = Path(sys.executable).with_name("glmctl")
RECIPE = """
[recipe]
source = "a run of a second"
[model]
num_layers = 1
hidden_size = 16
num_attention_heads = 2
max_positions = 32
[tokenizer]
kind = "sentencepiece"
path = "glmctl-default"
special = "glmctl"
[data]
sequence_length = 32
corpus = [{ name = "text", path = "shards" }]
[train]
steps = 2
global_batch_size = 2
micro_batch_size = 2
[optimizer]
peak_lr = 1e-2
"""


class RunsWhenUnpickled:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_pickle_is_named_and_does_not_run(is_zip, glmctl: Run, tmp_path: Path):
    content = {"module": {}, "state": RunsWhenUnpickled(tmp_path / "trap")}
    torch.save(content, tmp_path / "evil.pt", _use_new_zipfile_serialization=is_zip)
    done = glmctl("infill", "--model", "evil.pt", "a [MASK]")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "error: evil.pt: not a checkpoint that can be read as data only (it names the code "
        "posix.mkdir); nothing in it was executed; use a file from a source you trust, saved by "
        "torch.save\n"
    )
    assert not (tmp_path / "trap").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "trap").exists()  # it was a real one


@pytest.mark.parametrize(
    "content",
    [b"", b"hello junk" * 10, b"PK\x03\x04" + bytes(300), pickle.dumps({"module": {}}, protocol=4)],
)
def test_a_file_that_is_no_checkpoint_is_named(content, glmctl: Run, tmp_path: Path):
    (tmp_path / "junk.pt").write_bytes(content)
    done = glmctl("infill", "--model", "junk.pt", "a [MASK]")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: junk.pt: not a checkpoint that can be read as data")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def shards(glmctl: Run, tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("The grey cat sleeps beside the oven.\n" * 40)
    assert glmctl("tokenize", "a.txt", "--out", "shards", "--processes", "1").returncode == 0
    (tmp_path / "small.toml").write_text(RECIPE)
    return tmp_path / "shards"


def test_a_corrupt_shard_stops_a_run_before_it_begins(shards, glmctl: Run, tmp_path: Path):
    (shard, *_) = sorted(shards.glob("*.tokens"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 8
    shard.write_bytes(data)
    done = glmctl("pretrain", "small.toml")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: shards/{shard.name}: damaged: its digest is ")
    assert "; remove the folder and make the shards again" in done.stderr
    assert "Traceback" not in done.stderr
    data[100] ^= 8
    shard.write_bytes(data)
    assert glmctl("pretrain", "small.toml").returncode == 0


def test_shards_of_another_tokenizer_stop_a_run(shards, glmctl: Run):
    args = ("glmctl-demo", "--train", "--vocab-size", "900", "--out", "other.model")
    assert glmctl("tokenize", *args).returncode == 0
    done = glmctl("pretrain", "small.toml", "--set", "tokenizer.path=other.model")
    assert (done.returncode, done.stdout) == (3, "")
    assert "made with the tokenizer" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_tokenizer_stops_a_run_and_the_right_name_begins_it(shards, glmctl: Run):
    done = glmctl("pretrain", "small.toml", "--set", "tokenizer.path=nope.model")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "error: nope.model: no such tokenizer; name a file, a folder, hf:NAME, or the built-in "
        "glmctl-default\n"
    )
    assert glmctl("pretrain", "small.toml").returncode == 0


PRETRAIN = ["pretrain", "smoke/tiny", "--run-dir", "locked/run"]
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


@pytest.mark.parametrize("verb", [("pretrain",), ("recipe", "validate"), ("recipe", "show")])
def test_ten_mistakes_in_a_recipe_are_ten_lines(verb, glmctl: Run, tmp_path: Path):
    (tmp_path / "ten.toml").write_text(TEN_MISTAKES)
    done = glmctl(*verb, "ten.toml")
    assert (done.returncode, done.stdout) == (2, "")
    first, *mistakes = done.stderr.splitlines()
    assert first == "error: ten.toml"
    assert sorted(line.split(":")[0].strip() for line in mistakes) == [
        "data.corpus",
        "data.sequence_length",
        "model.hidden_size",
        "modle",
        "objective.mask_ration",
        "objective.token_weight",
        "recipe.stage",
        "train.global_batch_size",
        "train.probe_every",
        "train.steps",
    ]
    assert not (tmp_path / "runs").exists()


def under_a_limit(kilobytes: int, folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command where no file can grow beyond a size, as on a disk that fills up."""
    script = f'ulimit -f {kilobytes}; exec "$@"'
    command = ["bash", "-c", script, "bash", str(COMMAND), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.parametrize(
    ("args", "made"),
    [
        (["tokenize", "glmctl-demo", "--out", "new", "--processes", "1"], "new/manifest.json"),
        (["tokenize", "glmctl-demo", "--train", "--vocab-size", "900", "--out", "new"], "new"),
    ],
)
def test_a_disk_that_fills_up_leaves_nothing_that_looks_whole(args, made, glmctl: Run, tmp_path):
    done = under_a_limit(8, tmp_path, *args)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[-1].startswith("error: new")
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / made).exists()
    assert glmctl(*args).returncode == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_on_a_disk_that_fills_up_keeps_nothing_half_written(shards, glmctl: Run, tmp_path):
    done = under_a_limit(64, tmp_path, "pretrain", "small.toml")
    assert (done.returncode, done.stdout) == (4, "")
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    checkpoints = tmp_path / "runs" / "small" / "checkpoints"
    assert not list(checkpoints.glob("step-*[0-9]"))
    assert glmctl("pretrain", "small.toml").returncode == 0


def test_a_folder_without_permission_is_named(tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o555)
    weak: list[str] = []
    if os.geteuid() == 0:  # nothing is read-only for root, unless it gives that power away
        weak = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
        if shutil.which(weak[0]) is None:
            pytest.skip("runs as root, and setpriv is not there")
    for args in (["tokenize", "glmctl-demo", "--out", "locked/new", "--processes", "1"], PRETRAIN):
        command = [*weak, str(COMMAND), *args]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert done.stderr.startswith("error: locked/"), done.stderr
        assert "Permission denied; change the permissions" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["tokenize", "corrupt"])
def test_ctrl_c_ends_a_stream_with_130(verb):
    process = subprocess.Popen(
        [COMMAND, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"The oven is hot.\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"error: interrupted\n"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("model.safetensors", "expected digest "),
        ("tiny.model", "the tokenizer is damaged: expected digest "),
    ],
)
def test_one_flipped_bit_in_a_model_is_found(file, problem, tiny_model, glmctl: Run, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    data = (copy / file).read_bytes()
    flipped = data.replace(b"oven", b"oveo") if file == "tiny.model" else flip_last(data)
    (copy / file).write_bytes(flipped)
    done = glmctl("infill", "--model", "copy", "The [MASK]")
    assert (done.returncode, done.stdout) == (3, "")
    assert problem in done.stderr
    assert "copy the model folder again, or save it anew" in done.stderr
    assert "Traceback" not in done.stderr


def flip_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_variable_that_is_not_set_is_named_and_setting_it_begins_the_run(shards, glmctl: Run):
    corpus = 'data.corpus=[{ name = "text", path = "${GLMCTL_TEST_PLACE}" }]'
    done = glmctl("pretrain", "small.toml", "--set", corpus)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("which is not set; export GLMCTL_TEST_PLACE=PATH first\n")
    place = {"GLMCTL_TEST_PLACE": str(shards)}
    assert glmctl("pretrain", "small.toml", "--set", corpus, env=place).returncode == 0


def test_a_choice_that_is_none_is_named_with_the_choices(glmctl):
    done = glmctl("convert", "glmctl-default", "out", "--to", "orginal")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Invalid value for '--to': 'orginal' is not one of")
