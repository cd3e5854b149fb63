"""The report: tables from run folders, and a page with their plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glmctl.stages.report.page import page
from glmctl.stages.report.read import read_runs
from glmctl.stages.report.summary import RunSummary, summarize


@dataclass(frozen=True)
class ReportResult:
    """What was found, and where the page is."""

    runs: tuple[RunSummary, ...]
    page: str


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
