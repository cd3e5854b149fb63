"""`glmctl report` end to end: the table, the page and the errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glmctl.cli.app import run

SMALL = [
    "train.steps=3",
    "train.global_batch_size=2",
    "train.micro_batch_size=2",
    "train.probe_every=3",
    "model.num_layers=1",
    "model.hidden_size=16",
    "model.num_attention_heads=2",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    assert run(["pretrain", "smoke/tiny", "--run-dir", str(folder), "--quiet", *settings]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_is_a_row_and_a_page(trained, capsys):
    assert run(["report", str(trained)]) == 0
    out, err = capsys.readouterr()
    headings, row = out.splitlines()
    assert headings.split()[:4] == ["run", "steps", "tokens", "loss"]
    assert row.split()[:2] == ["small", "3/3"]
    assert err == "wrote report.html\n"
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_json_gives_the_figures_of_every_run(trained, capsys):
    assert run(["report", str(trained), "--out", "page.html", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (row,) = result["runs"]
    lines = (trained / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert result["schema"] == "glmctl.ReportResult/1"
    assert result["page"] == "page.html"
    assert (row["name"], row["steps"], row["planned_steps"]) == ("small", 3, 3)
    assert row["loss"] == records[2]["loss"]
    assert row["probe_baseline_share"] == records[2]["probe_baseline_share"]
    assert row["num_tokens"] == sum(record["num_tokens"] for record in records)
    assert Path("page.html").is_file()


MOOD = """
[recipe]
stage = "finetune"
source = "test"
[task]
name = "mood"
patterns = ["{text} It was [MASK]."]
verbalizer = { 1 = "good", 0 = "bad" }
max_length = 32
[train]
steps = 2
global_batch_size = 2
micro_batch_size = 2
[[published]]
metric = "mood/accuracy"
value = 90.5
certainty = "recalled"
source = "Table 7"
"""


def test_a_fine_tuning_stands_beside_the_numbers_of_its_recipe(tmp_path, capsys):
    Path("mood.toml").write_text(MOOD)
    rows = [f"the market was {word},{label}" for word, label in (("fine", 1), ("dull", 0)) * 4]
    Path("rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tune = ["finetune", "mood.toml", "--data", "rows.csv", "--dev", "rows.csv", "--device", "cpu"]
    assert run([*tune, "--run-dir", "mood", "--quiet"]) == 0
    said = capsys.readouterr().out
    score = float(said.split()[1])
    line = f"mood/accuracy {score:.2f} 90.5 {score - 90.5:+.2f} recalled"
    assert line in [" ".join(it.split()) for it in said.splitlines()]
    assert run(["eval", "mood.toml", "mood", "--data", "rows.csv", "--out", "out", "--quiet"]) == 0
    assert line in [" ".join(it.split()) for it in capsys.readouterr().out.splitlines()]
    assert run(["report", "mood"]) == 0
    headings, row = capsys.readouterr().out.splitlines()
    assert "published" in headings
    assert f"accuracy {score:.2f}" in row
    assert "90.5 (paper, recalled)" in row
    assert run(["report", "mood", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    assert found["tuned"]["score"] == score
    assert found["tuned"]["confusion"].keys() == {"1", "0"}
    assert found["tuned"]["published"][0]["source"] == "Table 7"


def test_what_is_no_run_is_exit_3_and_no_page_is_written(trained, capsys):
    assert run(["report", str(trained), "nowhere"]) == 3
    assert capsys.readouterr().err == (
        "error: nowhere: is no run: recipe.toml is missing; name a run folder\n"
    )
    assert not Path("report.html").exists()


def test_a_page_in_a_folder_that_is_not_there_is_exit_3(trained, capsys):
    assert run(["report", str(trained), "--out", "no/where.html"]) == 3
    assert "no/where.html: No such file or directory; check the name" in capsys.readouterr().err


def test_a_report_needs_no_torch(trained):
    code = (
        "import sys; from glmctl.cli.app import run; code = run(['report', sys.argv[1]]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, trained], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
