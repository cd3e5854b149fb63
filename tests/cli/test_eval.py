"""`glmctl eval` from end to end, on files in the official formats with texts of our own."""

import json
import os
import re
from pathlib import Path
from zipfile import ZipFile

import pytest

DATA = os.environ.get("GLMCTL_DATA_DIR")
ROWS = {
    "BoolQ": [
        {"question": "is the oven hot", "passage": "The oven is hot at six.", "label": True},
        {"question": "is it late", "passage": "The bakery opens at six.", "label": False},
    ],
    "CB": [
        {"premise": "The cat sleeps at two.", "hypothesis": "A cat sleeps.", "label": label}
        for label in ("entailment", "contradiction", "neutral")
    ],
    "RTE": [
        {"premise": "The cat sleeps.", "hypothesis": "A cat is here.", "label": "entailment"},
        {"premise": "The cat sleeps.", "hypothesis": "It is six.", "label": "not_entailment"},
    ],
    "WiC": [
        {"word": "oven", "sentence1": "A hot oven.", "sentence2": "Its oven.", "label": True},
    ],
    "COPA": [
        {"premise": "The cat sleeps.", "choice1": "It is two.", "choice2": "It eats.",
         "question": kind, "label": i}
        for i, kind in enumerate(("cause", "effect"))
    ],
    "WSC": [
        {"text": "The cat sees it .", "label": False,
         "target": {"span1_index": 0, "span1_text": "The cat", "span2_index": 3,
                    "span2_text": "it"}},
    ],
    "MultiRC": [
        {"passage": {"text": "The bakery opens at six.", "questions": [
            {"idx": 0, "question": "When?", "answers": [
                {"idx": 0, "text": "six", "label": 1}, {"idx": 1, "text": "two", "label": 0}]},
            {"idx": 1, "question": "What?", "answers": [{"idx": 2, "text": "it", "label": 1}]},
        ]}},
    ],
    "ReCoRD": [
        {"passage": {"text": "Ann sees Bob.", "entities": [
            {"start": 0, "end": 2}, {"start": 9, "end": 11}]},
         "qas": [{"idx": 0, "query": "Then @placeholder left.", "answers": [{"text": "Ann"}]}]},
    ],
}  # fmt: skip
NAMES = ("boolq", "cb", "copa", "multirc", "rte", "record", "wsc", "wic")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """SuperGLUE's folders with a few rows each."""
    for task, rows in ROWS.items():
        (tmp_path / "sg" / task).mkdir(parents=True)
        lines = [json.dumps(row | {"idx": number}) + "\n" for number, row in enumerate(rows)]
        (tmp_path / "sg" / task / "val.jsonl").write_text("".join(lines))
    return tmp_path / "sg"


def test_a_suite_is_scored_and_written_down(glmctl, data, tmp_path):
    done = glmctl("eval", "superglue", "--data", "sg", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == "glmctl.Evaluation/1"
    assert {*result["tasks"]} == {*NAMES}
    for task in result["tasks"].values():
        assert task["interval"][0] <= task["score"] <= task["interval"][1]
        assert task["protocol"] == "zero-shot cloze"
    counts = {name: task["num_questions"] for name, task in result["tasks"].items()}
    assert counts == {
        "boolq": 2, "cb": 3, "copa": 2, "multirc": 2, "rte": 2, "record": 1, "wsc": 1, "wic": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "out/results.json").read_text()) == result
    predictions = (tmp_path / "out/multirc/predictions.jsonl").read_text().splitlines()
    first = json.loads(predictions[0])
    assert (len(predictions), first["id"], first["golds"]) == (3, [0, 0, 0], ["1"])
    assert {*first["scores"]} == {"0", "1"}
    # The average counts both numbers of CB, MultiRC and ReCoRD.
    scores = {
        name: [value["value"] for value in task["metrics"].values()][:2]
        for name, task in result["tasks"].items()
    }
    means = [sum(values) / len(values) for values in scores.values()]
    assert result["average"] == pytest.approx(sum(means) / 8)


