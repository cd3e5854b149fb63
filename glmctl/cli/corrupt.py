"""The command `glmctl corrupt`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from rich.text import Text
from typer import Argument, Exit, Option

from glmctl.cli import options, render
from glmctl.errors import UsageError


def corrupt(
    source: Annotated[
        str | None, Argument(metavar="INPUT", help="A text file or folder; stdin without one.")
    ] = None,
    recipe_path: Annotated[
        str | None, Option("--recipe", metavar="RECIPE", help="Corrupt as this recipe trains.")
    ] = None,
    overrides: options.Set = None,
    tokenizer: options.Tokenizer = None,  # that of the recipe, else glmctl-default
    objective: Annotated[
        Literal["token", "sentence", "document", "mix", "mlm"] | None,
        Option("--objective", help="What to hide; token, or what the recipe mixes, unless given."),
    ] = None,
    seed: Annotated[
        int | None, Option("--seed", min=0, metavar="N", help="Of every random draw.")
    ] = None,
    undo: Annotated[
        bool, Option("--undo", help="Restore the text from the lines of --json.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Hide spans of each line of text: Part A with its blanks, Part B with what stood there."""
    problems = []
    if overrides and recipe_path is None:
        problems.append("--set changes a recipe; add --recipe RECIPE")
    if undo and (objective is not None or seed is not None):
        problems.append("--undo draws nothing; leave out --objective and --seed")
    if problems:
        raise UsageError("glmctl corrupt", *problems)
    from glmctl.recipe.load import load_recipe
    from glmctl.stages import corrupt as stage

    recipe = None if recipe_path is None else load_recipe(recipe_path, overrides or ())
    if undo:
        found = stage.choose_tokenizer(recipe, tokenizer)
        batches = stage.undo_source(source, found, one_line=not as_json)
    else:
        setting = stage.make_setting(recipe, tokenizer, objective, seed)
        found = setting.tokenizer
        batches = stage.corrupt_source(source, setting)
    has_errors = False
    for records in batches:
        for record in records:
            has_errors |= "error" in record
            if as_json:
                render.emit("RestoredLine" if undo else "CorruptedLine", record)
            elif "error" in record:
                render.complain(f"line {record['line']}: {record['error']}")
                render.say("" if undo else "\n")  # as many lines as a good one has
            elif undo:
                render.say(record["text"])
            else:
                part_a, part_b = stage.describe(record, found)
                say_part("A", part_a)
                say_part("B", part_b)
        render.flush()
    if has_errors:
        raise Exit(1)


def say_part(name: str, parts: Sequence[tuple[str, bool]]) -> None:
    """Print Part A or Part B; on a terminal, what was hidden stands out."""
    if render.out.is_terminal:
        styled = [(text, "bold cyan" if is_blank else "") for text, is_blank in parts]
        render.out.print(Text.assemble((f"{name}: ", "dim"), *styled))
    else:
        render.say(f"{name}: {''.join(text for text, _ in parts)}".rstrip())
