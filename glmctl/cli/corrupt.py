"""The command `glmctl corrupt`."""

from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

from typer import Context, Exit, Option

from glmctl.cli import examples, options, render
from glmctl.cli.lines import answer, complain, given_options
from glmctl.cli.options import value, word
from glmctl.errors import UsageError

LINES_ON_PAGE = 50
MODES = {"--explain", "--html", "--stats", "--undo"}
DRAWING = {"--objective", "--seed", "--whole-words"}


def corrupt(
    context: Context,
    source: Annotated[str | None, word("INPUT", "A text file or folder; else stdin.")] = None,
    recipe_path: Annotated[
        str | None, Option("--recipe", metavar="RECIPE", help="Corrupt as this recipe trains.")
    ] = None,
    overrides: options.Set = None,
    tokenizer: options.Tokenizer = None,  # that of the recipe, else glmctl-default
    objective: Annotated[
        Literal["token", "sentence", "document", "mix", "mlm"] | None,
        Option("--objective", help="What to hide; token, or what the recipe mixes, unless given."),
    ] = None,
    whole_words: Annotated[bool, Option("--whole-words", help="Never cut a word.")] = False,
    seed: Annotated[
        int | None, Option(min=0, max=2**63 - 1, metavar="N", help="Of every random draw.")
    ] = None,
    jsonl: Annotated[bool, Option("--jsonl", help="Lines hold a text, an id, a seed.")] = False,
    explain: Annotated[bool, Option("--explain", help="Draw who sees whom.")] = False,
    html: Annotated[Path | None, value("FILE", "Explain on a page.")] = None,
    stats: Annotated[bool, Option("--stats", help="Test span lengths against the law.")] = False,
    undo: Annotated[bool, Option("--undo", help="Restore the text from --json lines.")] = False,
    as_json: options.Json = False,
) -> None:
    """Hide spans of each line of text: Part A with its blanks, Part B with what stood there."""
    mode, drawing = (sorted(given_options(context) & names) for names in (MODES, DRAWING))
    problems = {
        "--set changes a recipe; add --recipe RECIPE": overrides and recipe_path is None,
        f"--undo draws nothing; leave out {' and '.join(drawing)}": undo and drawing,
        f"{' and '.join(mode)} exclude each other; choose one": len(mode) > 1,
        f"{' and '.join(mode)} is for a reader; leave out --json": as_json and (explain or html),
    }
    if any(problems.values()):
        raise UsageError("glmctl corrupt", *[text for text in problems if problems[text]])
    from glmctl.core.objective.readable import Explanation, Reader
    from glmctl.recipe.load import load_recipe, require_stage
    from glmctl.stages import corrupt as stage

    changes = [*(overrides or ()), *(["objective.whole_words=true"] if whole_words else [])]
    if recipe_path is not None:
        require_stage(recipe_path, "pretrain", "record")
    recipe = None if recipe_path is None else load_recipe(recipe_path, changes)
    inputs = [] if source is None else [source]
    if undo:
        found = stage.choose_tokenizer(recipe, tokenizer)
        restored = stage.undo_source(inputs, found, one_line=not as_json)
        schema = "RestoredLine" if as_json else None
        has_errors = answer(restored, lambda record: render.say(record["text"]), schema)
    else:
        setting = stage.make_setting(recipe, tokenizer, objective, seed, whole_words)
        reader = Reader(setting.tokenizer)
        records = stage.corrupt_source(inputs, setting, jsonl=jsonl)
        if stats:
            counted = stage.count_source(inputs, setting, complain, jsonl=jsonl)
            examples.show_statistics(counted, as_json=as_json)
            has_errors = counted.num_failed_lines > 0
        elif html is not None:
            page: list[Explanation] = []
            limit = examples.MOST_TOKENS
            first = [*islice(chain.from_iterable(records), LINES_ON_PAGE)]  # the rest is not read
            has_errors = answer([first], lambda it: page.append(reader.explain(it, limit)))
            examples.write_page(html, page)
        elif explain:
            limit = examples.tokens_on_screen()
            has_errors = answer(records, lambda it: examples.draw(reader.explain(it, limit)))
        else:
            # A line that fails has as many lines of output as one that does not.
            schema = "CorruptedLine" if as_json else None
            has_errors = answer(
                records, lambda it: examples.say_parts(*reader.describe(it)), schema, "\n"
            )
    if has_errors:
        raise Exit(1)
