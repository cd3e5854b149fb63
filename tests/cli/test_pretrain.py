"""`glmctl pretrain` end to end: exit codes, streams, the run folder, interruptions and faults."""

import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from glmctl.cli.app import run

RECIPE = """
[recipe]
source = "a run of a second"
[model]
num_layers = 1
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
probe = "{folder}/held.txt"
[train]
steps = 6
global_batch_size = 4
micro_batch_size = 2
save_every = 2
log_every = 2
probe_every = 3
[optimizer]
peak_lr = 1e-2
"""
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    lines = [" ".join("abcdefgh"[(i * j) % 8] for j in range(5 + i % 23)) for i in range(60)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "held.txt").write_text("\n".join(lines[::7]) + "\n")
    (tmp_path / "small.toml").write_text(RECIPE.format(folder=tmp_path))
    monkeypatch.chdir(tmp_path)
    return "small.toml"


def records(folder: str = "runs/small") -> list[dict]:
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").open()]


def steps_saved(folder: str = "runs/small") -> list[str]:
    return sorted(path.name for path in Path(folder, "checkpoints").iterdir())


def test_a_run_leaves_a_folder_that_says_everything(recipe, capsys):
    assert run(["pretrain", recipe]) == 0
    folder = Path("runs/small")
    assert tomllib.loads((folder / "recipe.toml").read_text())["train"]["steps"] == 6
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["glmctl"] == "0.1.0"
    assert "torch" in manifest["packages"]
    assert len(manifest["data"]["letters"]) == 1
    assert len(manifest["finished"]["parameter_digest"]) == 32
    assert [record["step"] for record in records()] == [1, 2, 3, 4, 5, 6]
    expected = {"loss", "lr", "grad_norm", "tokens_per_second", "num_targets", "seconds"}
    assert expected <= records()[0].keys()
    assert [r["step"] for r in records() if "probe_exact_match_share" in r] == [3, 6]
    assert steps_saved() == ["step-00000004", "step-00000006"]
    assert {path.name for path in (folder / "model").iterdir()} == {
        "config.toml",
        "manifest.json",
        "model.safetensors",
        "vocab.txt",
    }
    out, err = capsys.readouterr()
    assert "parameter digest" in out
    assert "step 2/6  loss " in err
    assert "step 1/6" not in err
    assert "step 3  probe " in err


