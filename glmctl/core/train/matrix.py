"""The runs of a matrix, compared: the mean over seeds, and the best settings of each task."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from glmctl.recipe.finetune import NAMED

SEED = "seed"


@dataclass(frozen=True)
class MatrixRow:
    """Runs that differ in their seed alone."""

    values: Mapping[str, Any]
    """By axis of the matrix."""
    metric: str
    mean: float
    deviation: float | None
    """Of a sample; None where there is one run."""
    num_runs: int
    is_best: bool
    """Whether no other settings score more on this task with this model."""


def compare(runs: Sequence[tuple[Mapping[str, Any], str, float]]) -> tuple[MatrixRow, ...]:
    """One row for the runs of all seeds.

    Args:
        runs: values by axis, metric and score of each.
    """
    groups: dict[tuple[tuple[str, Any], ...], list[tuple[str, float]]] = defaultdict(list)
    for values, metric, score in runs:
        key = tuple((axis, value) for axis, value in values.items() if axis != SEED)
        groups[key].append((metric, score))
    rows = []
    for key, found in groups.items():
        scores = [score for _, score in found]
        deviation = stdev(scores) if len(scores) > 1 else None
        rows.append(MatrixRow(dict(key), found[0][0], fmean(scores), deviation, len(scores), False))
    best: dict[tuple[Any, ...], MatrixRow] = {}
    for row in rows:
        rival = best.setdefault(contest(row), row)
        best[contest(row)] = row if row.mean > rival.mean else rival
    return tuple(replace(row, is_best=row is best[contest(row)]) for row in rows)


def contest(row: MatrixRow) -> tuple[Any, ...]:
    """What settings compete for."""
    return tuple(row.values.get(axis) for axis in NAMED)
