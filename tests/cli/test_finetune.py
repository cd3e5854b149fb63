"""`glmctl finetune` from end to end, on rows of our own."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRAW = random.Random(0)
THINGS = ("bread", "room", "oven", "street", "market", "river", "cat", "shop")
WORDS = (
    ("cold", "stale", "dirty", "rude", "dark"),
    ("warm", "fresh", "lovely", "kind", "bright"),
)
TEXTS = [[f"The {it} was {word}." for it in THINGS for word in words] for words in WORDS]
DRAWN = [DRAW.sample(texts, 20) for texts in TEXTS]
ROWS = [(text, label) for pair in zip(*DRAWN, strict=True) for label, text in enumerate(pair)]
TASK = ("--text-column", "review", "--pattern", "{review} It was [MASK].")
TASK += ("--verbalizer", "1=good,0=bad")
TOML = """
[task]
fields = { review = "review" }
patterns = ["{review} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
files = { train = "train.csv", val = "dev.csv" }
[train]
epochs = 2
"""


def write_rows(file: Path, rows: list[tuple[str, int]], label: str = "label") -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("review", label), *rows])


def call(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("glmctl"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """The default model after ten epochs over forty rows."""
    folder = tmp_path_factory.mktemp("taught")
    write_rows(folder / "train.csv", ROWS)
    return folder, call(folder, "finetune", "--data", "train.csv", *TASK)


def test_a_model_learns_forty_rows_and_says_how_well(taught):
    folder, done = taught
    assert done.returncode == 0, done.stderr
    score, counts, *table, other = done.stdout.splitlines()
    assert other.startswith("perplexity of other text ")
    assert float(score.split()[1]) > 50
    assert score.endswith("majority 50.00)")
    assert counts.startswith("8 held-out rows, step ")
    assert counts.endswith(" of 20")
    assert table[0].split() == ["right", "label", "said", "1", "said", "0"]
    cells = [[*map(int, line.split())] for line in table[1:]]
    assert [row[0] for row in cells] == [1, 0]
    assert [sum(row[1:]) for row in cells] == [4, 4]
    assert (cells[0][1] + cells[1][2]) / 8 == float(score.split()[1]) / 100
    assert "next: glmctl finetune --model runs/train --predict FILE" in done.stderr
    assert len((folder / "runs/train/metrics.jsonl").read_text().splitlines()) == 20


def test_three_samples_show_what_is_learned(taught):
    lines = taught[1].stderr.splitlines()
    assert sum(line.startswith("  learns  >>") for line in lines) == 3
    reads = next(line for line in lines if line.startswith("  reads"))
    assert reads.endswith(" It was[MASK].<|endoftext|>")
    assert {line for line in lines if "learns" in line} <= {
        "  learns  >> good<< against  bad",
        "  learns  >> bad<< against  good",
    }


def test_the_run_labels_new_rows_and_a_broken_one_keeps_its_place(taught):
    folder, _ = taught
    rows = 'id,review\n7,The shop was lovely.\n8,"one",two\n9,The river was dirty.\n'
    (folder / "new.csv").write_text(rows)
    args = ("--model", "runs/train", "--predict", "new.csv", "--out", "scored.csv")
    done = call(folder, "finetune", *args)
    assert done.returncode == 1
    assert "new.csv:3: has 3 columns and the first line 2" in done.stderr
    assert done.stdout == "scored.csv: 3 rows, 1 without a prediction\n"
    with (folder / "scored.csv").open(newline="") as stream:
        found = [*csv.DictReader(stream)]
    assert [row["id"] for row in found] == ["7", "", "9"]
    assert [row["prediction"] for row in found] == ["1", "", "0"]
    first = float(found[0]["probability_1"]), float(found[0]["probability_0"])
    assert first[0] > 0.5
    assert sum(first) == pytest.approx(1, abs=1e-5)


def test_other_commands_open_the_model_and_know_that_it_was_taught(taught):
    folder, _ = taught
    (folder / "train.toml").write_text(TOML)
    data = ("--data", "train.csv", "--json")
    task = json.loads(call(folder, "eval", "train.toml", "runs/train", *data).stdout)["tasks"]
    assert task["train"]["protocol"] == "fine-tuned cloze"
    assert task["train"]["score"] > 75
    before = json.loads(call(folder, "eval", "train.toml", *data, "--out", "before").stdout)
    assert before["tasks"]["train"]["protocol"] == "zero-shot cloze"
    text = "The room was warm. It was [MASK]."
    assert call(
        folder, "infill", "--model", "runs/train", "--choices", "good,bad", text
    ).stdout == ("The room was warm. It was good.\n")


def test_a_finished_run_is_not_trained_again(taught):
    folder, first = taught
    done = call(folder, "finetune", "--data", "train.csv", *TASK)
    assert (done.returncode, done.stdout) == (0, first.stdout)
    assert "runs/train is finished" in done.stderr
    (folder / "other").mkdir()
    write_rows(folder / "other/train.csv", ROWS)
    other = call(folder, "finetune", "--data", "other/train.csv", *TASK)
    assert other.returncode == 2
    assert (
        "  data.corpus.0.path: train.csv in the run, other/train.csv in the recipe" in other.stderr
    )
    other = call(folder, "finetune", "--data", "train.csv", *TASK, "--set", "optimizer.peak_lr=1.0")
    assert other.returncode == 2
    assert "optimizer.peak_lr: 0.00028 in the run, 1.0 in the recipe" in other.stderr


def test_what_makes_a_score_say_less_is_noted(taught):
    folder, _ = taught
    (folder / "mine").mkdir()
    (folder / "mine/train.toml").write_text(TOML)
    other = TOML.replace("It was", "It is").replace('1 = "good"', '1 = "nice"')
    (folder / "other.toml").write_text(other.replace("[task]", '[task]\nname = "train"'))
    data = ("--data", "train.csv", "--json", "--out")
    same = json.loads(call(folder, "eval", "mine/train.toml", "runs/train", *data, "a").stdout)
    assert same["tasks"]["train"]["notes"] == [
        "the model was trained on these very rows, so the score is too good for new ones; "
        "evaluate on others"
    ]
    found = json.loads(call(folder, "eval", "other.toml", "runs/train/model", *data, "b").stdout)
    task = found["tasks"]["train"]
    assert task["protocol"] == "fine-tuned for another train, cloze"
    assert task["notes"][0] == (
        "the model learned another task of this name, with pattern '{review} It was [MASK].', here "
        "'{review} It is [MASK].'; verbalizer {'1': 'good', '0': 'bad'}, here {'1': 'nice', "
        "'0': 'bad'}"
    )


def test_rows_that_ask_the_same_are_named_before_and_after(glmctl, tiny_model, own):
    text, label = ROWS[0]
    write_rows(own / "train.csv", [*ROWS[:24], (text, 1 - label), ROWS[1]])
    write_rows(own / "dev.csv", [*ROWS[24:], ROWS[2]])
    args = ("finetune", "own.toml", "--model", str(tiny_model), "--json")
    done = glmctl(*args)
    assert done.returncode == 0, done.stderr
    warnings = [
        "1 rows have another label than an earlier row of the same text; correct them "
        "(train.csv:2 and train.csv:26)",
        "1 rows repeat an earlier row, and so count more than others; leave them out "
        "(train.csv:3 and train.csv:27)",
        "1 held-out rows (5.9%) are copies of training rows, so the score is too good for new "
        "rows; leave them out of one of the files (train.csv:4 and dev.csv:18)",
    ]
    assert json.loads(done.stdout)["warnings"] == warnings
    assert all(done.stderr.count(f"warning: {it}") == 2 for it in warnings)
    assert done.stderr.index(warnings[0]) < done.stderr.index("trains ")


def test_a_run_refuses_to_go_on_with_other_rows(glmctl, tiny_model, own):
    args = ("finetune", "own.toml", "--model", str(tiny_model), "--json")
    before = json.loads(glmctl(*args).stdout)
    write_rows(own / "dev.csv", ROWS[25:])
    done = glmctl(*args)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        "dev.csv: has other rows than when runs/own was begun; bring them back, or start over "
        "with --fresh --force, or choose another --run-dir"
    ) in done.stderr
    again = json.loads(glmctl(*args, "--fresh", "--force").stdout)
    assert (before["num_dev"], again["num_dev"]) == (16, 15)


def test_runs_of_other_seeds_are_evaluated_on_the_same_rows(glmctl, tiny_model, own):
    args = ("finetune", "--data", "train.csv", *TASK, "--model", str(tiny_model), "--json")
    args += ("--set", "train.steps=1", "--set", "optimizer.peak_lr=1e-30")
    runs = [
        json.loads(glmctl(*args, "--set", f"train.seed={seed}", "--run-dir", f"{seed}").stdout)
        for seed in (1, 2)
    ]
    assert runs[0]["num_dev"] == 4
    assert runs[0]["confusion"] == runs[1]["confusion"]
    assert runs[0]["loss"] != runs[1]["loss"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A task in a file, with rows to train and to evaluate on."""
    write_rows(tmp_path / "train.csv", ROWS[:24])
    write_rows(tmp_path / "dev.csv", ROWS[24:])
    (tmp_path / "own.toml").write_text(TOML)
    return tmp_path


def test_a_task_file_brings_rows_and_settings(glmctl, tiny_model, own):
    done = glmctl("finetune", "own.toml", "--model", str(tiny_model), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["num_train"], result["num_dev"], result["steps"]) == (24, 16, 3)
    assert (result["task"], result["majority"]) == ("own", 50.0)
    recipe = (own / "runs/own/recipe.toml").read_text()
    assert 'probe = "dev.csv"' in recipe


def test_a_killed_run_ends_as_the_run_that_was_not(glmctl, tiny_model, own, stopped):
    settings = ("train.epochs=30", "train.save_every=4", "train.probe_every=5", "model.dropout=0.1")
    args = ["finetune", "own.toml", "--model", str(tiny_model), "--json"]
    args += [part for setting in settings for part in ("--set", setting)]
    whole = json.loads(glmctl(*args, "--run-dir", "whole").stdout)
    stopped(args, "killed", 7, signal.SIGKILL)
    code, said = stopped(args, "killed", 20, signal.SIGINT)
    assert code == 130, said
    assert "is saved; the same command continues from there" in said
    done = glmctl(*args, "--run-dir", "killed")
    assert "continuing after step" in done.stderr
    ended = json.loads(done.stdout)
    same = ("score", "best_step", "steps", "loss", "parameter_digest", "confusion")
    assert {key: ended[key] for key in same} == {key: whole[key] for key in same}
    weights = [json.loads((own / f"{name}/model/manifest.json").read_text()) for name in
               ("whole", "killed")]  # fmt: skip
    assert weights[0]["digests"] == weights[1]["digests"]


def test_patience_ends_a_run_that_gets_no_better(glmctl, tiny_model, own):
    args = ["--set", "train.patience=2", "--set", "train.probe_every=1", "--set", "train.steps=50"]
    args += ["--set", "optimizer.peak_lr=1e-9", "--set", "schedule.kind=constant"]
    done = glmctl("finetune", "own.toml", "--model", str(tiny_model), "--json", *args)
    result = json.loads(done.stdout)
    assert result["steps"] == 3  # the score of the first one, twice more


RECIPE = """
[recipe]
stage = "finetune"
source = "test"
[task]
name = "mood"
fields = { review = "review" }
patterns = ["{review} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
files = { train = "train.csv", val = "dev.csv" }
[train]
steps = 2
"""
MATRIX = """
[matrix]
seed = [1, 2]
"optimizer.peak_lr" = [1e-4, 1e-2]
"""
LORA = """
[adapter]
kind = "lora"
rank = 4
"""


def test_a_matrix_is_many_runs_and_a_table(glmctl, tiny_model, own):
    (own / "mood.toml").write_text(RECIPE + MATRIX)
    args = ("finetune", "mood.toml", "--model", str(tiny_model))
    listed = glmctl(*args, "--dry-run").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [
        "seed=1-peak_lr=0.0001", "seed=1-peak_lr=0.01", "seed=2-peak_lr=0.0001",
        "seed=2-peak_lr=0.01",
    ]  # fmt: skip
    assert not (own / "runs").exists()
    done = glmctl(*args)
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines()]
    assert table[0] == ["optimizer.peak_lr", "metric", "mean", "deviation", "runs"]
    assert [row[0] for row in table[1:]] == ["0.0001", "0.01"]
    assert sum(row[-1] == "best" for row in table) == 1
    assert "run 4 of 4: seed=2-peak_lr=0.01" in done.stderr
    found = {file.parent.name for file in own.glob("runs/mood/*/recipe.toml")}
    assert found == {line.split()[0] for line in listed[1:]}
    shutil.rmtree(own / "runs/mood/seed=2-peak_lr=0.01")
    again = glmctl(*args)
    assert again.stdout == done.stdout
    assert again.stderr.count("is finished; --fresh --force starts over") == 3
    (row,) = json.loads(glmctl(*args, "--json", "--set", "matrix.seed=[1]").stdout)["rows"][:1]
    assert (row["num_runs"], row["deviation"]) == (1, None)


