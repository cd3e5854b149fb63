import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glmctl.cli.app import run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_text_of_the_command_line_is_filled(glmctl: Run, tiny_model: Path):
    done = glmctl("infill", "The cat [MASK] beside", "--model", tiny_model, "--max-new-tokens", "2")
    assert done.returncode == 0
    assert done.stdout.startswith("The cat ")
    assert done.stdout.count("\n") == 1
    assert "[MASK]" not in done.stdout
    assert done.stderr == ""


def test_json_gives_text_ids_log_prob_and_finish_of_each_blank(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    texts = ("opens at [MASK]", "closes at [MASK] or [MASK]")
    model = str(tiny_model)
    assert run(["infill", *texts, "--json", "--model", model, "--choices", "six, two"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["schema"] == "glmctl.Infilling/1"
    assert [first["line"], second["line"]] == [1, 2]
    assert len(second["blanks"]) == 2
    (blank,) = first["blanks"]
    assert blank["text"] in ("six", "two")
    assert first["text"] == f"opens at {blank['text']}"
    assert blank["finish"] == "choice"
    assert blank["log_prob"] < 0
    assert all(isinstance(token, int) for token in blank["ids"])


BAD_LINES = [
    "The [MASK]",
    "no blank here",
    "",
    "b\udcff [MASK]",
    "The cat sleeps beside the oven. " * 40_000 + "[MASK]",
    "closes [MASK]",
]


@pytest.fixture(scope="module")
def bad_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "lines.txt"
    path.write_bytes("\n".join(BAD_LINES).encode(errors="surrogateescape"))
    return path


def run_on_file(file: Path, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [Path(sys.executable).with_name("glmctl"), "infill", "--max-new-tokens", "2", *args]
    with file.open("rb") as lines:
        return subprocess.run(command, stdin=lines, capture_output=True, check=False)


def test_a_bad_line_keeps_its_place_and_spoils_no_other(bad_file: Path, tiny_model: Path):
    done = run_on_file(bad_file, "--model", tiny_model)
    assert done.returncode == 1
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 7
    assert lines[0].startswith("The ")
    assert lines[1:5] == ["", "", "", ""]
    assert lines[5].startswith("closes ")
    complaints = done.stderr.decode().splitlines()
    assert "line 2: holds no blank; write [MASK]" in complaints[0]
    assert "line 3: holds no blank" in complaints[1]
    assert "line 4: is not UTF-8 at byte 1" in complaints[2]
    assert re.search(r"line 5: is \d+,\d+ tokens long and the model has 64 pos", complaints[3])
    assert len(complaints) == 4


def test_a_bad_line_is_an_error_record_in_json(bad_file: Path, tiny_model: Path):
    done = run_on_file(bad_file, "--model", tiny_model, "--json")
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["line"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert ["error" in record for record in records] == [False, True, True, True, True, False]
    assert records[1]["error"].startswith("holds no blank; write [MASK]")
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--top-k", "4", "--set", "decode.beams=2"), 2, "decode.beams: unknown key; known keys:"),
        (("--top-k", "4"), 2, "top_k: 4 narrows a draw, and temperature 0 draws nothing"),
        (("--choices", "a", "--temperature", "1"), 2, "--choices: takes the best of them and"),
        (("--choices", "a,"), 2, "--choices: one of ['a', ''] is empty; write words"),
        (("--model", "nowhere"), 3, "nowhere: no such file or folder, and no built-in model"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_its_exit_code(
    args: tuple[str, ...],
    code: int,
    message: str,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
):
    model = () if "--model" in args else ("--model", str(tiny_model))
    assert run(["infill", "[MASK]", *model, *args]) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_the_seed_decides_what_is_drawn(tiny_model: Path, capsys: pytest.CaptureFixture[str]):
    lines = []
    for seed in ("1", "1", "2"):
        args = ["--model", str(tiny_model), "--temperature", "1", "--seed", seed]
        assert run(["infill", "The [MASK]", *args]) == 0
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1]
    assert lines[0] != lines[2]


def test_who_types_gets_each_line_answered(tiny_model: Path):
    controller, terminal = pty.openpty()
    command = [Path(sys.executable).with_name("glmctl"), "infill", "--model", tiny_model]
    process = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE)
    os.close(terminal)
    assert process.stdout is not None
    for word in ("cat", "oven"):
        os.write(controller, f"The {word} [MASK]\n".encode())
        assert process.stdout.readline().startswith(f"The {word} ".encode())
    os.write(controller, b"\x04")
    assert process.wait(timeout=60) == 0
    os.close(controller)


def test_head_ends_it_quietly(tiny_model: Path):
    glmctl = Path(sys.executable).with_name("glmctl")
    script = f"yes 'The [MASK]' | '{glmctl}' infill --model '{tiny_model}' | head -n 2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("The ") >= 2
    assert done.stderr == ""
