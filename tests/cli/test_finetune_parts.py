"""`glmctl finetune` of a head, of a prompt and of many runs, from end to end."""

import csv
import json
import shutil
import signal
import tomllib
from pathlib import Path

import pytest

THINGS = ("bread", "room", "oven", "street")
MOODS = ("warm", "cold")
ROWS = [(f"The {THINGS[i % 4]} was {MOODS[i % 2]} {i}.", ("yes", "no")[i % 2]) for i in range(24)]
BARE = '[task]\nhead = true\nlabels = ["yes", "no"]\npatterns = ["{review}"]\n'
WORDS = """
[task]
name = "mood"
patterns = ["{review} It was [MASK]."]
verbalizer = { yes = "good", no = "bad" }
[train]
steps = 4
"""
SHORT = ("--set", "train.steps=4")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Rows in files, and tasks with and without words."""
    for name, rows in (("train.csv", ROWS[:16]), ("dev.csv", ROWS[16:])):
        with (tmp_path / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([("review", "label"), *rows])
    (tmp_path / "bare.toml").write_text(BARE)
    (tmp_path / "words.toml").write_text(WORDS)
    return tmp_path


def learn(glmctl, model: Path, task: str, *settings: str) -> dict:
    given = [part for setting in settings for part in ("--set", setting)]
    rows = ("--data", "train.csv", "--dev", "dev.csv", "--model", str(model), "--json")
    done = glmctl("finetune", task, *rows, *given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def score(glmctl, task: str, model: str, *args: str) -> dict:
    done = glmctl("eval", task, model, "--data", "dev.csv", "--json", *args)
    assert done.returncode == 0, done.stderr
    ((result,),) = [json.loads(done.stdout)["tasks"].values()]
    return result


def test_a_head_learns_labels_without_words_and_moves_with_its_model(glmctl, tiny_model, own):
    result = learn(glmctl, tiny_model, "bare.toml", "train.steps=40", "optimizer.peak_lr=0.01")
    assert "  learns  >>yes<< against no" in result["stderr"]
    assert result["score"] > 80
    run = score(glmctl, "bare.toml", "runs/bare")
    assert run["score"] == pytest.approx(result["score"])
    assert run["protocol"] == "fine-tuned classification"
    assert run["scored_by"].startswith("score of a head")
    shutil.copytree(own / "runs/bare/model", own / "moved")
    assert score(glmctl, "bare.toml", "moved", "--out", "again")["score"] == run["score"]
    refused = glmctl("eval", "bare.toml", str(tiny_model), "--data", "dev.csv")
    assert refused.returncode == 3
    assert "has a head of 0 classes, and task bare asks for 2" in refused.stderr
    predict = ("--predict", "dev.csv", "--out", "out.csv")
    assert glmctl("finetune", "--model", "runs/bare", *predict).returncode == 0
    with (own / "out.csv").open(newline="") as stream:
        rows = [*csv.DictReader(stream)]
    right = sum(row["prediction"] == row["label"] for row in rows)
    assert 100 * right / len(rows) == pytest.approx(result["score"])
    for row in rows:
        assert float(row["probability_yes"]) + float(row["probability_no"]) == pytest.approx(1)


def test_a_head_answers_a_task_of_words_when_it_is_asked_for(glmctl, tiny_model, own):
    result = learn(glmctl, tiny_model, "words.toml", "task.head=true")
    found = score(glmctl, "words.toml", "runs/mood")
    assert (found["protocol"], found["score"]) == ("fine-tuned classification", result["score"])
    config = tomllib.loads((own / "runs/mood/recipe.toml").read_text())
    assert config["task"]["head"]


@pytest.mark.parametrize("encoder", ["lstm", "mlp", "none"])
def test_a_prompt_is_learned_and_used_again(glmctl, tiny_model, own, encoder):
    settings = ("adapter.kind=p_tuning", f"adapter.encoder={encoder}", "adapter.num_prefix=2")
    result = learn(glmctl, tiny_model, "words.toml", *settings)
    assert "  reads   [CLS]\u00b7\u00b7\u00b7\u00b7\u00b7The " in result["stderr"]
    assert score(glmctl, "words.toml", "runs/mood")["score"] == result["score"]
    shutil.copytree(own / "runs/mood/model", own / "moved")
    assert score(glmctl, "words.toml", "moved", "--out", "again")["score"] == result["score"]
    (first,) = own.glob("evals/*/mood/predictions.jsonl")
    assert (own / "again/mood/predictions.jsonl").read_bytes() == first.read_bytes()
    blind = glmctl("infill", "--model", "moved", "--choices", "good,bad", "It was [MASK].")
    assert blind.returncode == 0, blind.stderr


def test_a_frozen_model_keeps_its_weights_and_its_prompt_goes_on_after_a_kill(
    glmctl, tiny_model, own, stopped
):
    args = ["finetune", "words.toml", "--data", "train.csv", "--model", str(tiny_model), "--json"]
    for setting in ("adapter.kind=p_tuning", "adapter.freeze=true", "train.save_every=3"):
        args += ["--set", setting]
    args += ["--set", "train.steps=40", "--set", "model.dropout=0.1"]
    whole = json.loads(glmctl(*args, "--run-dir", "whole").stdout)
    stopped(args, "killed", 8, signal.SIGKILL)
    done = glmctl(*args, "--run-dir", "killed")
    assert "continuing after step" in done.stderr
    ended = json.loads(done.stdout)
    same = ("score", "best_step", "loss", "parameter_digest")
    assert {key: ended[key] for key in same} == {key: whole[key] for key in same}
    assert whole["forgetting"] == 0
    before = json.loads((tiny_model / "manifest.json").read_text())["digests"]
    after = json.loads((own / "whole/model/manifest.json").read_text())["digests"]
    assert before.items() <= after.items()
    assert all(name.startswith("heads.prompt.") for name in after.keys() - before.keys())
    state = glmctl("eval", "words.toml", "whole/checkpoints/step-00000040", "--data", "dev.csv")
    assert (state.returncode, state.stdout) == (3, "")
    assert "holds only what whole trains beside the model; name whole" in state.stderr


def test_lora_with_a_head_is_saved_as_a_plain_model_with_its_head(glmctl, tiny_model, own):
    result = learn(glmctl, tiny_model, "bare.toml", "adapter.kind=lora", "train.steps=4")
    assert score(glmctl, "bare.toml", "runs/bare")["score"] == result["score"]
    # 3e-4 at a width of 1024, in proportion; without an adapter 1e-5, with the square.
    recipe = tomllib.loads((own / "runs/bare/recipe.toml").read_text())
    assert recipe["optimizer"]["peak_lr"] == 0.0096


def test_a_matrix_names_a_run_to_go_on_with(glmctl, tiny_model, own):
    head = '[recipe]\nstage = "finetune"\nsource = "test"\n'
    (own / "two.toml").write_text(head + WORDS + "[matrix]\nseed = [1, 2]\n")
    done = glmctl("finetune", "two.toml", "--data", "train.csv", "--model", str(tiny_model))
    assert done.returncode == 0, done.stderr
    best = done.stderr.splitlines()[-1]
    assert best.startswith("next: glmctl finetune --model runs/two/seed=")
    run = best.split()[4]
    predict = ("--predict", "dev.csv", "--out", "out.csv")
    assert glmctl("finetune", "--model", run, *predict).returncode == 0


SHOTS = """
[task]
name = "shown"
shots = 2
verbalizer = { yes = "good", no = "bad" }
[[task.patterns]]
parts = ["{shots}", "~{review}", " It was", " [MASK]."]
shot = "{review} It was {choice}. "
"""


@pytest.mark.parametrize(
    ("table", "args", "code", "message"),
    [
        (SHOTS, ("--data", "train.csv"), 2, "shown: shots: 2 worked examples before a question"),
        (
            WORDS.replace("[train]", 'files = { train = "part*.csv" }\n[train]'),
            (),
            3,
            "mood: has its rows in several files, part*.csv, and fine-tuning reads one; join them",
        ),
        (
            WORDS.replace("[train]", 'files = { train = "train.csv", val = "d*.csv" }\n[train]'),
            (),
            3,
            "several files, d*.csv, and fine-tuning reads one; join them, and name the file with "
            "--dev FILE",
        ),
        (
            WORDS,
            ("--data", "train.csv", "--set", "task.decode.policy=decode"),
            2,
            "mood: decode.policy: decode, and listed answers are learned by their scores",
        ),
        (WORDS, ("--data", "train.csv", "--set", "task.hed=true"), 2, "hed: unknown key; did you"),
    ],
)
def test_what_fine_tuning_would_pass_over_is_refused(
    glmctl, tiny_model, own, table, args, code, message
):
    (own / "odd.toml").write_text(table)
    (own / "part1.csv").write_bytes((own / "train.csv").read_bytes())
    done = glmctl("finetune", "odd.toml", "--model", str(tiny_model), *args)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert not (own / "runs").exists()


def test_a_pattern_of_worked_examples_is_learned_without_them(glmctl, tiny_model, own):
    (own / "shown.toml").write_text(SHOTS)
    result = learn(glmctl, tiny_model, "shown.toml", "task.shots=0", "train.steps=2")
    assert "  reads   [CLS]The bread was warm 0. It was[MASK]." in result["stderr"]