def test_a_single_recipe_is_one_run(glmctl, tiny_model, own):
    (own / "mood.toml").write_text(RECIPE)
    args = ("finetune", "mood.toml", "--model", str(tiny_model), "--set", "train.steps=3")
    done = glmctl(*args, "--predict", "dev.csv", "--out", "out.csv")
    assert done.returncode == 0, done.stderr
    assert "16 held-out rows, step " in done.stdout
    assert (own / "runs/mood/model/config.toml").is_file()
    assert len((own / "out.csv").read_text().splitlines()) == 17


def test_an_adapter_is_trained_alone_and_goes_on_after_a_kill(glmctl, tiny_model, own, stopped):
    (own / "mood.toml").write_text(RECIPE + LORA)
    args = ["finetune", "mood.toml", "--model", str(tiny_model), "--json"]
    args += [
        "--set",
        "train.steps=30",
        "--set",
        "train.save_every=3",
        "--set",
        "train.probe_every=5",
    ]
    args += ["--set", "adapter.dropout=0.1", "--set", "optimizer.peak_lr=0.01"]
    done = glmctl(*args, "--run-dir", "whole")
    assert done.returncode == 0, done.stderr
    assert "trains 4,096 of " in done.stderr
    whole = json.loads(done.stdout)
    stopped(args, "killed", 8, signal.SIGKILL)
    ended = json.loads(glmctl(*args, "--run-dir", "killed").stdout)
    same = ("score", "best_step", "loss", "parameter_digest")
    assert {key: ended[key] for key in same} == {key: whole[key] for key in same}
    state = own / "whole/checkpoints/step-00000030/state.safetensors"
    assert state.stat().st_size < tiny_model.joinpath("model.safetensors").stat().st_size
    assert {file.name for file in (own / "whole/adapter").iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json",
    }  # fmt: skip
    opened = glmctl("infill", "--model", "whole", "--choices", "good,bad", "It was [MASK].")
    assert opened.returncode == 0, opened.stderr


