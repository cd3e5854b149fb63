"""Where recipes lie and what they are called; shell completion asks it, so it imports little."""

from difflib import get_close_matches
from pathlib import Path

from glmctl.errors import UsageError


def builtin_folder() -> Path:
    """Where the recipes of the package lie: inside it when installed, beside it in a checkout."""
    inside, beside = (parent / "recipes" for parent in Path(__file__).parents[1:3])
    return inside if inside.is_dir() else beside


def builtin_recipes() -> list[Path]:
    """The recipes of the package."""
    return sorted(builtin_folder().rglob("*.toml"), key=recipe_name)


def is_builtin(path: Path) -> bool:
    """Whether a file is one of the recipes of the package."""
    return path.resolve().is_relative_to(builtin_folder())


def recipe_name(path_or_name: str | Path) -> str:
    """What a recipe is called: its place among the built-in ones, or the name of its file."""
    path = Path(path_or_name)
    if is_builtin(path):
        return path.resolve().relative_to(builtin_folder()).with_suffix("").as_posix()
    return path.stem if path.is_file() else str(path_or_name).removesuffix(".toml")


def find_recipe(path_or_name: str) -> Path:
    """The file of a recipe.

    Raises:
        UsageError: with the built-in names that are spelt alike.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    builtin = {recipe_name(file): file for file in builtin_recipes()}
    name = path_or_name.removesuffix(".toml")
    if name in builtin:
        return builtin[name]
    close = get_close_matches(name.removeprefix("recipes/"), builtin, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "glmctl recipe ls lists them"
    raise UsageError(path_or_name, f"no such file, and no built-in recipe of this name; {hint}")


def find_parent(path: Path, parent: object, place: str) -> Path:
    """The file that ``extends`` in another one names: one beside that, or a built-in recipe."""
    if not isinstance(parent, str):
        raise UsageError(place, f"recipe.extends: should be one path as a string; found {parent!r}")
    name = parent.removesuffix(".toml")
    for file in (path.parent / parent, builtin_folder() / f"{name}.toml"):
        if file.is_file():
            return file
    raise UsageError(
        place,
        f"recipe.extends: there is no file {path.parent / parent} and no built-in recipe {name}; "
        "correct the path",
    )
