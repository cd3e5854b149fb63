"""A recipe of fine-tuning: a task, what differs from the usual settings, and many runs by a matrix.

The model and its tokenizer are those of a checkpoint, so that nobody can state both. A run writes
the whole recipe, sizes and all, into its folder.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import Field, PositiveFloat

from glmctl.errors import UsageError
from glmctl.recipe.checks import batch_divides
from glmctl.recipe.find import find_recipe
from glmctl.recipe.keys import all_keys, values_of
from glmctl.recipe.load import (
    Draft,
    Origin,
    Tables,
    checked,
    choose_layout,
    merge,
    override,
    read_files,
    require_stage,
    table_at,
)
from glmctl.recipe.schema import (
    AdapterConfig,
    OptimizerConfig,
    PublishedConfig,
    RecipeConfig,
    ScheduleConfig,
    TopologyConfig,
    TrackConfig,
    TrainConfig,
)
from glmctl.recipe.section import Probability, Section

EPOCHS = 10
DURATIONS = ("steps", "tokens", "epochs")
USUAL: Tables = {
    "train": {"global_batch_size": 16, "micro_batch_size": 8, "save_every": 100},
    "optimizer": {"betas": [0.9, 0.999], "eps": 1e-8},
    "schedule": {"kind": "linear", "warmup_ratio": 0.1},
}
AXES = {"task": "task.name", "model": "train.initial_model", "seed": "train.seed"}
"""Short names of what a matrix often varies."""
NAMED = ("task", "model")  # their values may bring settings of their own
OTHER_CHARACTERS = re.compile(r"[^\w.+=-]+")


class ModelChanges(Section):
    """What a fine-tuning may change in a model."""

    dropout: Probability | None = None
    """Of the embedding sum and of each residual branch; left out: as the model has it."""
    attention_dropout: Probability | None = None
    """Of the attention probabilities; left out: as the model has it."""


class RowsConfig(Section):
    """Which rows are evaluated on."""

    held_out_share: Probability = 0.2
    """Of the rows to train on, where the task names no others to evaluate on."""
    battery: str = "glmctl-demo-held-out"
    """Text of no task, on which the model is measured before and after."""


class RateConfig(OptimizerConfig):
    """The update rule of a fine-tuning."""

    peak_lr: PositiveFloat | None = None  # type: ignore[assignment]
    """Left out: 1e-5 at a width of 1024, and more, with the square, for narrower models. Of what is
    trained beside a model that stays as it is (LoRA, a prompt): 3e-4, and more in proportion."""


def axes_are_known(recipe: "FinetuneRecipe") -> Iterator[str]:
    known = [*AXES, *(key for key, _ in all_keys(FinetuneRecipe) if "." in key)]
    for axis, values in recipe.matrix.items():
        if axis not in known or axis in AXES.values():
            names = ", ".join(AXES)
            yield f"matrix.{axis}: is neither one of {names} nor a key such as optimizer.peak_lr"
        elif not values:
            yield f"matrix.{axis}: is empty; give it a value, or leave it out"
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, dict) and (axis not in NAMED or "name" not in value):
                yield (
                    f"matrix.{axis}: {value!r} is a table; only those of {' and '.join(NAMED)} "
                    "may be, with a name and the sections that it changes"
                )
    if "name" not in recipe.task and "patterns" not in recipe.task and "task" not in recipe.matrix:
        yield "task.name: missing; name a built-in task, or write one with its patterns"


class FinetuneRecipe(Section):
    """One fine-tuning, or all those of a matrix."""

    checks = (axes_are_known, batch_divides)

    recipe: RecipeConfig
    task: dict[str, Any] = Field(default_factory=dict)
    """A built-in task by its name, with the keys that differ; or all of one, as for `eval`."""
    model: ModelChanges = ModelChanges()
    data: RowsConfig = RowsConfig()
    train: TrainConfig
    optimizer: RateConfig = RateConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    topology: TopologyConfig = TopologyConfig()
    track: TrackConfig = TrackConfig()
    adapter: AdapterConfig | None = None
    published: tuple[PublishedConfig, ...] = ()
    matrix: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Values of some keys: one run for each combination; an item of task or model may be a table
    of its name and sections to change."""


@dataclass(frozen=True)
class FinetuneRun:
    """One combination of the values of a matrix."""

    values: Mapping[str, Any]
    """By axis; empty without a matrix."""
    recipe: FinetuneRecipe

    @property
    def name(self) -> str:
        """Of its folder, from the values."""
        parts = (
            str(value) if axis == "task" else f"{axis.rpartition('.')[2]}={value}"
            for axis, value in self.values.items()
        )
        return OTHER_CHARACTERS.sub("_", "-".join(parts))


def trace_finetuning(
    path_or_name: str,
    overrides: Sequence[str] = (),
    *,
    gpus: int | None = None,
    topology: str | None = None,
) -> tuple[FinetuneRecipe, dict[str, Origin]]:
    """Read a recipe of fine-tuning over the usual settings, and say who stated what.

    Raises:
        UsageError: with every mistake, one line each, also those of the runs of its matrix.
    """
    require_stage(path_or_name, "finetune")
    draft = Draft(deepcopy(USUAL))
    files = read_files(find_recipe(path_or_name), path_or_name)
    merge(draft.tables, files.tables)
    draft.origins.update(files.origins)
    problems = [override(draft, text) for text in overrides]
    problems.append(choose_layout(draft, gpus, topology))
    train = table_at(draft.tables, "train")
    if train and not any(train.get(name) for name in DURATIONS):
        train["epochs"] = EPOCHS
    recipe = checked(FinetuneRecipe, draft, path_or_name, problems)
    runs_of(recipe, path_or_name)
    return recipe, draft.origins


def runs_of(recipe: FinetuneRecipe, place: str) -> list[FinetuneRun]:
    """Each combination of the values of its matrix as a recipe without one, the last axis fastest.

    Raises:
        UsageError: one of them is no recipe, or two have one name.
    """
    base = values_of(recipe)
    del base["matrix"]
    runs = []
    for values in product(*recipe.matrix.values()):
        tables = deepcopy(base)
        named: dict[str, Any] = {}
        for axis, value in zip(recipe.matrix, values, strict=True):
            changes = deepcopy(value) if isinstance(value, dict) else {}
            named[axis] = changes.pop("name", value)
            lay(tables, changes)
            put(tables, AXES.get(axis, axis), named[axis])
        label = ", ".join(map(str, named.values()))
        where = f"{place} ({label})" if named else place
        runs.append(FinetuneRun(named, checked(FinetuneRecipe, Draft(tables), where, [])))
    twice = [name for name, number in Counter(run.name for run in runs).items() if number > 1]
    if twice:
        raise UsageError(place, f"matrix: several runs are called {twice[0]}; change a value")
    return runs


def lay(tables: Tables, change: Mapping[str, Any]) -> None:
    """Put settings over others; one length of the run takes the place of another."""
    if any(name in change.get("train", {}) for name in DURATIONS):
        for name in DURATIONS:
            tables["train"].pop(name, None)
    merge(tables, change)


def put(tables: Tables, key: str, value: Any) -> None:
    """Set a dotted key."""
    *sections, name = key.split(".")
    for section in sections:
        tables = tables.setdefault(section, {})
    tables[name] = value