def test_json_lines_and_a_task_of_choices(glmctl, tiny_model, tmp_path):
    rows = [
        {"premise": "Cats! " * i, "a": "It is two.", "b": "It eats.", "label": i % 2}
        for i in range(6)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "why.toml").write_text(
        '[task]\nkind = "choice"\nchoices = ["{a}", "{b}"]\npatterns = ["{premise} [MASK]"]\n'
    )
    args = ("finetune", "why.toml", "--model", str(tiny_model), "--data", "rows.jsonl")
    predict = ("--predict", "rows.jsonl", "--out", "out.jsonl", "--set", "train.steps=2")
    done = glmctl(*args, *predict)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(found) == 6
    assert {row["prediction"] for row in found} <= {"0", "1"}
    assert all(0.5 <= row["probability"] <= 1 for row in found)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("mood.toml", "--pattern", "x"), 2, "leave out what describes a task"),
        (
            ("mood.toml", "--set", "adapter.rnk=2"),
            2,
            "adapter.rnk: unknown key; did you mean 'rank",
        ),
        (
            ("mood.toml", "--set", "task.cutt=2"),
            2,
            "task.mood: cutt: unknown key; did you mean 'cut'",
        ),
        (("own.toml", "--dry-run"), 2, "--dry-run lists the runs of a recipe; name one"),
        (("many.toml",), 3, "WSC/train.jsonl; name one with --data FILE, or get https://"),
        (("many.toml", "--predict", "a", "--out", "b", "--data", "x"), 3, "no x/RTE/train.jsonl"),
        ((), 2, "name a task, or --data FILE --pattern"),
        (("--data", "train.csv"), 2, "a task of your own needs --data FILE --pattern"),
        (("own.toml", "--pattern", "x"), 2, "leave out what describes a task"),
        (("superglue",), 2, "superglue holds several tasks; name one: boolq, cb"),
        (("own.toml", "--predict", "dev.csv"), 2, "--predict FILE and --out FILE go together"),
        (("boolq",), 3, "BoolQ/train.jsonl; name one with --data FILE, or get https://"),
        (("--data", "no.csv", *TASK), 3, "no: no no.csv; name one with --data FILE"),
        (("own.toml", "--set", "train.epoch=3"), 2, "train.epoch: unknown key; did you mean 'epo"),
        (("own.toml", "--model", "nothing"), 3, "nothing: no such file or folder"),
        (("--data", "train.csv", *TASK, "--label-column", "stars"), 3, "more: has no 'stars'"),
        (("--data", "empty.csv", *TASK), 3, "empty.csv: is empty; it should hold examples"),
        (("--data", "odd.csv", *TASK), 3, "odd.csv:4: label 'maybe' is none of 1, 0; correct it"),
        (("--data", "one.csv", *TASK), 3, "no row of one.csv has the label '1'; add some, or"),
        (
            ("--data", "train.csv", *TASK[:-1], "1=good,0=good day"),
            3,
            "the word of '0' begins with all tokens of that of '1'",
        ),
        (
            ("--model", "glmctl-default", "--predict", "dev.csv", "--out", "o.csv"),
            2,
            "glmctl-default: is no run of glmctl finetune, so it has no task",
        ),
    ],
)
def test_what_cannot_be_done_says_why(glmctl, own, args, code, message):
    (own / "empty.csv").write_text("review,label\n")
    (own / "mood.toml").write_text(RECIPE)
    head = RECIPE.partition("[task]")[0]
    (own / "many.toml").write_text(head + '[matrix]\ntask = ["rte", "wsc"]\n')
    write_rows(own / "odd.csv", [*ROWS[:2], ("Fine.", "maybe"), *ROWS[2:9]])
    write_rows(own / "one.csv", ROWS[:20:2])
    done = glmctl("finetune", *args)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not (own / "runs").exists()


