import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glmctl.cli.app import run

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ARGS = ("--method", "absmax", "--bits", "4")


def test_a_model_is_quantized_and_fills_blanks(glmctl: Run, tiny_model: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_text("The grey cat sleeps beside the oven.\n" * 9)
    args = ("--out", "few", "--calibration", "a.txt")
    done = glmctl("quantize", tiny_model, *ARGS, *args)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == "weights bytes before bytes after after / float16".split()
    assert ["ffn.up", "32,768", "4,608", "0.281"] in lines
    assert ["layer", "error"] in lines
    (blanks,) = (line for line in done.stdout.splitlines() if " blanks of a.txt" in line)
    assert blanks.split()[-2:] == ["before", "after"]
    assert [line[0] for line in lines[-2:]] == ["perplexity", "exact"]
    assert done.stderr == "wrote few\n"
    assert glmctl("infill", "--model", "few", "The [MASK] sleeps.").returncode == 0


def test_json_is_one_object(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "few")
    assert run(["quantize", str(tiny_model), "--out", out, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "glmctl.QuantizeResult/1"
    assert (record["method"], record["bits"], record["out"]) == ("absmax", 8, out)
    assert len(record["layer_errors"]) == 2
    assert record["before"]["perplexity"] > 1
    assert record["after"]["num_blanks"] == record["before"]["num_blanks"]
    assert record["parts"][-1]["name"] == "all"


def test_a_perplexity_that_rises_too_much_writes_nothing(glmctl: Run, tmp_path: Path):
    refused = glmctl("quantize", "glmctl-default", *ARGS, "--out", "few", "--max-loss", "0.001")
    assert refused.returncode == 1
    assert "perplexity" in refused.stdout
    assert "more than --max-loss 0.001; nothing was written" in refused.stderr
    assert not (tmp_path / "few").exists()
    args = ("--bits", "8", "--out", "few", "--max-loss", "0.001")
    done = glmctl("quantize", "glmctl-default", *args)
    assert done.returncode == 0
    assert (tmp_path / "few" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--bits", "3"), 2, "quantize.bits: should be 8 or 4; found 3"),
        (("--method", "gptq"), 2, "quantize.method: should be 'absmax'; found \"gptq\""),
        (("--method", "zeropoint"), 2, "quantize.method: should be 'absmax'"),
        (("--max-loss", "-1"), 2, "quantize.max_loss: should be greater than or equal to 0"),
        (("--calibration", "nowhere.txt"), 3, "nowhere.txt: no such text; name a file"),
        (("--calibration", "empty.txt"), 3, "empty.txt: has no text in which a blank could be"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    args, code, message, glmctl: Run, tiny_model: Path, tmp_path: Path
):
    (tmp_path / "empty.txt").touch()
    done = glmctl("quantize", tiny_model, "--out", "few", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "few").exists()


def test_a_folder_that_is_not_there_is_named(glmctl: Run):
    done = glmctl("quantize", "nowhere", "--out", "few")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: nowhere: no such file or folder, and no built-in model")


def test_the_help_offers_only_the_method_that_works(glmctl: Run):
    done = glmctl("quantize", "--help")
    assert "absmax" in done.stdout
    assert not any(word in done.stdout for word in ("gptq", "awq", "zeropoint", "group"))


def test_a_disk_that_fills_up_leaves_nothing(tiny_model: Path, tmp_path: Path):
    script = 'ulimit -f 16; exec "$@"'
    command = [str(Path(sys.executable).with_name("glmctl")), "quantize", str(tiny_model)]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command, "--out", "few"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 4
    assert "few: could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


RECIPE = """
[recipe]
stage = "quantize"
extends = "smoke/tiny.toml"
source = "test"
[quantize]
model = "{model}"
bits = 4
"""


def test_a_recipe_is_run_by_this_command_and_not_trained(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe, out = str(tmp_path / "q.toml"), str(tmp_path / "few")
    Path(recipe).write_text(RECIPE.format(model=tiny_model))
    assert run(["pretrain", recipe, "--run-dir", out]) == 2
    problem = f"is a recipe of stage 'quantize'; run: glmctl quantize {recipe}"
    assert problem in capsys.readouterr().err
    assert not Path(out).exists()
    assert run(["quantize", recipe, "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits"] == 4
