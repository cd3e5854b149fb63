import io
import json
from dataclasses import dataclass

import pytest
from rich.console import Console

from glmctl.cli import render


@dataclass(frozen=True)
class Speed:
    step_flops: float
    idle_share: float
    memory_bytes: int


@dataclass(frozen=True)
class Outcome:
    num_steps: int
    loss: float
    elapsed_seconds: float
    device: str
    remark: str | None
    speed: Speed | None


OUTCOME = Outcome(12_000, 2.41371, 3725.4, "[bold]cpu[/]", None, Speed(3.5e12, 0.125, 3 * 2**29))


@pytest.fixture(autouse=True)
def usual_voice(monkeypatch):
    monkeypatch.setattr(render, "voice", render.Voice())


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(render.time, "monotonic", lambda: now[0])
    return now


def test_a_result_is_shown_in_groups_with_units(capsys):
    render.show(OUTCOME, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "steps     12,000",
        "loss      2.4137",
        "elapsed  1:02:05",
        "device   [bold]cpu[/]",
        "",
        "speed",
        "  step    3.50 TFLOP",
        "  idle        12.5 %",
        "  memory    1.50 GiB",
    ]


def test_a_result_as_json_is_one_object_with_its_schema(capsys):
    render.show(OUTCOME, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert record["schema"] == "glmctl.Outcome/1"
    assert record["num_steps"] == 12000
    assert record["speed"]["idle_share"] == 0.125


def test_json_lines_keep_chinese_text_readable(capsys):
    render.emit("Line", {"text": "\u4e2d"})
    assert capsys.readouterr().out == '{"schema": "glmctl.Line/1", "text": "\u4e2d"}\n'


def test_a_json_line_is_one_line_for_every_reader(capsys):
    text = "a\x85b\u2028c\u2029d"
    render.emit("Line", {"text": text})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["text"] == text


@pytest.mark.parametrize("speak", [render.note, render.warn, render.complain])
def test_messages_go_to_stderr_without_markup_or_wrapping(speak, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    text = "[red]a long line[/] about :smile: " + "x" * 100
    speak(text)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(text + "\n")


def test_say_prints_the_line_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    render.say("[MASK] is [sMASK]   " + "y" * 50)
    assert capsys.readouterr().out == "[MASK] is [sMASK]   " + "y" * 50 + "\n"


def test_quiet_silences_notes_and_nothing_else(capsys):
    render.voice.is_quiet = True
    render.note("a")
    render.warn("b")
    render.complain("c")
    assert capsys.readouterr().err == "warning: b\nerror: c\n"


def test_a_table_sets_numbers_to_the_right_and_is_never_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    render.table(("name", "size"), [("[red]", "5"), ("a longer name", "1,000")])
    assert capsys.readouterr().out.splitlines() == [
        "name            size",
        "[red]              5",
        "a longer name  1,000",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (360_000, "100:00:00")]
)
def test_durations_are_hours_minutes_seconds(seconds, text):
    assert render.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12,000", True), ("0.57 GiB", True), ("1:02:05", True), ("87af03", False), ("8 x 8", False)],
)
def test_numbers_are_told_from_digests_and_words(text, expected):
    assert render.is_figure(text) is expected


def test_yes_no_and_lists_read_like_words():
    assert render.format_value(True) == "yes"
    assert render.format_value((1000, "a")) == "1,000, a"
    assert render.format_value({"a": 1}) == "a 1"
    assert render.format_value([]) == "none"


def test_a_pipe_gets_a_line_every_few_steps_and_the_last_one(capsys, clock):
    with render.step_line(log_every=10) as update:
        for step in range(989, 1_006):
            update(step, 1_005, 2.41371, 41_300.4)
            clock[0] += 2.0
    assert capsys.readouterr().err.splitlines() == [
        "step 990/1,005  loss 2.4137  41,300 tok/s  eta 0:00:30",
        "step 1,000/1,005  loss 2.4137  41,300 tok/s  eta 0:00:10",
        "step 1,005/1,005  loss 2.4137  41,300 tok/s  eta 0:00:00",
    ]


def test_the_first_step_has_no_end_in_sight(capsys, clock):
    with render.step_line(log_every=1) as update:
        update(1, 20, 9.0, 5.0)
    assert capsys.readouterr().err == "step 1/20  loss 9.0000  5 tok/s\n"


def test_quiet_silences_the_steps(capsys, clock):
    render.voice.is_quiet = True
    with render.step_line(log_every=1) as update:
        update(20, 20, 9.0, 5.0)
    assert capsys.readouterr().err == ""


def test_a_bar_without_a_terminal_is_one_line_at_the_end(capsys):
    with render.bar(None, "documents") as advance:
        advance(1_000)
        advance(234)
    assert capsys.readouterr().err == "documents: 1,234\n"


@pytest.fixture
def terminal(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=40, markup=False, highlight=False)
    monkeypatch.setattr(render, "err", console)
    return screen


def test_a_terminal_gets_one_line_that_is_redrawn_and_then_gone(terminal, clock):
    with render.step_line(log_every=10) as update:
        for step in (1, 2):
            update(step, 1_000, 2.0, 41_300.0)
            clock[0] += 1.0
    shown = terminal.getvalue()
    assert "step 1/1,000" in shown
    assert "step 2/1,000  loss 2.0000  41,300 tok/s\u2026" in shown  # cut to the width, not wrapped
    assert shown.endswith("\x1b[2K")


def test_steps_that_follow_fast_are_not_all_drawn(terminal, clock):
    with render.step_line(log_every=10) as update:
        for step in range(1, 50):
            update(step, 1_000, 2.0, 41_300.0)
    assert terminal.getvalue().count("step ") <= 2


def test_a_terminal_gets_a_bar_that_counts(terminal):
    with render.bar(3, "files [1]") as advance:
        advance(3)
    assert "files [1]" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