def test_json_gives_one_object_and_nothing_else(recipe, capsys):
    assert run(["pretrain", recipe, "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["schema"] == "glmctl.PretrainResult/1"
    assert result["steps"] == 6
    assert err == ""


def test_a_finished_run_says_so_and_does_nothing(recipe, capsys):
    run(["pretrain", recipe, "--json"])
    first = json.loads(capsys.readouterr().out)
    before = Path("runs/small/metrics.jsonl").read_bytes()
    assert run(["pretrain", recipe, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert "runs/small is finished" in err
    assert Path("runs/small/metrics.jsonl").read_bytes() == before


def test_more_steps_continue_a_finished_run(recipe, capsys):
    run(["pretrain", recipe])
    assert run(["pretrain", recipe, "--set", "train.steps=8"]) == 0
    assert "continuing after step 6" in capsys.readouterr().err
    assert [record["step"] for record in records()] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_another_recipe_in_the_same_folder_is_refused(recipe, capsys):
    run(["pretrain", recipe])
    capsys.readouterr()
    assert run(["pretrain", recipe, "--set", "optimizer.peak_lr=0.5"]) == 2
    err = capsys.readouterr().err
    assert "optimizer.peak_lr: 0.01 in the run, 0.5 in the recipe" in err
    assert "--fresh --force, or choose another --run-dir" in err


def test_fresh_starts_over_only_with_force(recipe, capsys):
    run(["pretrain", recipe])
    before = records()[0]["seconds"]
    assert run(["pretrain", recipe, "--fresh"]) == 2
    assert "add --force" in capsys.readouterr().err
    assert records()[0]["seconds"] == before
    assert run(["pretrain", recipe, "--fresh", "--force"]) == 0
    assert records()[0]["seconds"] != before


def test_more_gpus_than_the_machine_has_are_refused_with_the_flags_that_fit(recipe, capsys):
    assert run(["pretrain", recipe, "--gpus", "2"]) == 4
    err = capsys.readouterr().err
    assert "topology: asks for 1 x 2 GPUs; this machine has" in err
    assert "the same experiment runs with --gpus 1, the global batch stays; --device cpu" in err
    assert not Path("runs").exists()


def test_cuda_that_is_not_there_is_refused(recipe, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["pretrain", recipe, "--device", "cuda"]) == 4
    assert "no CUDA GPU is found; use --device cpu" in capsys.readouterr().err


def test_the_plan_needs_no_torch_and_writes_nothing(recipe):
    code = (
        "import sys\n"
        "from glmctl.cli.app import run\n"
        "code = run(['pretrain', 'small.toml', '--dry-run', '--gpus', '2'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_ends_the_run_and_keeps_the_last_checkpoint(
    recipe, capsys, monkeypatch, number
):
    run(["pretrain", recipe])
    calls = []

    def fail(descriptor: int) -> None:
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if "step-00000008.partial" in target:
            calls.append(target)
            raise OSError(number, os.strerror(number))

    capsys.readouterr()
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        assert run(["pretrain", recipe, "--set", "train.steps=9"]) == 4
    err = capsys.readouterr().err
    assert calls
    assert f"step-00000008: could not be written: [Errno {number}]" in err
    assert "Traceback" not in err
    assert steps_saved() == ["step-00000004", "step-00000006"]
    assert run(["pretrain", recipe, "--set", "train.steps=9"]) == 0
    assert [record["step"] for record in records()] == [*range(1, 10)]


def test_a_folder_that_cannot_be_made_is_an_error_of_the_machine(recipe, capsys, monkeypatch):
    def fail(path: str, *_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", fail)
    assert run(["pretrain", recipe]) == 4
    assert "runs/small: Read-only file system; change the permissions" in capsys.readouterr().err


def test_a_gpu_without_room_is_answered_with_a_smaller_micro_batch(recipe, capsys, monkeypatch):
    import torch

    from glmctl.core.model.glm import GLM

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as gpu:
        gpu.setattr(GLM, "forward", fail)
        assert run(["pretrain", recipe]) == 4
    assert "train.micro_batch_size: 2 rows at once do not fit" in capsys.readouterr().err
    assert run(["pretrain", recipe, "--set", "train.micro_batch_size=1"]) == 0


def test_a_flipped_bit_in_the_newest_checkpoint_names_the_one_before(recipe, capsys):
    run(["pretrain", recipe])
    path = Path("runs/small/checkpoints/step-00000006/state.safetensors")
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    capsys.readouterr()
    assert run(["pretrain", recipe, "--set", "train.steps=8"]) == 3
    err = capsys.readouterr().err
    assert "expected digest" in err
    assert "remove the folder step-00000006 to continue from step-00000004" in err


def test_a_run_whose_shards_were_changed_is_refused(recipe, capsys):
    run(["pretrain", recipe])
    path = Path("runs/small/data/letters/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["digest"] = "0" * 32
    path.write_text(json.dumps(manifest))
    assert run(["pretrain", recipe, "--set", "train.steps=8"]) == 3
    assert "the data is not what the run began with" in capsys.readouterr().err


def test_a_checkpoint_of_other_data_does_not_continue_a_run(recipe, capsys):
    run(["pretrain", recipe])
    path = Path("runs/small/checkpoints/step-00000006/manifest.json")
    manifest = json.loads(path.read_text())
    made_with = manifest["data"]
    assert len(made_with) == 32
    path.write_text(json.dumps(manifest | {"data": "0" * 32}))
    capsys.readouterr()
    assert run(["pretrain", recipe, "--set", "train.steps=8"]) == 3
    err = capsys.readouterr().err
    assert f"of the fingerprint {'0' * 32}, and the run now has {made_with}" in err


def test_an_empty_corpus_and_a_weight_of_zero_are_refused(recipe, capsys):
    Path("text.txt").write_text("\n\n")
    assert run(["pretrain", recipe]) == 3
    assert "text.txt: no document in it: every row is empty" in capsys.readouterr().err
    corpus = '[{ name = "a", path = "held.txt", weight = 0 }]'
    assert run(["pretrain", recipe, "--set", f"data.corpus={corpus}"]) == 2
    assert "data.corpus.0.weight: 0 would never read 'a'; take" in capsys.readouterr().err


def test_a_broken_row_stops_a_run_and_data_on_error_lets_it_go_on(recipe, capsys):
    rows = [json.dumps({"text": line}) for line in Path("text.txt").read_text().splitlines()]
    Path("rows.jsonl").write_text("\n".join([*rows, "{"]))
    args = ["pretrain", recipe, "--set", 'data.corpus=[{ name = "a", path = "rows.jsonl" }]']
    assert run(args) == 3
    assert f"rows.jsonl:{len(rows) + 1}: not JSON" in capsys.readouterr().err
    assert run([*args, "--set", "data.on_error=skip"]) == 0
    assert f"warning: 1 broken row left out: rows.jsonl:{len(rows) + 1}" in capsys.readouterr().err
    assert run([*args, "--set", "train.steps=7"]) == 0  # nothing is read again


def test_numbers_that_are_not_finite_stop_the_run_before_a_weight_changes(recipe, capsys):
    code = run(["pretrain", recipe, "--set", "optimizer.peak_lr=1e30", "--set", "train.steps=20"])
    err = capsys.readouterr().err
    assert code == 5
    assert "gradient norm" in err
    assert "rows 4 to 7" in err
    assert len(records()) == 1


def test_two_corpora_of_one_name_are_refused(recipe, capsys):
    corpus = '[{ name = "a", path = "text.txt" }, { name = "a", path = "held.txt" }]'
    assert run(["pretrain", recipe, "--set", f"data.corpus={corpus}"]) == 2
    assert "the name 'a' cannot be that of a folder of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "is saved; the same command continues from there"),
        (signal.SIGTERM, 75, "stopped by SIGTERM"),
    ],
)
def test_a_signal_saves_and_the_same_command_continues(recipe, number, code, words):
    command = [Path(sys.executable).with_name("glmctl"), "pretrain", recipe]
    command += ["--set", "train.steps=100000", "--set", "train.save_every=100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("step 4/"):
                process.send_signal(number)
                break
        err = process.stderr.read()
        assert process.wait(60) == code
    assert words in err
    assert "Traceback" not in err
    (saved,) = steps_saved()
    assert len(records()) == int(saved.removeprefix("step-"))


def test_a_second_process_on_the_same_folder_is_refused(recipe, capsys):
    import fcntl

    Path("runs/small").mkdir(parents=True)
    with Path("runs/small/.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(["pretrain", recipe]) == 2
    assert "another process is training here" in capsys.readouterr().err
