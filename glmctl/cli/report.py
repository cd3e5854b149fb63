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
    from glmctl.stages.report import stage
    from glmctl.stages.report.summary import HEADINGS, cells

    result = stage.run(runs, out)
    if as_json:
        render.emit("ReportResult", asdict(result))
    else:
        render.table(HEADINGS, [cells(row) for row in result.runs])
        render.note(f"wrote {result.page}")