def test_a_model_learns_what_to_write_and_writes_it_for_new_rows(tmp_path: Path):
    rows = [{"text": f"The {thing} is here.", "short": [thing]} for thing in THINGS * 2]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "short.toml").write_text(
        '[task]\nkind = "generate"\npatterns = ["{text} In short: [MASK]."]\n'
        'golds = { path = "short" }\nanswer = " {choice}"\nmetrics = ["exact_match"]\n'
        "decode = { max_new_tokens = 6 }\n[train]\nsteps = 4\n"
    )
    done = call(tmp_path, "finetune", "short.toml", "--data", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert "  learns  >> " in done.stderr
    assert done.stdout.startswith("exact_match ")
    (tmp_path / "new.csv").write_text("text\nThe cat is here.\n")
    args = ("--predict", "new.csv", "--out", "said.csv")
    done = call(tmp_path, "finetune", "--model", "runs/short", *args)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "said.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert list(row) == ["text", "prediction"]
    assert row["prediction"]


def test_a_model_learns_numbers_on_a_scale(tmp_path: Path):
    graded = [(text, (0.5, 4.5)[label] + number / 100) for number, (text, label) in enumerate(ROWS)]
    write_rows(tmp_path / "train.csv", graded)
    (tmp_path / "grade.toml").write_text(
        TOML.replace("1 =", "5 =")
        .replace("epochs = 2", "epochs = 8")
        .replace(
            "[train]",
            'labels = ["0", "5"]\nscale = true\nmetrics = ["pearson", "spearman"]\n[train]',
        )
        .replace(', val = "dev.csv"', "")
    )
    done = call(tmp_path, "finetune", "grade.toml", "--data", "train.csv")
    assert done.returncode == 0, done.stderr
    assert "<< to 90% and >> good<< to 10%" in done.stderr
    assert done.stdout.startswith("pearson ")
    assert "right label" not in done.stdout + done.stderr
    predict = ("--predict", "train.csv", "--out", "said.csv")
    done = call(tmp_path, "finetune", "--model", "runs/grade", *predict)
    assert done.stdout == "said.csv: 40 rows, 0 without a prediction\n", done.stderr
    with (tmp_path / "said.csv").open() as stream:
        said = [*csv.DictReader(stream)]
    assert list(said[0]) == ["review", "label", "prediction", "probability_0", "probability_5"]
    numbers = [float(row["prediction"]) for row in said]
    assert all(0 <= it <= 5 for it in numbers)
    assert sum(numbers[1::2]) > sum(numbers[::2])
    done = call(
        tmp_path, "finetune", "grade.toml", "--data", "train.csv", "--set", "task.scale=false"
    )
    assert done.returncode == 2
    assert "metrics: pearson, spearman: add scale = true, or choose another" in done.stderr


def test_what_a_model_forgets_is_measured_and_too_much_of_it_fails(tmp_path: Path):
    write_rows(tmp_path / "train.csv", ROWS)
    settings = ("--set", "train.steps=3", "--set", "optimizer.peak_lr=3e-3", "--json")
    gate = ("--set", "train.max_forgetting=0.01")
    done = call(tmp_path, "finetune", "--data", "train.csv", *TASK, *settings, *gate)
    result = json.loads(done.stdout)
    quantized = call(tmp_path, "quantize", "glmctl-default", "--out", "few", "--json")
    before = json.loads(quantized.stdout)["before"]["perplexity"]
    assert result["perplexity_before"] == pytest.approx(before, rel=1e-5)
    rise = result["perplexity_after"] / result["perplexity_before"] - 1
    assert result["forgetting"] == pytest.approx(rise)
    assert (done.returncode, result["is_forgetful"]) == (1, True)
    assert f"rose by {100 * rise:.1f} %, more than train.max_forgetting" in done.stderr
    after = call(tmp_path, "quantize", "runs/train", "--out", "few-too", "--json")
    assert json.loads(after.stdout)["before"]["perplexity"] == pytest.approx(
        result["perplexity_after"], rel=1e-5
    )


def test_labelled_rows_never_take_the_place_of_anything(taught):
    folder, _ = taught
    write_rows(folder / "same.csv", ROWS[:2])
    before = (folder / "same.csv").read_bytes()
    args = ("finetune", "--model", "runs/train", "--predict", "same.csv", "--out")
    done = call(folder, *args, "same.csv")
    assert done.returncode == 2
    assert "is the file that is labelled; name another" in done.stderr
    assert (folder / "same.csv").read_bytes() == before
    write_rows(folder / "same.csv", ROWS[:2], label="prediction")
    done = call(folder, *args, "other.csv")
    assert done.returncode == 3
    assert "has columns prediction, which are added; rename them" in done.stderr
    assert not (folder / "other.csv").exists()


def test_a_file_of_which_no_row_can_be_labelled_is_an_error(taught):
    folder, _ = taught
    (folder / "renamed.csv").write_text("text,id\nWarm.,1\nCold.,2\n")
    args = ("--model", "runs/train", "--predict", "renamed.csv", "--out", "none.csv")
    done = call(folder, "finetune", *args)
    assert (done.returncode, done.stdout) == (3, "")
    assert "renamed.csv:2 and 1 more: has no 'review'; keys there: text, id; name" in done.stderr
    assert not (folder / "none.csv").exists()


def test_rows_that_are_cut_are_counted(taught):
    folder, _ = taught
    write_rows(folder / "long.csv", [("bread " * 400, 0), ("The bread.", 1)])
    done = call(
        folder, "finetune", "--model", "runs/train", "--predict", "long.csv", "--out", "o.csv"
    )
    assert "2 rows, 0 without a prediction, 1 cut to what the model reads" in done.stdout


def test_a_folder_of_runs_names_them(taught):
    folder, _ = taught
    args = ("--predict", "train.csv", "--out", "o.csv")
    done = call(folder, "finetune", "--model", "runs", *args)
    assert done.returncode == 2
    assert "holds 1 runs; name one of them: train" in done.stderr
