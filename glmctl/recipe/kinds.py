"""Recipes of every stage by their name, and those of evaluations, which state tasks alone."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from pydantic import Field

from glmctl.recipe.find import find_recipe
from glmctl.recipe.finetune import FinetuneRecipe, trace_finetuning
from glmctl.recipe.load import Origin, Tables, merge, read_files, table_at, trace_recipe
from glmctl.recipe.schema import PublishedConfig, Recipe, RecipeConfig, TopologyConfig
from glmctl.recipe.section import Section


def tasks_are_named(recipe: "EvalRecipe") -> Iterator[str]:
    if recipe.recipe.stage == "eval" and not (recipe.task or recipe.matrix.task):
        yield "task: missing; name one, or several in matrix.task"
    for item in recipe.matrix.task:
        if isinstance(item, dict) and {*item} != {"name", "task"}:
            yield f"matrix.task: {item!r} should have a name, and the keys that differ in `task`"


class TasksConfig(Section):
    """The tasks of one evaluation."""

    task: tuple[str | dict[str, Any], ...] = ()
    """Names, or tables of a name and of a table `task` with the keys that differ."""


class EvalRecipe(Section):
    """An evaluation, or the record of an experiment that trains no model."""

    checks = (tasks_are_named,)

    recipe: RecipeConfig
    task: dict[str, Any] = Field(default_factory=dict)
    """A built-in task by its name, with the keys that differ; or all of one."""
    topology: TopologyConfig = TopologyConfig()
    matrix: TasksConfig = TasksConfig()
    published: tuple[PublishedConfig, ...] = ()

    @property
    def tasks(self) -> list[Tables]:
        """The table [task] of each one."""
        tables = []
        for item in self.matrix.task or ({},):
            change = {"name": item} if isinstance(item, str) else {**item, **item.get("task", {})}
            tables.append(deepcopy(self.task))
            merge(tables[-1], {key: it for key, it in change.items() if key != "task"})
        return tables


AnyRecipe = Recipe | FinetuneRecipe | EvalRecipe


def load_any(path_or_name: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """Read and check a recipe of any stage.

    Raises:
        UsageError: with every mistake, one line each.
    """
    return trace_any(path_or_name, overrides)[0]


def trace_any(
    path_or_name: str,
    overrides: Sequence[str] = (),
    *,
    gpus: int | None = None,
    topology: str | None = None,
) -> tuple[AnyRecipe, dict[str, Origin]]:
    """As `load_any`, and by dotted key who stated what."""
    kind = kind_of(path_or_name)
    if kind is FinetuneRecipe:
        return trace_finetuning(path_or_name, overrides, gpus=gpus, topology=topology)
    return trace_recipe(kind, path_or_name, overrides, gpus=gpus, topology=topology)


def kind_of(path_or_name: str) -> type[AnyRecipe]:
    """What describes a recipe: that of a fine-tuning or an evaluation leaves the model open."""
    tables = read_files(find_recipe(path_or_name), path_or_name).tables
    stage = table_at(tables, "recipe").get("stage")
    if stage == "eval" or (stage == "record" and "model" not in tables):
        return EvalRecipe
    if stage == "finetune" and "num_layers" not in table_at(tables, "model"):
        return FinetuneRecipe
    return Recipe