def test_the_score_is_the_share_of_right_predictions(glmctl, tiny_model, data, tmp_path):
    done = glmctl("eval", "cb", str(tiny_model), "--data", "sg", "--json", "--out", "out")
    task = json.loads(done.stdout)["tasks"]["cb"]
    lines = (tmp_path / "out/cb/predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    right = [row["prediction"] in row["golds"] for row in rows]
    assert task["score"] == pytest.approx(100 * sum(right) / 3)
    assert all(row["scores"][row["prediction"]] == max(row["scores"].values()) for row in rows)
    assert task["majority"] == pytest.approx(100 / 3)


def test_the_predictions_do_not_depend_on_what_is_scored_beside_them(
    glmctl, tiny_model, data, tmp_path
):
    base = ("eval", "superglue", str(tiny_model), "--data", "sg", "--tasks", "rte,copa")
    glmctl(*base, "--out", "all")
    done = glmctl(*base, "--out", "one", "--limit", "1")
    assert done.returncode == 0, done.stderr
    for task in ("rte", "copa"):
        (one,) = (tmp_path / f"one/{task}/predictions.jsonl").read_text().splitlines()
        first, _ = (tmp_path / f"all/{task}/predictions.jsonl").read_text().splitlines()
        assert json.loads(one)["scores"] == pytest.approx(json.loads(first)["scores"], abs=1e-5)


def test_the_table_says_what_must_be_known(glmctl, tiny_model, data):
    done = glmctl("eval", "boolq", str(tiny_model), "--data", "sg/BoolQ")
    assert done.returncode == 0, done.stderr
    head, row, note = done.stdout.splitlines()
    assert head.split()[:3] == ["task", "metric", "score"]
    assert row.split()[:2] == ["boolq", "accuracy"]
    assert "zero-shot cloze" in note
    assert "the tokenizer cuts ' No', ' Yes'; words are scored by all their tokens" in done.stderr
    assert done.stderr.endswith("predictions and results: evals/boolq-model\n")
    again = ("--split", "val", "--pattern", "1", "--policy", "encode")
    done = glmctl("eval", "boolq", str(tiny_model), "--data", "sg/BoolQ", *again)
    assert done.stderr.endswith("results: evals/boolq-model-val-pattern-1-encode\n")


def test_a_task_of_ones_own_from_a_table(glmctl, tiny_model, tmp_path):
    (tmp_path / "own.toml").write_text(
        '[task]\npatterns = ["{review} It was [MASK]."]\n'
        'verbalizer = { 1 = "good", 0 = "bad" }\nlabel = "stars"\n'
    )
    (tmp_path / "rows.csv").write_text("review,stars\nWarm and fresh,1\nCold,0\n")
    done = glmctl("eval", "own.toml", str(tiny_model), "--data", "rows.csv", "--json")
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["tasks"]["own"]
    assert (task["num_questions"], task["metric"]) == (2, "accuracy")


def test_rows_with_a_problem_are_named_and_the_others_are_done(glmctl, tiny_model, data):
    file = data / "RTE/val.jsonl"
    file.write_text('{"premise"\n' + file.read_text().replace("not_entailment", "perhaps"))
    done = glmctl("eval", "rte", str(tiny_model), "--data", "sg", "--json")
    assert done.returncode == 1
    task = json.loads(done.stdout)["tasks"]["rte"]
    assert (task["num_examples"], task["num_failed"]) == (1, 2)
    assert "RTE/val.jsonl:1: not JSON" in done.stderr
    assert "RTE/val.jsonl:3: label 'perhaps' is none of entailment, not_entail" in done.stderr


def test_a_task_that_cannot_be_asked_at_all_spoils_no_other(glmctl, tiny_model, data):
    args = ("eval", "superglue", str(tiny_model), "--data", "sg", "--tasks", "wsc,rte", "--json")
    done = glmctl(*args)  # the question of wsc has more tokens than the model has positions
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert ([*result["tasks"]], result["average"]) == (["rte"], None)
    assert "too long even without what may be shortened" in done.stderr


def test_a_text_longer_than_the_model_is_cut_and_counted(glmctl, tiny_model, data):
    row = {"question": "is it hot", "passage": "hot " * 1000, "label": True, "idx": 0}
    (data / "BoolQ/val.jsonl").write_text(json.dumps(row) + "\n")
    done = glmctl("eval", "boolq", str(tiny_model), "--data", "sg", "--json")
    task = json.loads(done.stdout)["tasks"]["boolq"]
    assert (task["num_cut"], task["max_length"]) == (1, 64)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "name a suite, a task or a TASK.toml; --list shows what there is"),
        (("supergleu",), 2, "no such task; did you mean 'superglue'"),
        (("superglue", "--tasks", "rte,cops"), 2, "cops: no such task of superglue; did you m"),
        (("rte", "--split", "dev"), 2, "--split: rte has train, val, test, not dev"),
        (("rte", "--pattern", "9"), 2, "rte has patterns 0 to 4, not 9"),
        (("superglue", "--data", "sg/RTE/val.jsonl"), 2, "name that task: boolq, cb, rte, axb"),
        (("rte", "--data", "nowhere"), 3, "rte: no nowhere/RTE/val.jsonl"),
        (("rte", "--data", "nowhere"), 3, "v2/combined.zip, unpack it and name its folder with"),
        (("rte", "nothing", "--data", "sg"), 3, "nothing: no such file or folder"),
        (("rte", "--data", "sg", "--out", "."), 2, "holds other files; name a new folder"),
        (("my.toml",), 3, "my.toml: No such file or directory"),
    ],
)
def test_what_cannot_be_done_says_why(glmctl, data, args, code, message):
    done = glmctl("eval", *args)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""


