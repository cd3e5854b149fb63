"""The report: a row for each run, and a page with their plots that needs nothing else.

Plots are SVG that stretches with the page: heights are in pixels and widths in shares of the page,
so that letters and lines keep their size on a phone.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from itertools import chain
from math import ceil, floor, log10
from pathlib import Path

import numpy as np

from glmctl import __version__
from glmctl.recipe.keys import flatten, settings_of
from glmctl.stages.report.read import Column, Run, RunSummary, read_runs, rows_of, summarize

HEIGHT, WIDTH = 200, 1000  # of a plot in its own units; the page stretches the width
BUCKETS = 400
"""A longer line is drawn by the least and the greatest value of each of as many parts."""
DOTTED_LENGTH = 60
"""A shorter line shows its points."""
MAX_TICKS = 6
NUM_COLOURS = 8
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NOTE = (
    "Bold lines are means over 2 % of a run's steps, light ones single steps. A dotted "
    "line across a plot is a restart from a checkpoint. Tokens are source tokens, before "
    "corruption."
)


@dataclass(frozen=True)
class ReportResult:
    """What was found, and where the page is."""

    runs: tuple[RunSummary, ...]
    page: str


@dataclass(frozen=True)
class Plot:
    """Numbers of the records that share a plot."""

    title: str
    keys: Mapping[str, str]
    """What each line is called, and the key of its number in the records."""
    unit: str
    write: Callable[[float], str] = "{:.4f}".format
    scale: float = 1.0
    is_noisy: bool = True
    from_zero: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a plot; the one that has a label stands in the legend with its last value."""

    column: Column
    colour: int
    label: str | None = None
    style: str = "bold"  # bold | light | dashed


NATS, PERCENT = "nats per hidden token", "{:.1f} %".format
OBJECTIVES = ("token", "sentence", "document", "mlm")
SPANS = {"1": "1 token", "2-3": "2 to 3", "4-7": "4 to 7", "8-15": "8 to 15", "16-": "16 and more"}
LANGUAGES = {"all": "", "English": "_en", "Chinese": "_zh"}
FILLED = "probe_exact_match_share"
SECTIONS = {
    "Loss": (
        Plot("Loss", {"loss": "loss"}, NATS),
        Plot("By objective", {name: f"loss_{name}" for name in OBJECTIVES}, NATS),
        Plot(
            "By length of the blank",
            {words: f"loss_by_span_length/{length}" for length, words in SPANS.items()},
            NATS,
        ),
    ),
    "Held text": (
        Plot(
            "Blanks filled exactly",
            {name: FILLED + suffix for name, suffix in LANGUAGES.items()},
            "%; dashed: the most frequent token",
            PERCENT,
            100,
            is_noisy=False,
            from_zero=True,
        ),
        Plot(
            "NLL per blank",
            {name: f"probe_nll{suffix}" for name, suffix in LANGUAGES.items()},
            "nats",
            is_noisy=False,
        ),
    ),
    "Optimization": (
        Plot("Learning rate", {"rate": "lr"}, "", "{:.2e}".format, is_noisy=False),
        Plot("Gradient norm", {"norm": "grad_norm"}, "L2, before clipping"),
    ),
    "Machine": tuple(
        replace(plot, from_zero=True)
        for plot in (
            Plot("Speed", {"speed": "tokens_per_second"}, "tokens per second", "{:,.0f}".format),
            Plot("MFU", {"mfu": "mfu"}, "% of the peak", PERCENT, 100),
            Plot("Waiting for data", {"wait": "data_share"}, "% of the step", PERCENT, 100),
            Plot("Memory", {"memory": "memory_bytes"}, "GiB, peak", "{:.2f}".format, 2**-30),
        )
    ),
}


def run(paths: Sequence[Path], out: Path) -> ReportResult:
    """Read run folders, which may belong to runs that go on, and write the page.

    Args:
        paths: run folders, in the order of the rows and the colours.
        out: the HTML file; one that is there is replaced.

    Raises:
        InputError: a folder is no run, or has no step yet.
    """
    runs = read_runs(paths)
    rows = tuple(map(summarize, runs))
    out.write_text(page(runs, rows), encoding="utf-8")
    return ReportResult(rows, str(out))


