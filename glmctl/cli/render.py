"""The only place that prints: results on stdout, everything else on stderr.

Text of the user never passes through markup, and lines are left to the terminal to wrap.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GIB = 2**30
REFRESH_SECONDS = 0.1
# JSON allows them in a string, and many readers of lines take them for the end of one.
LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
FIGURE = re.compile(r"\d[\d,.:]*( \S+)?")


@dataclass
class Voice:
    """How much is said on stderr; --quiet and -v set it for the command that runs."""

    is_quiet: bool = False
    is_verbose: bool = False


voice = Voice()
out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
err = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, stderr=True)


def show(result: Any, *, as_json: bool) -> None:
    """Print a stage's result, a dataclass: lines for a reader, one JSON object for a program."""
    if as_json:
        emit(type(result).__name__, asdict(result))
        return
    groups = {name: value for name, value in vars(result).items() if is_dataclass(value)}
    plain = {name: value for name, value in vars(result).items() if name not in groups}
    for line in value_lines(plain):
        out.print(line)
    for number, (name, group) in enumerate(groups.items()):
        if plain or number:
            out.print()
        out.print(Text(name.replace("_", " "), style="bold"))
        for line in value_lines(vars(group), indent="  "):
            out.print(line)


def emit(schema: str, record: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    values = {"schema": f"glmctl.{schema}/1", **record}
    print(json.dumps(values, default=str, ensure_ascii=False).translate(LINE_ENDS))


def say(text: str, *, end: str = "\n") -> None:
    """Print one line of a result as it is, or a part of a line."""
    print(text, end=end)


def markdown(text: str) -> None:
    """Print a guide: laid out on a terminal, as it is written in a pipe."""
    if not out.is_terminal:
        print(text, end="")
        return
    from rich.markdown import Markdown

    out.print(Markdown(text), soft_wrap=False)


def note(text: str) -> None:
    """Tell the reader what goes on; silent under --quiet."""
    if not voice.is_quiet:
        err.print(Text(text))


def warn(text: str) -> None:
    """Tell the reader what may surprise; not silenced."""
    err.print(Text.assemble(("warning: ", "bold yellow"), text))


def complain(text: str) -> None:
    """Report what is wrong, with the input or with one record of a stream."""
    err.print(Text.assemble(("error: ", "bold red"), text))


def trace(text: str) -> None:
    """Show a traceback."""
    err.print(Text(text.rstrip()))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings; columns of numbers are set to the right, and nothing is cut."""
    lines = [[*columns], *([*row] for row in rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    is_number = [all(map(is_figure, filter(None, c[1:]))) for c in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = ""
        for cell, width, to_the_right in zip(line, widths, is_number, strict=True):
            room = " " * (width - cell_len(cell))
            text += room + cell + "  " if to_the_right else cell + room + "  "
        out.print(Text(text.rstrip(), style="bold" if number == 0 else ""))


def value_lines(values: Mapping[str, Any], indent: str = "") -> Iterator[Text]:
    """One line a value, the values under each other; what is None is left out."""
    lines = [label_and_value(name, value) for name, value in values.items() if value is not None]
    width = max((len(label) for label, _ in lines), default=0)
    digits = max((len(value) for _, value in lines if is_figure(value)), default=0)
    for label, value in lines:
        aligned = value.rjust(digits) if is_figure(value) else value
        yield Text.assemble(indent, (f"{label:<{width}}", "dim"), "  ", aligned)


def is_figure(text: str) -> bool:
    """Whether a value is a number with its unit, to be set to the right; a digest is not."""
    return FIGURE.fullmatch(text) is not None


def label_and_value(name: str, value: Any) -> tuple[str, str]:
    """The words for a field; the end of its name says the unit."""
    unit = next((unit for unit in UNITS if name.endswith(unit)), None)
    words = name.removeprefix("num_").removesuffix(unit or "").replace("_", " ")
    return words, UNITS[unit](value) if unit else format_value(value)


def format_value(value: Any) -> str:
    """A value as a person writes it: thousands separators, yes and no, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items()) or "none"
    return str(value)


def format_duration(seconds: float) -> str:
    """A duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:,}:{minutes % 60:02}:{rest:02}"


def format_flops(count: float) -> str:
    """Floating-point operations with the unit that keeps the figure short."""
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:,.0f} FLOP"


UNITS: Mapping[str, Callable[[float], str]] = {
    "_bytes": lambda value: f"{value / GIB:,.2f} GiB",
    "_seconds": format_duration,
    "_hours": lambda value: f"{value:,.1f} h",
    "_share": lambda value: f"{100 * value:.1f} %",
    "_flops": format_flops,
}


@contextmanager
def step_line(log_every: int) -> Iterator[Callable[[int, int, float, float], None]]:
    """Progress of a training run: one live line on a terminal, else a line every few steps.

    Gives a function of the steps done, the steps of the run, the mean loss per target token of
    this step, and the source tokens per second of all replicas together.
    """
    from rich.live import Live

    first: tuple[int, float] | None = None  # the first step, and when it was done
    drawn_at = 0.0

    def update(step: int, num_steps: int, loss: float, tokens_per_second: float) -> None:
        nonlocal first, drawn_at
        now = time.monotonic()
        line = f"step {step:,}/{num_steps:,}  loss {loss:.4f}  {tokens_per_second:,.0f} tok/s"
        if first is None:  # the rate of steps is not known yet
            first = step, now
        else:
            seconds = (now - first[1]) / (step - first[0])
            line += f"  eta {format_duration(seconds * (num_steps - step))}"
        if live is None:
            if step == num_steps or step % log_every == 0:
                note(line)
        elif now - drawn_at >= REFRESH_SECONDS:
            drawn_at = now
            live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    screen = Live(console=err, auto_refresh=False, transient=True)
    with nullcontext() if voice.is_quiet or not err.is_terminal else screen as live:
        yield update


@contextmanager
def bar(total: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """Show how far a count of `label` has come, and the time left; gives what adds to it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    label_column = TextColumn("{task.description}", markup=False)
    columns = (label_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_hidden = voice.is_quiet or not err.is_terminal
    # Without a thread of its own, so that shards can be written by forks.
    with Progress(*columns, console=err, disable=is_hidden, auto_refresh=False) as progress:
        task = progress.add_task(label, total=total)
        yield lambda number: progress.update(task, advance=number, refresh=True)
    if is_hidden:
        note(f"{label}: {progress.tasks[0].completed:,}")


def flush() -> None:
    """Send what is buffered, so that a closed pipe shows here and not at the exit."""
    sys.stdout.flush()
    sys.stderr.flush()
