"""The command `glmctl recipe`: look at recipes, compare, copy and check them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, BadParameter, Exit, Option

from glmctl.cli import options, render
from glmctl.cli.options import word

GRAMMAR = 1  # the newest; `migrate` lifts what is older once there is a second
RecipePaths = Annotated[
    list[str], word("RECIPE...", "Files, or built-in names.", options.complete_recipe)
]
Other = Annotated[str, word("OTHER", "What to compare it with.", options.complete_recipe)]
CopyPath = Annotated[Path | None, word("FILE", "Where to write it; stdout unless given.")]
OwnFile = Annotated[Path, word("FILE", "A recipe file.")]
FileKind = Annotated[
    Literal["pretrain", "finetune", "eval", "task"], Argument(help="What the file is.")
]
ShowOrigin = Annotated[bool, Option("--origin", help="Say where each value comes from.")]


def ls(as_json: options.Json = False) -> None:
    """List the built-in recipes."""
    from glmctl.core.tokenizer.load import with_vocabulary
    from glmctl.recipe.find import builtin_recipes, recipe_name
    from glmctl.recipe.kinds import load_any
    from glmctl.recipe.plan import count_parameters
    from glmctl.recipe.schema import Recipe

    recipes = {recipe_name(file): load_any(str(file)) for file in builtin_recipes()}
    if as_json:
        tables = {name: it.model_dump(mode="json", by_alias=True) for name, it in recipes.items()}
        render.emit("RecipeList", {"recipes": [{"name": name, **tables[name]} for name in tables]})
        return
    rows = [
        (
            name,
            first_of(recipe.recipe.experiments),
            f"{recipe.topology.world_size} x {recipe.topology.gpu}",
            f"{count_parameters(with_vocabulary(recipe).model).total:,}"
            if isinstance(recipe, Recipe)
            else "-",
            recipe.recipe.certainty or "-",
            first_of(
                [f"{it} {row.numbers[it]:g}" for row in recipe.published for it in row.numbers]
            ),
            recipe.recipe.source,
        )
        for name, recipe in recipes.items()
    ]
    heads = ("name", "experiments", "GPUs", "parameters", "certainty", "published", "source")
    render.table(heads, rows)


def first_of(names: Sequence[str]) -> str:
    """The first one, and how many more there are."""
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return names[0] + more if names else "-"


def show(
    recipe_path: options.RecipePath,
    overrides: options.Set = None,
    gpus: options.Gpus = None,
    topology: options.Topology = None,
    origin: ShowOrigin = False,
    as_json: options.Json = False,
) -> None:
    """Print RECIPE with every value it has, or a task, as TOML that loads to the same."""
    import tomli_w

    from glmctl.core.tasks.find import find_suite, is_task
    from glmctl.recipe.keys import flatten, settings_of
    from glmctl.recipe.kinds import trace_any
    from glmctl.recipe.load import DEFAULT, to_toml

    if is_task(recipe_path):
        if overrides or gpus or topology or origin:
            raise BadParameter(f"{recipe_path} is a task; the options but --json are of recipes")
        suite, names = find_suite(recipe_path)
        tasks = [
            task.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
            for task in suite.choose(names)
        ]
        about = {key: it for key, it in (("folder", suite.folder), ("get", suite.get)) if it}
        tables = {"suite": about, "task": tasks}
        render.emit("Task", tables) if as_json else render.say(tomli_w.dumps(tables).rstrip())
        return
    recipe, origins = trace_any(recipe_path, overrides or (), gpus=gpus, topology=topology)
    stated = [
        (key, value, origins.get(key, DEFAULT))
        for key, value in flatten(settings_of(recipe)).items()
    ]
    if origin and as_json:
        records = [
            {"key": key, "value": value, "origin": kind, "place": place}
            for key, value, (kind, place) in stated
        ]
        render.emit("RecipeOrigins", {"keys": records})
    elif origin:
        words = {"default": "default", "parent": "parent {}"}
        rows = [
            (key, words.get(kind, "{}").format(place), json.dumps(value))
            for key, value, (kind, place) in stated
        ]
        render.table(("key", "from", "value"), rows)
    elif as_json:
        render.emit("Recipe", recipe.model_dump(mode="json", by_alias=True))
    else:
        render.say(to_toml(recipe).rstrip())


def show_published(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print our scores beside those of the literature."""
    forms = {"metric": "{}", "ours": "{:.2f}", "published": "{:g}", "difference": "{:+.2f}"}
    forms |= {"model": "{}", "certainty": "{}"}
    if rows:
        lines = (
            ["" if row[name] is None else form.format(row[name]) for name, form in forms.items()]
            for row in rows
        )
        render.table([*forms], lines)


