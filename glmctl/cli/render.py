"""The only place that prints: results on stdout, everything else on stderr.

Text of the user never passes through markup, and lines are left to the terminal to wrap.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.live import Live

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
    """Print a stage's result: groups of lines for a reader, one JSON object for a program.

    Args:
        result: a dataclass; fields that are dataclasses become groups of their own.
        as_json: print one object, with the name of the class in ``schema``.
    """
    if as_json:
        emit(type(result).__name__, asdict(result))
        return
    for line in result_lines(result):
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
    is_number = [all(map(is_figure, cells[1:])) for cells in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        padded = [
            " " * (width - cell_len(cell)) + cell
            if to_the_right
            else cell + " " * (width - cell_len(cell))
            for cell, width, to_the_right in zip(line, widths, is_number, strict=True)
        ]
        out.print(Text("  ".join(padded).rstrip(), style="bold" if number == 0 else ""))


def result_lines(result: Any) -> Iterator[Text]:
    """The lines of a result: its plain values first, then each group under its heading."""
    groups = {field.name: getattr(result, field.name) for field in fields(result)}
    plain = {name: value for name, value in groups.items() if not is_dataclass(value)}
    has_lines = any(value is not None for value in plain.values())
    yield from value_lines(plain)
    for name, value in groups.items():
        if is_dataclass(value):
            if has_lines:
                yield Text("")
            has_lines = True
            yield Text(name.replace("_", " "), style="bold")
            values = {field.name: getattr(value, field.name) for field in fields(value)}
            yield from value_lines(values, indent="  ")


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
    for unit, write in UNITS.items():
        if name.endswith(unit) and isinstance(value, int | float):
            return name.removesuffix(unit).removeprefix("num_").replace("_", " "), write(value)
    return name.removeprefix("num_").replace("_", " "), format_value(value)


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


class StepLine:
    """Progress of a training run: one live line on a terminal, else a line every few steps."""

    def __init__(self, *, log_every: int) -> None:
        self.log_every = log_every
        self.first_step: int | None = None
        self.started_at = 0.0
        self.drawn_at = 0.0
        self.live: Live | None = None

    def __enter__(self) -> Self:
        if err.is_terminal and not voice.is_quiet:
            from rich.live import Live

            self.live = Live(console=err, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, step: int, num_steps: int, loss: float, tokens_per_second: float) -> None:
        """Say that a step is done.

        Args:
            step: number of steps done, from 1.
            num_steps: of the run.
            loss: mean per target token of this step.
            tokens_per_second: source tokens, all replicas together.
        """
        now = time.monotonic()
        if self.first_step is None:
            self.first_step, self.started_at = step, now
        is_last = step == num_steps
        line = self.describe(step, num_steps, loss, tokens_per_second, now)
        if self.live is not None:
            if is_last or now - self.drawn_at >= REFRESH_SECONDS:
                self.drawn_at = now
                self.live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif is_last or step % self.log_every == 0:
            note(line)

    def describe(
        self, step: int, num_steps: int, loss: float, tokens_per_second: float, now: float
    ) -> str:
        """The line for one step."""
        assert self.first_step is not None
        line = f"step {step:,}/{num_steps:,}  loss {loss:.4f}  {tokens_per_second:,.0f} tok/s"
        if step == self.first_step:  # the rate of steps is not known yet
            return line
        seconds = (now - self.started_at) / (step - self.first_step)
        return f"{line}  eta {format_duration(seconds * (num_steps - step))}"


@contextmanager
def bar(total: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """Show how far a count has come; gives the function that adds to it.

    Args:
        total: the count at the end, None when it is not known.
        label: what is counted.
    """
    if voice.is_quiet or not err.is_terminal:
        counted = [0]

        def count(number: int) -> None:
            counted[0] += number

        yield count
        note(f"{label}: {counted[0]:,}")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=False) as progress:
        task = progress.add_task(label, total=total)
        yield lambda number: progress.advance(task, number)


def flush() -> None:
    """Send what is buffered, so that a closed pipe shows here and not at the exit."""
    sys.stdout.flush()
    sys.stderr.flush()
