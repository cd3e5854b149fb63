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
    assert "line 4: is not UTF-8: byte 0xff at byte 1" in complaints[2]
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
        (("--set", "decode.wide=2"), 2, "decode.wide: unknown key; known keys: num_beams"),
        (("--top-k", "4"), 2, "top_k: 4 narrows a draw, and temperature 0 draws nothing"),
        (("--choices", "a", "--temperature", "1"), 2, "each one whole; leave out --temperature"),
        (("--choices", "a,"), 2, "--choices: one of ['a', ''] is empty; write words"),
        (("--choices", "a", "--num-beams", "2"), 2, "scores each one whole; leave out --num-beams"),
        (("--choices", "a", "--stream"), 2, "scores each one whole; leave out --stream"),
        (("--stream", "--num-beams", "3"), 2, "as it is chosen; leave out --num-beams"),
        (("--stream", "--explain"), 2, "--stream: prints each token as it is chosen; leave out"),
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


def test_n_best_gives_so_many_lines_a_text_with_their_scores(bad_file: Path, tiny_model: Path):
    done = run_on_file(bad_file, "--model", tiny_model, "--num-beams", "3", "--n-best", "2")
    assert done.returncode == 1
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 2 * 6 + 1
    assert lines[2:10] == [""] * 8
    for first, second, start in ((0, 1, "The "), (10, 11, "closes ")):
        best, other = lines[first].split("\t"), lines[second].split("\t")
        assert float(best[0]) >= float(other[0])
        assert best[1].startswith(start)
        assert best[1] != other[1]


def test_the_ids_of_json_lines_are_kept(tiny_model: Path, tmp_path: Path):
    file = tmp_path / "lines.jsonl"
    file.write_text(
        '{"id": "a", "text": "The [MASK]"}\nThe [MASK]\n{"id": 3, "text": "no blank"}\n'
    )
    done = run_on_file(file, "--model", tiny_model, "--json")
    assert done.returncode == 1
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["id"], third["id"], "id" in second) == ("a", 3, False)
    assert first["text"] == second["text"]
    assert third["error"].startswith("holds no blank")
    plain = run_on_file(file, "--model", tiny_model).stdout.decode().splitlines()
    assert plain == [first["text"], second["text"], ""]


def test_streamed_tokens_appear_before_the_text_is_filled(tiny_model: Path):
    command = [Path(sys.executable).with_name("glmctl"), "infill", "--model", tiny_model]
    command += ["--stream", "--max-new-tokens", "30", "--set", "decode.min_new_tokens=30"]
    process = subprocess.Popen([*command, "The [MASK]\nend"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pieces = []
    while piece := os.read(process.stdout.fileno(), 1 << 16):
        pieces.append(piece)
    assert process.wait(timeout=60) == 0
    assert len(pieces) > 3
    whole = subprocess.run(
        [*(word for word in command if word != "--stream"), "The [MASK]\nend"],
        capture_output=True,
        check=True,
    )
    assert b"".join(pieces) == whole.stdout
    assert whole.stdout.endswith(b" end\n")


def test_a_stream_in_json_is_a_record_a_token_and_the_final_one(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    texts = ["The [MASK]", "no blank"]
    args = ["--stream", "--json", "--max-new-tokens", "3", "--model", str(tiny_model)]
    assert run(["infill", *texts, *args]) == 1
    *tokens, filled, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert {token["schema"] for token in tokens} == {"glmctl.InfillingToken/1"}
    assert filled["schema"] == bad["schema"] == "glmctl.Infilling/1"
    ids = filled["blanks"][0]["ids"]
    assert [token["token_id"] for token in tokens][: len(ids)] == ids
    assert "".join(token["text"] for token in tokens) == filled["text"]
    assert bad["error"].startswith("holds no blank")


def test_explain_shows_both_positions_and_the_probability_of_each_choice(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    args = [
        "infill",
        "cat [MASK]",
        "--explain",
        "--model",
        str(tiny_model),
        "--max-new-tokens",
        "2",
    ]
    assert run(args) == 0
    filled, _, part_a, _, name, headings, first, *_ = capsys.readouterr().out.split("\n")
    assert filled.startswith("cat ")
    assert re.fullmatch(r"Part A, \d tokens: \[CLS\] .* \[MASK\]#1 <\|endoftext\|>", part_a)
    assert name == "blank 1"
    assert headings.split() == ["reads", "place", "in", "span", "chooses", "probability"]
    assert re.match(r"<\|startofpiece\|> +\d +1  ", first)
    assert run([*args, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (tokens,) = record["explanation"]["blanks"]
    assert first.split()[-1] == f"{tokens[0]['probability']:.4f}"


def test_a_script_that_the_model_does_not_know_is_warned_of_once(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
):
    texts = ["The [MASK]", "\u043a\u043e\u0442 [MASK]", "\u043e\u043a\u043d\u043e [MASK]"]
    assert run(["infill", *texts, "--model", str(tiny_model), "--max-new-tokens", "1"]) == 0
    warning = "warning: line 2: 3 of 3 letters are Cyrillic and not in the model's vocabulary"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(warning)


def test_ten_thousand_ragged_lines_come_back_in_order(tiny_model: Path, tmp_path: Path):
    words = "the grey cat opens two eyes ".split()
    starts = [f"{i} {' '.join(words[: i * 7 % 6])}".strip() for i in range(10_000)]
    file = tmp_path / "lines.txt"
    file.write_text("".join(f"{start} [MASK] .\n" for start in starts))
    done = run_on_file(file, "--model", tiny_model, "--batch-size", "64")
    assert done.returncode == 0
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 10_001
    assert all(line.startswith(f"{start} ") for line, start in zip(lines, starts, strict=False))


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