def test_the_test_split_makes_what_is_sent_in(glmctl, tiny_model, data, tmp_path):
    for task in ("CB", "COPA", "MultiRC"):
        text = (data / task / "val.jsonl").read_text()
        (data / task / "test.jsonl").write_text(re.sub(r', "label": ("\w+"|\d)', "", text))
    args = ("superglue", str(tiny_model), "--data", "sg", "--tasks", "cb,copa,multirc")
    done = glmctl("eval", *args, "--split", "test", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "to be sent in: out/submission.zip" in done.stdout
    with ZipFile(tmp_path / "out/submission.zip") as archive:
        assert archive.namelist() == ["CB.jsonl", "COPA.jsonl", "MultiRC.jsonl"]
        files = {
            name: [json.loads(line) for line in archive.read(name).splitlines()]
            for name in archive.namelist()
        }
    assert [row["idx"] for row in files["CB.jsonl"]] == [0, 1, 2]
    assert all(row["label"] in (0, 1) for row in files["COPA.jsonl"])
    (passage,) = files["MultiRC.jsonl"]
    first, second = passage["passage"]["questions"]
    assert (passage["idx"], first["idx"], [it["idx"] for it in first["answers"]]) == (0, 0, [0, 1])
    assert (second["idx"], [it["idx"] for it in second["answers"]]) == (1, [2])
    task = json.loads((tmp_path / "out/results.json").read_text())["tasks"]["cb"]
    assert (task["score"], task["metrics"], task["split"]) == (None, {}, "test")


def test_the_tables_of_glue_are_sent_in_by_their_index(glmctl, tiny_model, tmp_path):
    tables = {
        "CoLA/test.tsv": "index\tsentence\n0\tThe oven is hot.\n1\tHot oven the is.\n",
        "QQP/test.tsv": "id\tquestion1\tquestion2\n0\tIs it hot?\n1\tHot?\tIs it?\n",
        "MNLI/test_mismatched.tsv": "index\tsentence1\tsentence2\n0\tA cat.\tA dog.\n",
        "AX.tsv": "index\tsentence1\tsentence2\n0\tA cat.\tA dog.\n",
    }
    for name, text in tables.items():
        (tmp_path / "glue" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "glue" / name).write_text(text)
    args = ("glue", str(tiny_model), "--data", ".", "--tasks", "cola,qqp,mnli_mm,ax")
    done = glmctl("eval", *args, "--split", "test", "--out", "out")
    assert "QQP/test.tsv:2: has 2 columns" in done.stderr  # its row is left out, not its number
    with ZipFile(tmp_path / "out/submission.zip") as archive:
        rows = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert [*rows] == ["CoLA.tsv", "QQP.tsv", "MNLI-mm.tsv", "AX.tsv"]
    assert {lines[0] for lines in rows.values()} == {"index\tprediction"}
    index = {name: [line.split("\t")[0] for line in lines[1:]] for name, lines in rows.items()}
    expected = {"CoLA.tsv": ["0", "1"], "QQP.tsv": ["1"], "MNLI-mm.tsv": ["0"], "AX.tsv": ["0"]}
    assert index == expected
    assert {line.split("\t")[1] for line in rows["CoLA.tsv"][1:]} <= {"0", "1"}
    (label,) = (line.split("\t")[1] for line in rows["AX.tsv"][1:])
    assert label in ("entailment", "neutral", "contradiction")


def test_what_is_sent_in_names_the_rows_that_it_lacks(glmctl, tiny_model, data):
    (data / "CB/test.jsonl").write_text((data / "CB/val.jsonl").read_text())
    done = glmctl("eval", "cb", str(tiny_model), "--data", "sg", "--split", "test", "--limit", "2")
    assert "cb: rows without a prediction are missing from what is to be sent in" in done.stderr


def test_a_missing_file_of_a_suite_is_named_with_the_tasks_that_are_there(glmctl, data):
    (data / "CB/val.jsonl").unlink()
    done = glmctl("eval", "superglue", "--data", "sg")
    assert done.returncode == 3
    assert "cb: no sg/CB/val.jsonl" in done.stderr
    assert "--tasks boolq,copa,multirc,rte,record,wsc,wic" in done.stderr


def test_the_list_shows_every_task_with_its_status(glmctl):
    plain = glmctl("eval", "--list").stdout.splitlines()
    listed = json.loads(glmctl("eval", "--list", "--json").stdout)["tasks"]
    superglue = {row["task"] for row in listed if row["suite"] == "superglue"}
    assert superglue == {*NAMES, "axb", "axg"}
    assert {row["status"] for row in listed} <= {"works", "conformance", "unverified"}
    assert len(plain) == len(listed) + 1


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="GLMCTL_DATA_DIR names the official data sets")
def test_the_official_files_are_read_whole_and_scored(glmctl):
    done = glmctl("eval", "superglue", "--data", str(DATA), "--limit", "40", "--json")
    tasks = json.loads(done.stdout)["tasks"]
    assert {name: task["num_questions"] for name, task in tasks.items()} == dict.fromkeys(
        NAMES, 40
    ) | {"record": tasks["record"]["num_questions"]}
    # What cannot be shortened to the positions of the small default model is named.
    assert done.returncode == (1 if any(task["num_failed"] for task in tasks.values()) else 0)
    assert all("is" in line and "too long" in line for line in error_lines(done.stderr))


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]
