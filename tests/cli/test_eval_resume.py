"""An evaluation goes on where it was stopped, and ends as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLED = Path(__file__).parents[1] / "chaos/killed_evaluations.py"


def test_scores_after_50_kills_are_those_of_an_unbroken_evaluation(tiny_model, tmp_path):
    command = [sys.executable, str(KILLED), str(tiny_model), str(tmp_path), "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["killed"], seen["ended"], seen["is_equal"]) == (50, 0, True)
    # Only what was computed and not yet written is computed again: one item of a kill at most.
    assert seen["num_computed"] - seen["num_items"] == seen["num_lost"] <= 50


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.toml").write_text(
        '[task]\npatterns = ["{text} It was [MASK].", "{text}? [MASK]."]\n'
        'verbalizer = { 1 = "good", 0 = "bad" }\n'
    )
    rows = [{"text": f"The cat sleeps at {i}.", "label": i % 2} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "eval", "own.toml", "--data", "rows.jsonl", "--out", "out"


def test_what_was_answered_is_not_asked_again(glmctl, tiny_model, tmp_path, own):
    glmctl(*own, str(tiny_model))
    file = tmp_path / "out/own/predictions.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(True)[:12]) + b'{"number": 12, "pred')
    again = glmctl(*own, str(tiny_model))
    assert again.returncode == 0, again.stderr
    assert "own: 12 of 20 were answered before" in again.stderr
    assert file.read_bytes() == whole


def test_a_baseline_is_not_asked_again_either(glmctl, tiny_model, tmp_path):
    (tmp_path / "own.toml").write_text('[task]\nkind = "infill"\ndecode = { max_new_tokens = 4 }\n')
    (tmp_path / "rows.jsonl").write_text('{"text": "The grey cat sleeps beside the oven."}\n')
    args = ("eval", "own.toml", str(tiny_model), "--data", "rows.jsonl", "--out", "out")
    assert "before" not in glmctl(*args).stderr
    again = glmctl(*args)
    assert again.returncode == 0, again.stderr
    assert "own/blind: 1 of 1 were answered before" in again.stderr


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--limit", "7"), "limit"),
        (("--pattern", "1"), "pattern"),
        (("glmctl-default",), "model"),
    ],
)
def test_another_question_or_model_starts_over_and_says_so(
    glmctl, tiny_model, tmp_path, own, args, what
):
    glmctl(*own, str(tiny_model))
    model = () if what == "model" else (str(tiny_model),)
    other = glmctl(*own, *model, *args)
    assert other.returncode == 0, other.stderr
    assert f"own: starts over; not as before: {what}" in other.stderr
    assert "were answered before" not in other.stderr


def test_another_file_or_task_starts_over(glmctl, tiny_model, tmp_path, own):
    glmctl(*own, str(tiny_model))
    with (tmp_path / "rows.jsonl").open("a") as stream:
        stream.write('{"text": "New.", "label": 1}\n')
    assert "not as before: data" in glmctl(*own, str(tiny_model)).stderr
    task = tmp_path / "own.toml"
    task.write_text(task.read_text().replace('"bad"', '"ill"'))
    assert "not as before: task" in glmctl(*own, str(tiny_model)).stderr


def test_ctrl_c_keeps_what_is_done_and_names_the_command(tiny_model, tmp_path, own):
    rows = [{"text": f"The cat sleeps at {i}.", "label": i % 2} for i in range(20_000)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = Path(sys.executable).with_name("glmctl")
    command = [program, *own, str(tiny_model)]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        file = tmp_path / "out/own/predictions.jsonl"
        until = time.monotonic() + 120
        while time.monotonic() < until and not (file.exists() and file.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"continues from there: glmctl {' '.join(own)} {tiny_model}" in said
    assert file.read_bytes().endswith(b"\n")
    assert 0 < len(file.read_bytes().splitlines()) < 20_000
