"""Run folders as columns of numbers, and the row of each in the table."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmctl.core.train.metrics import MetricsLog, numbers_of
from glmctl.errors import InputError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import Recipe

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One number of the records, at the steps that have it."""

    steps: FloatArray
    values: FloatArray

    def smooth(self) -> Column:
        """Means over each value and its neighbours, 1 % of all values on either side."""
        reach = len(self.values) // 100
        sums = np.concatenate([[0.0], self.values.cumsum()])
        place = np.arange(len(self.values))
        first, stop = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(place))
        return Column(self.steps, (sums[stop] - sums[first]) / (stop - first))


@dataclass(frozen=True)
class Run:
    """What a run folder says."""

    name: str
    recipe: Recipe
    manifest: dict[str, Any]
    columns: dict[str, Column]


@dataclass(frozen=True)
class RunSummary:
    """One row of the table."""

    name: str
    steps: int
    planned_steps: int | None  # None where tokens or epochs end the run
    num_tokens: int  # source tokens read
    loss: float  # of the last step
    smoothed_loss: float  # mean over the last 1 % of the steps
    probe_exact_match_share: float | None
    probe_baseline_share: float | None
    tokens_per_second: float  # over all steps
    elapsed_seconds: float  # in steps, without starts, probes and saves
    tuned: Mapping[str, Any] | None
    """What a finished fine-tuning has come to, as `glmctl finetune` gives it."""

    def cells(self) -> dict[str, str]:
        """The row as it is read, by heading; - for what the run does not have."""
        minutes, seconds = divmod(round(self.elapsed_seconds), 60)
        of_all = f"/{self.planned_steps:,}" if self.planned_steps else ""
        return {
            "run": self.name,
            "steps": f"{self.steps:,}{of_all}",
            "tokens": f"{self.num_tokens:,}",
            "loss": f"{self.loss:.4f}",
            "smoothed": f"{self.smoothed_loss:.4f}",
            **cells_of_tuned(self.tuned),
            "blanks filled": percent(self.probe_exact_match_share),
            "most frequent token": percent(self.probe_baseline_share),
            "tokens/s": f"{self.tokens_per_second:,.0f}",
            "elapsed": f"{minutes // 60:,}:{minutes % 60:02}:{seconds:02}",
        }


def cells_of_tuned(tuned: Mapping[str, Any] | None) -> dict[str, str]:
    """Score, published scores of the same metric, and what was forgotten."""
    if tuned is None:
        return dict.fromkeys(("score", "95 % interval", "published", "forgetting"), "-")
    metric, (low, high) = tuned["metric"], tuned["interval"]
    numbers = [
        f"{it['published']:g} ({it['model'] or 'paper'}, {it['certainty']})"
        for it in tuned.get("published", ())
        if it["metric"] == f"{tuned['task']}/{metric}"
    ]
    return {
        "score": f"{metric} {tuned['score']:.2f}",
        "95 % interval": f"{low:.2f} to {high:.2f}",
        "published": ", ".join(numbers) or "-",
        "forgetting": f"{100 * tuned['forgetting']:+.1f} %",
    }


def rows_of(runs: Sequence[RunSummary]) -> list[list[str]]:
    """The table with its headings, without the columns that no run has anything in."""
    cells = [row.cells() for row in runs]
    used = [key for key in cells[0] if any(row[key] != "-" for row in cells)]
    return [used, *([row[key] for key in used] for row in cells)]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def summarize(run: Run) -> RunSummary:
    loss = run.columns["loss"]
    num_tokens = int(run.columns["num_tokens"].values.sum())
    seconds = float(run.columns["seconds"].values.sum())
    probes = {
        key: float(run.columns[key].values[-1]) if key in run.columns else None
        for key in ("probe_exact_match_share", "probe_baseline_share")
    }
    return RunSummary(
        name=run.name,
        steps=int(loss.steps[-1]),
        planned_steps=run.recipe.train.steps,
        num_tokens=num_tokens,
        loss=float(loss.values[-1]),
        smoothed_loss=float(loss.smooth().values[-1]),
        tokens_per_second=num_tokens / seconds,
        elapsed_seconds=seconds,
        tuned=None if run.recipe.task is None else run.manifest["finished"],
        **probes,
    )


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders, each once, and all those of a matrix; one name twice becomes the paths."""
    folders = list(dict.fromkeys(chain.from_iterable(map(runs_in, paths))))
    names = [folder.resolve().name for folder in folders]
    return [
        read_run(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def runs_in(folder: Path) -> list[Path]:
    """The runs of a matrix; any other folder is one itself."""
    inside = sorted(file.parent for file in folder.glob("*/recipe.toml"))
    return [folder] if (folder / "recipe.toml").is_file() or not inside else inside


def read_run(folder: Path, name: str) -> Run:
    """Read one run folder."""
    missing = [file for file in ("recipe.toml", "manifest.json") if not (folder / file).is_file()]
    if missing:
        raise InputError(str(folder), f"is no run: {missing[0]} is missing; name a run folder")
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(str(path), f"is damaged: {error}; copy the run folder again") from error
    log = folder / "metrics.jsonl"
    columns = read_columns(log) if log.is_file() else {}
    if "loss" not in columns:
        raise InputError(str(folder), "has no step yet; wait for the first one")
    return Run(name, load_recipe(str(folder / "recipe.toml")), manifest, columns)


def read_columns(path: Path) -> dict[str, Column]:
    """The numbers of `metrics.jsonl` by name; what is not finite is left out."""
    steps: dict[str, array[float]] = defaultdict(lambda: array("d"))
    values: dict[str, array[float]] = defaultdict(lambda: array("d"))
    for record in MetricsLog(path).records():
        if "data_seconds" in record:
            record["data_share"] = record["data_seconds"] / record["seconds"]
        for key, value in numbers_of(record):
            if isfinite(value):
                steps[key].append(record["step"])
                values[key].append(value)
    return {key: Column(np.array(steps[key]), np.array(values[key])) for key in steps}
