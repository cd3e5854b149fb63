"""Line charts as SVG that stretches with the page.

Heights are in pixels and widths in shares of the page, so that letters and lines keep their size
on a phone; labels of the vertical axis stand in the margin that the style sheet leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np

from glmctl.stages.report.read import FloatArray

HEIGHT, WIDE_HEIGHT = 180, 300
UNITS = 1000  # of a chart's width
BUCKETS = 400
"""A longer line is drawn by the least and the greatest value of each of as many parts."""
DOTTED_LENGTH = 60
"""A shorter line shows its points."""
MAX_TICKS = 6
NUM_COLOURS = 8


@dataclass(frozen=True)
class Line:
    """A line of a chart; the one that has a label stands in the legend with its last value."""

    x: FloatArray
    y: FloatArray
    colour: int
    label: str | None = None
    style: str = "bold"  # bold | light | dashed


@dataclass(frozen=True)
class Mark:
    """A vertical line."""

    x: float
    colour: int


@dataclass(frozen=True)
class Chart:
    """Lines over one horizontal axis."""

    title: str
    unit: str
    x_label: str
    write: Callable[[float], str]
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    is_logarithmic: bool = False
    has_zero: bool = False
    is_wide: bool = False

    @property
    def height(self) -> int:
        return WIDE_HEIGHT if self.is_wide else HEIGHT


@dataclass(frozen=True)
class Axis:
    """Where values lie between the two ends of an axis."""

    low: float
    high: float
    ticks: Sequence[float]
    is_logarithmic: bool = False

    def share(self, values: FloatArray | float) -> FloatArray:
        """0 at the low end, 1 at the high one."""
        ends = np.array([self.low, self.high])
        numbers = np.asarray(values, dtype=np.float64)
        if self.is_logarithmic:
            ends, numbers = np.log10(ends), np.log10(np.maximum(numbers, self.low / 10))
        return (numbers - ends[0]) / (ends[1] - ends[0])  # type: ignore[no-any-return]


def draw(chart: Chart) -> str:
    """The chart as an HTML figure with its heading and legend."""
    named = [line for line in chart.lines if line.label is not None]
    legend = "".join(
        f'<li class="c{line.colour % NUM_COLOURS}">'
        f"{escape(line.label or '') if len(named) > 1 else 'last'} "
        f"<b>{chart.write(line.y[-1])}</b></li>"
        for line in named
    )
    ends = [f"{line.label} {chart.write(line.y[0])} to {chart.write(line.y[-1])}" for line in named]
    words = escape(f"{chart.title}, {chart.unit} over {chart.x_label}: {'; '.join(ends)}")
    return (
        f'<figure class="{"wide" if chart.is_wide else "plain"}">'
        f"<figcaption><h3>{escape(chart.title)} <small>{escape(chart.unit)}</small></h3>"
        f"<ul>{legend}</ul></figcaption>"
        f'<svg class="chart" role="img" aria-label="{words}" height="{chart.height + 36}">'
        f"{''.join(plot(chart))}</svg></figure>\n"
    )


def plot(chart: Chart) -> Iterable[str]:
    """The parts of the SVG: grid, axis labels, lines, marks."""
    height = chart.height
    end = max(line.x[-1] for line in chart.lines)
    across = Axis(0, end, [tick for tick in linear_axis(0, end).ticks if tick <= end])
    up = vertical_axis(chart)
    for tick in up.ticks:
        y = f"{height * (1 - float(up.share(tick))):.1f}"
        yield f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/>'
        yield f'<text class="up" x="-6" y="{y}">{short(tick)}</text>'
    for tick in across.ticks:
        x = f"{100 * float(across.share(tick)):.2f}%"
        yield f'<line class="tick" x1="{x}" x2="{x}" y1="{height}" y2="{height + 4}"/>'
        yield f'<text class="across" x="{x}" y="{height + 17}">{short(tick)}</text>'
    yield f'<text class="name" x="100%" y="{height + 33}">{chart.x_label}</text>'
    yield (
        f'<svg class="lines" width="100%" height="{height}" viewBox="0 0 {UNITS} {height}" '
        f'preserveAspectRatio="none">'
    )
    for line in chart.lines:
        yield from draw_line(line, across, up, height)
    yield "</svg>"
    for mark in chart.marks:
        x = f"{100 * float(across.share(mark.x)):.2f}%"
        yield f'<line class="mark c{mark.colour % NUM_COLOURS}" x1="{x}" x2="{x}" y2="{height}"/>'


def draw_line(line: Line, across: Axis, up: Axis, height: int) -> Iterable[str]:
    """A polyline, with dots where the points are few."""
    x, y = thin_out(line.x, line.y)
    places = np.stack([UNITS * across.share(x), height * (1 - up.share(y))], 1)
    points = [f"{left:.1f},{top:.1f}" for left, top in places.clip(-9999, 9999).tolist()]
    colour = f"c{line.colour % NUM_COLOURS}"
    yield f'<polyline class="{line.style} {colour}" points="{" ".join(points)}"/>'
    if line.style == "bold" and len(points) <= DOTTED_LENGTH:
        yield f'<path class="dots {colour}" d="{"".join(f"M{point}h0" for point in points)}"/>'


def thin_out(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the least and the greatest value of each part of a long line, so that no peak goes."""
    if len(x) <= 2 * BUCKETS:
        return x, y
    edges = np.linspace(0, len(x), BUCKETS + 1).astype(int)
    kept = {0, len(x) - 1}
    for first, stop in pairwise(edges):
        kept |= {first + int(y[first:stop].argmin()), first + int(y[first:stop].argmax())}
    chosen = sorted(kept)
    return x[chosen], y[chosen]


def vertical_axis(chart: Chart) -> Axis:
    """Room for all bold lines, and for all but 1 in 100 values at each end of the light ones."""
    ends = [
        np.quantile(line.y, (0.01, 0.99)) if line.style == "light" else (line.y.min(), line.y.max())
        for line in chart.lines
    ]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    if chart.is_logarithmic and low > 0 and high > 10 * low:
        return logarithmic_axis(low, high)
    return linear_axis(min(low, 0.0) if chart.has_zero else low, high)


def linear_axis(low: float, high: float) -> Axis:
    """Round ticks, the outer ones at or beyond both ends."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** floor(log10(span / MAX_TICKS))
    step = next(size * n for n in (2, 5, 10, 20) if span / (size * n) <= MAX_TICKS - 1)
    first, last = floor(low / step + 1e-9), max(ceil(high / step - 1e-9), floor(low / step) + 1)
    ticks = [n * step for n in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)


def logarithmic_axis(low: float, high: float) -> Axis:
    """Ticks at 1, 2 and 5 of each power of ten; only the powers where those are too many."""
    for steps in ((1, 2, 5), (1,)):
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        values = [n * 10.0**power for power in powers for n in steps]
        first = max(v for v in values if v <= low * (1 + 1e-9))
        last = min(v for v in values if v >= high * (1 - 1e-9))
        ticks = [v for v in values if first <= v <= last]
        if len(ticks) <= 2 * MAX_TICKS:
            break
    return Axis(ticks[0], ticks[-1], ticks, is_logarithmic=True)


def short(value: float) -> str:
    """A number on an axis: 1500 as 1.5k, 0.0003 as 3e-4."""
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    if 0 < abs(value) < 1e-3:
        digits, _, power = f"{value:.3e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"
