import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from glmctl.cli.app import run
from glmctl.cli.helpers import GUIDE_NAMES
from glmctl.cli.helpers import GUIDES as FOLDER


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_list_has_one_line_a_guide(lang: str, capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "--lang", lang]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["guide", *GUIDE_NAMES]
    assert all(len(line.split()) > 1 for line in lines)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_file_is_on_the_list(lang: str):
    assert sorted(path.stem for path in (FOLDER / lang).iterdir()) == sorted(GUIDE_NAMES)


def test_a_pipe_gets_the_markdown_as_it_is(capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "blanks", "--lang", "zh"]) == 0
    assert capsys.readouterr().out == (FOLDER / "zh" / "blanks.md").read_text(encoding="utf-8")


def test_a_terminal_gets_it_laid_out():
    controller, terminal = pty.openpty()
    done = subprocess.run(
        [Path(sys.executable).with_name("glmctl"), "guide", "first-steps"],
        stdout=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        check=False,
    )
    os.close(terminal)
    said = os.read(controller, 4096).decode()
    assert done.returncode == 0
    assert "First steps" in said
    assert "# First steps" not in said
    assert "\x1b[" in said


def test_an_unknown_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "pretrain"]) == 2
    message = capsys.readouterr().err
    assert message == (
        "error: pretrain: there is no guide of this name; did you mean pretrain-your-text?\n"
    )


def test_a_name_like_none_is_answered_with_all(capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "zzz"]) == 2
    assert f"known: {', '.join(GUIDE_NAMES)}" in capsys.readouterr().err


def test_json_holds_the_text(capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "recipes", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "glmctl.Guide/1"
    assert record["text"] == (FOLDER / "en" / "recipes.md").read_text(encoding="utf-8")


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]):
    assert run(["guide", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [*record["guides"]] == list(GUIDE_NAMES)
