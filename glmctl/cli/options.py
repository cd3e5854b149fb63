"""Options that several commands share, declared once so that they read the same everywhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

DEFAULT = "glmctl-default"
RUN = "/recipe.toml"  # every run folder has one


def complete_recipe(incomplete: str) -> Iterator[str]:
    """Names of built-in recipes, for the shell; it adds the files."""
    from glmctl.recipe.find import builtin_recipes, recipe_name

    yield from (name for name in map(recipe_name, builtin_recipes()) if name.startswith(incomplete))


def complete_set(incomplete: str) -> Iterator[tuple[str, str]]:
    """Keys of a recipe, for the shell."""
    from glmctl.recipe.keys import all_keys

    yield from ((f"{key}=", help) for key, help in all_keys() if key.startswith(incomplete))


def complete_run_dir(incomplete: str) -> Iterator[str]:
    """Run folders under runs/ and under what is typed, for the shell."""
    roots = {Path("runs"), Path(incomplete).parent if incomplete else Path()}
    files = {file for root in roots for depth in ("*", "*/*") for file in root.glob(depth + RUN)}
    yield from sorted(str(file.parent) for file in files if str(file.parent).startswith(incomplete))


def word(metavar: str, help: str, complete: Callable[..., Any] | None = None) -> Any:
    return Argument(metavar=metavar, help=help, autocompletion=complete)


def value(metavar: str | None, help: str, at_least: int | None = None) -> Any:
    return Option(metavar=metavar, help=help, min=at_least)


RecipePath = Annotated[str, word("RECIPE", "A file, or a built-in name.", complete_recipe)]
Set = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key, as train.steps=10.",
        autocompletion=complete_set,
    ),
]
SetDecode = Annotated[
    list[str] | None, Option("--set", metavar="KEY=VALUE", help="A setting, as decode.top_k=40.")
]
RunDir = Annotated[
    Path | None,
    Option(
        metavar="DIR", help="Where the run lives, else runs/NAME.", autocompletion=complete_run_dir
    ),
]
Fresh = Annotated[bool, Option("--fresh", help="Start over instead of continuing the run.")]
Force = Annotated[bool, Option("--force", help="Let --fresh delete the run that is there.")]
DryRun = Annotated[bool, Option("--dry-run", help="Print the plan and stop.")]
Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
Device = Annotated[
    Literal["cpu", "cuda"] | None, Option(help="Where to compute; a GPU if there is one.")
]
Offline = Annotated[bool, Option("--offline", help="Use only what is on this machine.")]
Gpus = Annotated[int | None, value("N", "One node of N, same global batch.", 1)]
Topology = Annotated[str | None, value("NAME", "Another layout of the recipe.")]
Tokenizer = Annotated[str | None, value("NAME|FILE|DIR", "The vocabulary to use.")]
Model = Annotated[str | None, value("CKPT", "A folder, a checkpoint, or a name.")]