def page(runs: Sequence[Run], rows: Sequence[RunSummary]) -> str:
    """The whole file."""
    title = escape(", ".join(run.name for run in runs))
    style = files("glmctl").joinpath("assets/report.css").read_text(encoding="utf-8")
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    headings, *cells = rows_of(rows)
    parts = [section("Result", table(headings, cells))]
    for row in rows:
        if row.tuned is not None and (said := row.tuned["confusion"]):
            lines = [[gold, *map(str, of_gold.values())] for gold, of_gold in said.items()]
            names = ["right label", *(f"said {label}" for label in said)]
            parts.append(section(f"{row.name}: answers", table(names, lines)))
    for name, plots in {"Held-out rows": held_out(runs), **SECTIONS}.items():
        figures = "".join(chain.from_iterable(draw(plot, runs) for plot in plots))
        if figures:
            parts.append(section(name, f'<div class="plots">{figures}</div>'))
    heading = "What ran" if len(runs) == 1 else "Where the runs differ"
    parts.append(section(heading, table(["key", *(run.name for run in runs)], settings(runs))))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n<main>\n"
        f"<h1>{title}</h1>\n<p>{NOTE}</p>\n{''.join(parts)}"
        f"<footer>glmctl {__version__}, {written}</footer>\n</main>\n</html>\n"
    )


def held_out(runs: Sequence[Run]) -> tuple[Plot, ...]:
    """Scores and loss of fine-tunings on held-out rows."""
    keys = dict.fromkeys(key for run in runs for key in run.columns if key.startswith("dev_"))
    scores = {key.removeprefix("dev_"): key for key in keys if key != "dev_loss"}
    return (
        Plot("Score", scores, "%", "{:.2f}".format, is_noisy=False),
        Plot("Loss of held-out rows", {"loss": "dev_loss"}, "nats", is_noisy=False),
    )


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is wider than the screen."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>\n{lines}</table></div>\n'


def settings(runs: Sequence[Run]) -> list[list[str]]:
    """Keys of recipe and manifest with their values: all of one run, of several what differs."""
    columns = [flatten(settings_of(run.recipe)) | flatten(run.manifest) for run in runs]
    keys = dict.fromkeys(chain.from_iterable(columns))
    rows = [
        [key, *(json.dumps(column.get(key)) for column in columns)]
        for key in keys
        if not key.startswith("finished")  # stands in another table
    ]
    return [row for row in rows if len(runs) == 1 or len({*row[1:]}) > 1]


def draw(plot: Plot, runs: Sequence[Run]) -> Iterator[str]:
    """A figure for all numbers of one run; of several runs a figure a number, with a line a run."""
    found = {name: key for name, key in plot.keys.items() if any(key in r.columns for r in runs)}
    if not found or (len(plot.keys) > 1 == len(found) and "all" not in found):
        return  # a single part shows what the whole does
    if len(runs) == 1 or len(plot.keys) == 1:
        yield figure(plot, runs)
        return
    for name, key in found.items():
        yield figure(replace(plot, title=f"{plot.title}: {name}", keys={name: key}), runs)


def figure(plot: Plot, runs: Sequence[Run]) -> str:
    """A plot with its heading and legend."""
    lines = sorted(lines_of(plot, runs), key=lambda line: line.style == "bold")
    is_alone = len(runs) == len(plot.keys) == 1
    legend = "".join(
        f'<li class="c{line.colour}">{"last" if is_alone else escape(line.label)} '
        f"<b>{plot.write(line.column.values[-1])}</b></li>"
        for line in lines
        if line.label is not None
    )
    marks = [(step, n) for n, run in enumerate(runs) for step in run.manifest.get("restarts", ())]
    return (
        f"<figure><figcaption><h3>{escape(plot.title)} <small>{plot.unit}</small></h3>"
        f"<ul>{legend}</ul></figcaption>"
        f'<svg class="plot" role="img" aria-label="{escape(plot.title)}" height="{HEIGHT + 36}">'
        f"{''.join(svg(lines, marks, from_zero=plot.from_zero))}</svg></figure>\n"
    )


