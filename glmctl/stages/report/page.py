"""The page of a report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from itertools import chain

from glmctl import __version__
from glmctl.stages.report.chart import Chart, Line, Mark, draw
from glmctl.stages.report.read import Column, Run
from glmctl.stages.report.summary import HEADINGS, RunSummary, cells, differences, facts

GREY = 7
GIB = 2**30
NATS = "nats per hidden token"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NOTE = (
    "Bold lines are means over 2 % of a run's steps, light ones single steps. A dotted "
    "line across a plot is a restart from a checkpoint. Tokens are source tokens, before "
    "corruption."
)


@dataclass(frozen=True)
class Measure:
    """A number of the records and how it is drawn."""

    title: str
    key: str
    unit: str = NATS
    write: Callable[[float], str] = "{:.4f}".format
    scale: float = 1.0
    over: str | None = None  # another number, by which it is divided
    baseline: str | None = None  # another number, dashed beside it
    is_noisy: bool = True
    is_logarithmic: bool = False
    has_zero: bool = False

    def column(self, run: Run) -> Column | None:
        """The number as it is drawn; None when the records have none."""
        column = run.columns.get(self.key)
        if column is None:
            return None
        values = column.values * self.scale
        if self.over is not None:
            values = values / run.columns[self.over].at(column.steps)
        return Column(column.steps, values)

    def lines(self, run: Run, colour: int, label: str, *, with_steps: bool) -> Iterator[Line]:
        """Each step if wanted, the baseline, and the means."""
        column = self.column(run)
        if column is None:
            return
        if with_steps and self.is_noisy:
            yield Line(column.steps, column.values, colour, style="light")
        if self.baseline in run.columns:
            baseline = run.columns[self.baseline]
            yield Line(baseline.steps, baseline.values * self.scale, colour, style="dashed")
        bold = column.smooth() if self.is_noisy else column.values
        yield Line(column.steps, bold, colour, label)


def probe(name: str, suffix: str, *, is_share: bool) -> Measure:
    if not is_share:
        return Measure(name, f"probe_nll{suffix}", "nats", is_noisy=False)
    keys = (f"probe_exact_match_share{suffix}", f"probe_baseline_share{suffix}")
    unit = "%; dashed: the most frequent token"
    return Measure(
        name, keys[0], unit, PERCENT, 100, baseline=keys[1], is_noisy=False, has_zero=True
    )


PERCENT = "{:.1f} %".format
SPAN_LENGTHS = {
    "1": "1 token",
    "2-3": "2 to 3",
    "4-7": "4 to 7",
    "8-15": "8 to 15",
    "16-": "16 and more",
}
LOSS = Measure("Loss", "loss")
BY_OBJECTIVE = [Measure(n, f"loss_{n}") for n in ("token", "sentence", "document", "mlm")]
BY_LENGTH = [
    Measure(words, f"loss_by_span_length/{length}") for length, words in SPAN_LENGTHS.items()
]
LANGUAGES = (("all", ""), ("English", "_en"), ("Chinese", "_zh"))
FILLED = [probe(name, suffix, is_share=True) for name, suffix in LANGUAGES]
BLANKS = [probe(name, suffix, is_share=False) for name, suffix in LANGUAGES]
OPTIMIZATION = (
    Measure("Learning rate", "lr", "", "{:.2e}".format, is_noisy=False),
    Measure("Gradient norm", "grad_norm", "L2, before clipping", is_logarithmic=True),
)
SPEED = tuple(
    replace(measure, has_zero=True)
    for measure in (
        Measure("Speed", "tokens_per_second", "tokens per second", "{:,.0f}".format),
        Measure("MFU", "mfu", "% of the peak", PERCENT, 100),
        Measure("Waiting for data", "data_seconds", "% of the step", PERCENT, 100, over="seconds"),
        Measure("Memory", "memory_bytes", "GiB, peak", "{:.2f}".format, 1 / GIB, is_noisy=False),
    )
)


def page(runs: Sequence[Run], rows: Sequence[RunSummary]) -> str:
    """The whole file."""
    title = escape(", ".join(run.name for run in runs))
    style = files("glmctl").joinpath("assets/report.css").read_text(encoding="utf-8")
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        section("Result", summary_table(rows), ""),
        *(section(name, "".join(map(draw, charts)), "charts") for name, charts in plots(runs)),
        section("What ran", facts_table(runs), ""),
        section("Where the recipes differ", differences_table(runs), "") if len(runs) > 1 else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n<main>\n"
        f"<h1>{title}</h1>\n<p>{NOTE}</p>\n{''.join(parts)}"
        f"<footer>glmctl {__version__}, {written}</footer>\n</main>\n</html>\n"
    )


def plots(runs: Sequence[Run]) -> Iterator[tuple[str, list[Chart]]]:
    """The charts under their headings; what no run has is left out."""
    loss = [replace(chart, is_wide=True) for chart in overlaid([LOSS], runs)]
    if len(runs) > 1:
        loss += [over_tokens(chart, runs) for chart in loss]
    objectives = [m for m in BY_OBJECTIVE if any(m.key in run.columns for run in runs)]
    sections = {
        "Loss": loss,
        "Loss by kind of blank": [
            *(compared("By objective", objectives, runs) if len(objectives) > 1 else ()),
            *compared("By length of the blank", BY_LENGTH, runs),
        ],
        "Held text": [
            *compared("Blanks filled exactly", FILLED, runs),
            *compared("NLL per blank", BLANKS, runs),
        ],
        "Optimization": overlaid(OPTIMIZATION, runs),
        "Machine": overlaid(SPEED, runs),
    }
    yield from ((name, charts) for name, charts in sections.items() if charts)


def compared(title: str, measures: Sequence[Measure], runs: Sequence[Run]) -> list[Chart]:
    """Of one run all measures in a chart; of several a chart each, with a line a run."""
    if len(runs) > 1:
        return overlaid([replace(m, title=f"{title}: {m.title}") for m in measures], runs)
    lines = [m.lines(runs[0], n, m.title, with_steps=False) for n, m in enumerate(measures)]
    return chart_of(replace(measures[0], title=title), lines, runs)


def overlaid(measures: Sequence[Measure], runs: Sequence[Run]) -> list[Chart]:
    """A chart a measure, with a line a run."""
    charts = []
    for measure in measures:
        lines = [measure.lines(r, n, r.name, with_steps=True) for n, r in enumerate(runs)]
        charts += chart_of(measure, lines, runs)
    return charts


def chart_of(measure: Measure, lines: Iterable[Iterable[Line]], runs: Sequence[Run]) -> list[Chart]:
    """The chart of all these lines, the bold ones over the others; none when there is none."""
    drawn = sorted(chain.from_iterable(lines), key=lambda line: line.style == "bold")
    if not drawn:
        return []
    marks = [
        Mark(step, number if len(runs) > 1 else GREY)
        for number, run in enumerate(runs)
        for step in run.restarts
    ]
    return [
        Chart(
            measure.title,
            measure.unit,
            "steps",
            measure.write,
            drawn,
            marks,
            is_logarithmic=measure.is_logarithmic,
            has_zero=measure.has_zero,
        )
    ]


def over_tokens(chart: Chart, runs: Sequence[Run]) -> Chart:
    """The same lines, with a line a run, over what the runs have read."""
    lines = [replace(line, x=runs[line.colour].tokens_at(line.x)) for line in chart.lines]
    return replace(chart, title="Loss by tokens", x_label="tokens", lines=lines, marks=())


def section(title: str, content: str, kind: str) -> str:
    return f'<section class="{kind}"><h2>{escape(title)}</h2>\n{content}</section>\n'


def summary_table(rows: Sequence[RunSummary]) -> str:
    """The table that the terminal shows."""
    return html_table(HEADINGS, [cells(row) for row in rows], "figures")


def facts_table(runs: Sequence[Run]) -> str:
    """What the recipes and manifests say, a column a run."""
    columns = [facts(run) for run in runs]
    rows = [(heading, *(column[heading] for column in columns)) for heading in columns[0]]
    return html_table(("", *(run.name for run in runs)), rows, "facts")


def differences_table(runs: Sequence[Run]) -> str:
    """What only some of the recipes say."""
    return html_table(("key", *(run.name for run in runs)), differences(runs), "facts")


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str) -> str:
    """A table that scrolls by itself where it is wider than the screen."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table class="{kind}"><tr>{top}</tr>\n{lines}</table></div>\n'
