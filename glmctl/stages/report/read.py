"""A run folder as columns of numbers."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
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

    def at(self, steps: FloatArray) -> FloatArray:
        """The values at some of the steps."""
        return self.values[np.searchsorted(self.steps, steps)]

    def smooth(self) -> FloatArray:
        """Means over each value and its neighbours, 1 % of all values on either side."""
        reach = len(self.values) // 100
        sums = np.concatenate([[0.0], self.values.cumsum()])
        place = np.arange(len(self.values))
        first, stop = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(place))
        return (sums[stop] - sums[first]) / (stop - first)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Run:
    """What a run folder says."""

    name: str
    recipe: Recipe
    manifest: dict[str, Any]
    columns: dict[str, Column]

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self.columns["loss"].steps[-1])

    def tokens_at(self, steps: FloatArray) -> FloatArray:
        """Source tokens read up to each of the steps."""
        column = self.columns["num_tokens"]
        return Column(column.steps, column.values.cumsum()).at(steps)

    @property
    def restarts(self) -> list[int]:
        """Steps after which the run was taken up again."""
        return self.manifest.get("restarts", [])  # type: ignore[no-any-return]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders.

    Raises:
        InputError: what is wrong with each of them.
    """
    folders = list(dict.fromkeys(paths))
    names = [folder.resolve().name for folder in folders]
    runs, problems = [], []
    for folder, name in zip(folders, names, strict=True):
        try:
            runs.append(read_run(folder, name if names.count(name) == 1 else str(folder)))
        except InputError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InputError("report", *map(str, problems))
    return runs


def read_run(folder: Path, name: str) -> Run:
    """Read one run folder.

    Raises:
        InputError: it is none, or no step is done yet, or a file is damaged.
    """
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
        for key, value in numbers_of(record):
            if isfinite(value):
                steps[key].append(record["step"])
                values[key].append(value)
    return {key: Column(np.array(steps[key]), np.array(values[key])) for key in steps}