def diff(a: options.RecipePath, b: Other, as_json: options.Json = False) -> None:
    """List the keys in which RECIPE and OTHER differ, with both values."""
    from glmctl.recipe.keys import differences
    from glmctl.recipe.kinds import load_any

    found = differences(load_any(a), load_any(b))
    if as_json:
        records = [{"key": key, "a": left, "b": right} for key, (left, right) in found.items()]
        render.emit("RecipeDiff", {"a": a, "b": b, "differences": records})
    elif found:
        rows = [
            (key, *("-" if value is None else json.dumps(value) for value in pair))
            for key, pair in found.items()
        ]
        render.table(("key", a, b), rows)
    else:
        render.say(f"{a} and {b} hold the same values")


def cp(
    recipe_path: options.RecipePath, file: CopyPath = None, as_json: options.Json = False
) -> None:
    """Copy RECIPE as it is written, comments and all, into a FILE to edit."""
    from glmctl.errors import UsageError
    from glmctl.recipe.find import find_recipe
    from glmctl.recipe.text import copy_text

    source = find_recipe(recipe_path)
    if file is not None and file.is_dir():
        file /= source.name
    text = copy_text(source, Path() if file is None else file.parent)
    if file is not None:
        if file.exists():
            raise UsageError(str(file), "is there already; name another file, or remove it")
        file.write_text(text, encoding="utf-8")
    if as_json:
        render.emit("RecipeCopy", {"recipe": recipe_path, "file": file, "text": text})
    else:
        render.say(text.rstrip() if file is None else str(file))


def validate(recipe_paths: RecipePaths, as_json: options.Json = False) -> None:
    """Check recipes, or files of tasks, and name every mistake at once; exit 2 for one."""
    from glmctl.core.tasks.find import check_recipe
    from glmctl.errors import UsageError

    problems: dict[str, tuple[str, ...]] = {}
    for path in recipe_paths:
        problems[path] = ()
        try:
            check_recipe(path)
            if not as_json:
                render.say(f"{path}: ok")
        except UsageError as error:
            problems[path] = error.problems
            if not as_json:
                render.complain(str(error))
    if as_json:
        records = [{"path": path, "problems": found} for path, found in problems.items()]
        render.emit("Validation", {"recipes": records})
    if any(problems.values()):
        raise Exit(UsageError.exit_code)


def schema(kind: FileKind = "pretrain") -> None:
    """Print the JSON Schema of a recipe, or of the file of a task, for editors."""
    from glmctl.core.tasks.schema import TaskConfig
    from glmctl.recipe.finetune import FinetuneRecipe
    from glmctl.recipe.kinds import EvalRecipe
    from glmctl.recipe.schema import Recipe
    from glmctl.recipe.section import Section

    kinds: dict[str, type[Section]] = {
        "pretrain": Recipe,
        "finetune": FinetuneRecipe,
        "eval": EvalRecipe,
    }
    of_file = kinds[kind].model_json_schema() if kind in kinds else {"properties": {}, "$defs": {}}
    of_task = TaskConfig.model_json_schema()
    del of_task["required"]  # a task is called by its file, and may be a built-in one that differs
    of_file["$defs"] |= of_task.pop("$defs") | {"TaskConfig": of_task}
    of_file["properties"]["task"] = {"$ref": "#/$defs/TaskConfig"}
    render.say(json.dumps(of_file, indent=2))


def migrate(file: OwnFile, as_json: options.Json = False) -> None:
    """Lift FILE to the newest grammar; the first is still the newest, so it stays as it is."""
    from glmctl.errors import UsageError
    from glmctl.recipe.load import parse, table_at

    number = table_at(parse(file, str(file)), "recipe").get("schema", GRAMMAR)
    if type(number) is not int or number != GRAMMAR:
        raise UsageError(
            str(file),
            f"recipe.schema: should be {GRAMMAR}, the newest grammar of this version; found "
            f"{json.dumps(number)}; for a newer one install a newer glmctl",
        )
    if as_json:
        render.emit("Migration", {"file": file, "grammar": GRAMMAR, "is_changed": False})
    else:
        render.say(f"{file}: has grammar {GRAMMAR}, the newest; nothing to do")
