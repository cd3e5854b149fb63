"""The command `glmctl recipe`: look at recipes and check them."""

import json
from typing import Annotated

import typer

from glmctl.cli import options, render

RecipePaths = Annotated[
    list[str],
    typer.Argument(metavar="RECIPE...", help="Recipe files, or names of built-in recipes."),
]


def ls(as_json: options.Json = False) -> None:
    """List the built-in recipes."""
    from glmctl.core.tokenizer.rows import with_vocabulary
    from glmctl.recipe.load import builtin_recipes, load_recipe, recipe_name
    from glmctl.recipe.plan import count_parameters

    recipes = {recipe_name(file): load_recipe(str(file)) for file in builtin_recipes()}
    if as_json:
        resolved = [
            {"name": name, **recipe.model_dump(mode="json", by_alias=True)}
            for name, recipe in recipes.items()
        ]
        render.emit("RecipeList", {"recipes": resolved})
        return
    columns = ("name", "experiments", "GPUs", "parameters", "certainty", "source")
    rows = [
        (
            name,
            ", ".join(recipe.recipe.experiments) or "-",
            f"{recipe.topology.world_size} x {recipe.topology.gpu}",
            f"{count_parameters(with_vocabulary(recipe).model).total:,}",
            recipe.recipe.certainty or "-",
            recipe.recipe.source,
        )
        for name, recipe in recipes.items()
    ]
    render.table(columns, rows)


def show(
    recipe_path: options.RecipePath,
    overrides: options.Set = None,
    gpus: options.Gpus = None,
    topology: options.Topology = None,
    as_json: options.Json = False,
) -> None:
    """Print RECIPE with every value it has, as TOML that loads to the same recipe."""
    from glmctl.recipe.load import load_recipe, to_toml

    recipe = load_recipe(recipe_path, overrides or (), gpus=gpus, topology=topology)
    if as_json:
        render.emit("Recipe", recipe.model_dump(mode="json", by_alias=True))
    else:
        render.say(to_toml(recipe).rstrip())


def validate(recipe_paths: RecipePaths, as_json: options.Json = False) -> None:
    """Check recipes and name every mistake at once; exit 2 when there is one."""
    from glmctl.errors import UsageError
    from glmctl.recipe.load import load_recipe

    problems: dict[str, tuple[str, ...]] = {}
    for path in recipe_paths:
        problems[path] = ()
        try:
            load_recipe(path)
        except UsageError as error:
            problems[path] = error.problems
            if not as_json:
                render.complain(str(error))
        else:
            if not as_json:
                render.say(f"{path}: ok")
    if as_json:
        checked = [{"path": path, "problems": lines} for path, lines in problems.items()]
        render.emit("Validation", {"recipes": checked})
    if any(problems.values()):
        raise typer.Exit(UsageError.exit_code)


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from glmctl.recipe.schema import Recipe

    render.say(json.dumps(Recipe.model_json_schema(), indent=2))
