"""The command `glmctl report`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from glmctl.cli import options, render

Runs = Annotated[list[Path], Argument(metavar="RUN...", help="Run folders, also of running runs.")]
Out = Annotated[Path, Option("--out", metavar="FILE", help="The page, one HTML file.")]


def report(runs: Runs, out: Out = Path("report.html"), as_json: options.Json = False) -> None:
    """Compare runs in a table, and write a page with the plots of each RUN."""
    from glmctl.stages.report.page import run

    result = run(runs, out)
    if as_json:
        render.emit("ReportResult", asdict(result))
        return
    rows = [row.cells() for row in result.runs]
    render.table([*rows[0]], [[*row.values()] for row in rows])
    render.note(f"wrote {result.page}")