def lines_of(plot: Plot, runs: Sequence[Run]) -> Iterator[Line]:
    """Each step where there is one number, its baseline, and the means."""
    series = [(name, key, run) for name, key in plot.keys.items() for run in runs]
    for number, (name, key, run) in enumerate(series):
        if key not in run.columns:
            continue
        colour, column = number % NUM_COLOURS, scaled(run.columns[key], plot.scale)
        if plot.is_noisy and len(plot.keys) == 1:
            yield Line(column, colour, style="light")
        if key.startswith(FILLED):
            baseline = run.columns[key.replace(FILLED, "probe_baseline_share")]
            yield Line(scaled(baseline, plot.scale), colour, style="dashed")
        bold = column.smooth() if plot.is_noisy else column
        yield Line(bold, colour, run.name if len(runs) > 1 else name)


def scaled(column: Column, scale: float) -> Column:
    return Column(column.steps, column.values * scale)


def svg(
    lines: Sequence[Line], marks: Sequence[tuple[float, int]], *, from_zero: bool = False
) -> Iterator[str]:
    """The grid with its numbers, the lines, and a mark across at some steps."""
    end = max(line.column.steps[-1] for line in lines)
    # Single steps may lie outside, and are cut off there.
    values = np.concatenate([line.column.values for line in lines if line.style != "light"])
    up = ticks(min(values.min(), 0.0) if from_zero else values.min(), values.max())
    for tick in up:
        y = f"{HEIGHT * (up[-1] - tick) / (up[-1] - up[0]):.1f}"
        yield f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/>'
        yield f'<text class="up" x="-6" y="{y}">{short(tick)}</text>'
    for tick in ticks(0, end):
        if tick <= end:
            x = f"{100 * tick / end:.2f}%"
            yield f'<text class="across" x="{x}" y="{HEIGHT + 17}">{short(tick)}</text>'
    yield f'<text class="name" x="100%" y="{HEIGHT + 33}">steps</text>'
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" height="{HEIGHT}"'
    yield f'<svg class="lines" {size} preserveAspectRatio="none">'
    for line in lines:
        column = thin_out(line.column)
        left = WIDTH * column.steps / end
        top = (HEIGHT * (up[-1] - column.values) / (up[-1] - up[0])).clip(-9999, 9999)
        points = [f"{across:.1f},{down:.1f}" for across, down in zip(left, top, strict=True)]
        yield f'<polyline class="{line.style} c{line.colour}" points="{" ".join(points)}"/>'
        if line.style == "bold" and len(points) <= DOTTED_LENGTH:
            dots = "".join(f"M{point}h0" for point in points)
            yield f'<path class="dots c{line.colour}" d="{dots}"/>'
    yield "</svg>"
    for step, number in marks:
        x = f"{100 * step / end:.2f}%"
        yield f'<line class="mark c{number % NUM_COLOURS}" x1="{x}" x2="{x}" y2="{HEIGHT}"/>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, the outer ones at or beyond both ends."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** floor(log10(span / MAX_TICKS))
    step = next(size * n for n in (2, 5, 10, 20) if span / (size * n) <= MAX_TICKS - 1)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """A number on an axis: 1500 as 1.5k."""
    for letter, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def thin_out(column: Column) -> Column:
    """Keep the least and the greatest value of each part of a long line, so that no peak goes."""
    x, y = column.steps, column.values
    if len(y) <= 2 * BUCKETS:
        return column
    kept = {0, len(y) - 1}
    for part in np.array_split(np.arange(len(y)), BUCKETS):
        kept |= {part[y[part].argmin()], part[y[part].argmax()]}
    chosen = sorted(kept)
    return Column(x[chosen], y[chosen])
