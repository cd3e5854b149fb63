"""The command `glmctl infill`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Exit, Option

from glmctl.cli import options, render

if TYPE_CHECKING:
    from glmctl.core.decode.explain import Explanation
    from glmctl.stages.infill import LineResult

ONE_LINE = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def infill(
    context: Context,
    texts: Annotated[
        list[str] | None,
        Argument(metavar="TEXT", help="Text with [MASK]; without one, lines or JSONL of stdin."),
    ] = None,
    model: options.Model = None,  # the default model of the package
    choices: Annotated[
        str | None, Option(metavar="A,B", help="Fill with the best of these.")
    ] = None,
    num_beams: Annotated[
        int | None, Option(metavar="N", help="Ways to fill a blank followed at once.")
    ] = None,
    length_penalty: Annotated[
        float | None, Option(metavar="P", help="Rank beams by log-probability / length^P.")
    ] = None,
    n_best: Annotated[
        int | None, Option(metavar="N", help="Print N lines a text: its best fills, score first.")
    ] = None,
    no_repeat_ngram: Annotated[
        int | None, Option(metavar="N", help="Write no N tokens in a row twice.")
    ] = None,
    min_new_tokens: Annotated[
        int | None, Option(metavar="N", help="Fewest tokens of one blank.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, Option(metavar="N", help="Most tokens of one blank.")
    ] = None,
    temperature: Annotated[
        float | None, Option(metavar="T", help="Draw tokens; 0 takes the best.")
    ] = None,
    top_k: Annotated[int | None, Option(metavar="N", help="Draw among the N best tokens.")] = None,
    top_p: Annotated[
        float | None, Option(metavar="P", help="Draw among tokens that make up P.")
    ] = None,
    seed: Annotated[int | None, Option(metavar="N", help="Of every random draw.")] = None,
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A decode setting, as decode.top_k=40."),
    ] = None,
    streams: Annotated[
        bool, Option("--stream", help="Print tokens as they are chosen, one text at a time.")
    ] = False,
    explains: Annotated[
        bool, Option("--explain", help="Show what is fed at which position, and what follows.")
    ] = False,
    batch_size: Annotated[int, Option(min=1, metavar="N", help="Lines filled together.")] = 16,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Fill every blank ([MASK], [sMASK], [gMASK]) of each TEXT, or of each line of stdin."""
    from glmctl.stages import infill as stage  # torch loads here, never for --help

    config = stage.decode_config(context.params, overrides or ())
    results = stage.run(
        texts,
        model=model,
        device=device,
        config=config,
        choices=None if choices is None else [word.strip() for word in choices.split(",")],
        batch_size=batch_size,
        streams=streams,
        explains=explains,
    )
    if show_results(results, as_json=as_json, num_lines=config.n_best):
        raise Exit(1)


def show_results(results: Iterable[LineResult], *, as_json: bool, num_lines: int) -> bool:
    """Print results as they come; gives whether one is an error."""
    has_errors = is_begun = False  # a line of which tokens are printed
    for result in results:
        has_errors |= result.error is not None
        if result.warning is not None:
            render.warn(f"line {result.line}: {result.warning}")
        if as_json:
            emit_result(result)
        elif result.token is not None:
            render.say(result.token.text.translate(ONE_LINE), end="")
        elif result.filled is None:
            render.complain(f"line {result.line}: {result.error}")
            render.say("\n" * (num_lines - 1))  # as many lines as a good one has
        elif is_begun:
            render.say("")
        elif num_lines > 1:
            lines = [f"{score:.4f}\t{text.translate(ONE_LINE)}" for score, text in result.variants]
            render.say("\n".join(lines) + "\n" * (num_lines - len(lines)))
        else:
            render.say(result.filled.text.translate(ONE_LINE))
        if result.explanation is not None and not as_json:
            show_explanation(result.explanation)
        is_begun = result.token is not None
        render.flush()
    return has_errors


def emit_result(result: LineResult) -> None:
    """Print the record of one line, or of a token of it."""
    record: dict[str, Any] = {"line": result.line}
    if result.token is not None:
        render.emit("InfillingToken", record | asdict(result.token))
        return
    if result.id is not None:
        record["id"] = result.id
    if result.filled is None:
        record["error"] = result.error
    else:
        record |= asdict(result.filled)
    if result.explanation is not None:
        record["explanation"] = asdict(result.explanation)
    render.emit("Infilling", record)


def show_explanation(explanation: Explanation) -> None:
    """Print Part A, and a table for each blank."""
    render.say(f"\nPart A, {explanation.num_tokens:,} tokens: {' '.join(explanation.part_a)}")
    for number, tokens in enumerate(explanation.blanks, 1):
        render.say(f"\nblank {number}")
        render.table(
            ("reads", "place", "in span", "chooses", "probability"),
            [
                (t.reads, f"{t.place}", f"{t.place_in_span}", t.chooses, f"{t.probability:.4f}")
                for t in tokens
            ],
        )
    render.say("")
