"""The command `glmctl infill`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Exit, Option

from glmctl.cli import options, render
from glmctl.cli.options import value, word

if TYPE_CHECKING:
    from glmctl.core.decode.explain import Explanation
    from glmctl.stages.infill import LineResult

ONE_LINE = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def infill(
    context: Context,
    texts: Annotated[
        list[str] | None, word("TEXT", "Text with [MASK]; without one, lines or JSONL of stdin.")
    ] = None,
    model: options.Model = None,  # the default model of the package
    choices: Annotated[str | None, value("A,B", "Fill with the best of these.")] = None,
    num_beams: Annotated[int | None, value("N", "Ways to fill a blank followed at once.")] = None,
    length_penalty: Annotated[float | None, value("P", "Rank by log-prob / length^P.")] = None,
    n_best: Annotated[int | None, value("N", "Print N lines a text, score first.")] = None,
    no_repeat_ngram: Annotated[int | None, value("N", "Write no N tokens in a row twice.")] = None,
    min_new_tokens: Annotated[int | None, value("N", "Fewest tokens of one blank.")] = None,
    max_new_tokens: Annotated[int | None, value("N", "Most tokens of one blank.")] = None,
    temperature: Annotated[float | None, value("T", "Draw tokens; 0 takes the best.")] = None,
    top_k: Annotated[int | None, value("N", "Draw among the N best tokens.")] = None,
    top_p: Annotated[float | None, value("P", "Draw among tokens that make up P.")] = None,
    seed: Annotated[int | None, value("N", "Of every random draw.")] = None,
    overrides: options.SetDecode = None,
    streams: Annotated[bool, Option("--stream", help="Print tokens as they are chosen.")] = False,
    explains: Annotated[bool, Option("--explain", help="Show positions, and chances.")] = False,
    chats: Annotated[bool, Option("--chat", help="Answer messages: lines, or JSONL.")] = False,
    batch_size: Annotated[int, value("N", "Lines filled together.", 1)] = 16,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Fill every blank ([MASK], [sMASK], [gMASK]) of each TEXT, or of each line of stdin."""
    from glmctl.stages import infill as stage  # torch loads here, never for --help

    words = None if choices is None else [word.strip() for word in choices.split(",")]
    decode = stage.decode_config(context.params, overrides or ())
    config = stage.FillConfig(decode, words, batch_size, streams, explains, chats)
    results = stage.run(texts, config, model=model, device=device)
    if show_results(results, as_json=as_json, num_lines=decode.n_best):
        raise Exit(1)


def show_results(results: Iterable[LineResult], *, as_json: bool, num_lines: int) -> bool:
    """Print results as they come; gives whether one is an error."""
    has_errors = is_begun = False  # a line of which tokens are printed
    for result in results:
        has_errors |= result.error is not None
        if result.warning is not None:
            render.warn(f"line {result.line}: {result.warning}")
        if as_json:
            render.emit(*record_of(result))
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


def record_of(result: LineResult) -> tuple[str, dict[str, Any]]:
    """The schema and the record of a line, or of a token of it."""
    values = asdict(result)
    if result.token is not None:
        return "InfillingToken", {"line": result.line, **values["token"]}
    names = ("line", "id", "error", "explanation")
    record = {name: values[name] for name in names if values[name] is not None}
    filled = values["filled"] or {}
    if result.messages:
        (answer,) = filled["blanks"]
        return "Answer", record | {"messages": values["messages"], **answer, "text": filled["text"]}
    return "Infilling", record | filled


def show_explanation(explanation: Explanation) -> None:
    """Print Part A, and a table for each blank."""
    render.say(f"\nPart A, {explanation.num_tokens:,} tokens: {' '.join(explanation.part_a)}")
    for number, tokens in enumerate(explanation.blanks, 1):
        render.say(f"\nblank {number}")
        rows = [(*map(str, astuple(token)[:-1]), f"{token.probability:.4f}") for token in tokens]
        render.table(("reads", "place", "in span", "chooses", "probability"), rows)
    render.say("")
