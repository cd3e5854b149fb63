"""The command `glmctl infill`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from glmctl.cli import options, render
from glmctl.errors import UsageError

if TYPE_CHECKING:
    from glmctl.core.decode.explain import Explanation
    from glmctl.stages.infill import LineResult, LineToken

Choices = Annotated[
    str | None, Option("--choices", metavar="A,B", help="Fill with the best of these.")
]
NumBeams = Annotated[
    int | None, Option("--num-beams", metavar="N", help="Ways to fill a blank followed at once.")
]
LengthPenalty = Annotated[
    float | None,
    Option("--length-penalty", metavar="P", help="Rank beams by log-probability / length^P."),
]
NBest = Annotated[
    int | None,
    Option("--n-best", metavar="N", help="Print N lines a text: its best fills, score first."),
]
NoRepeatNgram = Annotated[
    int | None, Option("--no-repeat-ngram", metavar="N", help="Write no N tokens in a row twice.")
]
MinNewTokens = Annotated[
    int | None, Option("--min-new-tokens", metavar="N", help="Fewest tokens of one blank.")
]
MaxNewTokens = Annotated[
    int | None, Option("--max-new-tokens", metavar="N", help="Most tokens of one blank.")
]
Temperature = Annotated[
    float | None, Option("--temperature", metavar="T", help="Draw tokens; 0 takes the best.")
]
TopK = Annotated[int | None, Option("--top-k", metavar="N", help="Draw among the N best tokens.")]
TopP = Annotated[
    float | None, Option("--top-p", metavar="P", help="Draw among tokens that make up P.")
]
Overrides = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="A decode setting, as decode.top_k=40."),
]
ONE_LINE = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


def infill(
    texts: Annotated[
        list[str] | None,
        Argument(metavar="TEXT", help="Text with [MASK]; without one, lines or JSONL of stdin."),
    ] = None,
    model: options.Model = None,  # the default model of the package
    choices: Choices = None,
    num_beams: NumBeams = None,
    length_penalty: LengthPenalty = None,
    n_best: NBest = None,
    no_repeat_ngram: NoRepeatNgram = None,
    min_new_tokens: MinNewTokens = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Annotated[int | None, Option("--seed", metavar="N", help="Of every random draw.")] = None,
    overrides: Overrides = None,
    streams: Annotated[
        bool, Option("--stream", help="Print tokens as they are chosen, one text at a time.")
    ] = False,
    explains: Annotated[
        bool, Option("--explain", help="Show what is fed at which position, and what follows.")
    ] = False,
    batch_size: Annotated[
        int, Option("--batch-size", min=1, metavar="N", help="Lines filled together.")
    ] = 16,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Fill every blank ([MASK], [sMASK], [gMASK]) of each TEXT, or of each line of stdin."""
    if streams and explains:
        raise UsageError("--stream", "prints tokens and nothing else; leave out --explain")
    from glmctl.stages import infill as stage  # torch loads here, never for --help

    flags = {
        "num_beams": num_beams,
        "length_penalty": length_penalty,
        "n_best": n_best,
        "no_repeat_ngram": no_repeat_ngram,
        "min_new_tokens": min_new_tokens,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    config = stage.decode_config(flags, overrides or ())
    words = None if choices is None else [word.strip() for word in choices.split(",")]
    windows = stage.windows_of(texts, batch_size)
    if streams:
        tokens = stage.stream(windows, model=model, device=device, config=config, choices=words)
        has_errors = show_stream(tokens, as_json=as_json)
    else:
        results = stage.run(
            windows,
            model=model,
            device=device,
            config=config,
            choices=words,
            batch_size=batch_size,
            explains=explains,
        )
        has_errors = show_results(results, as_json=as_json, num_lines=config.n_best)
    if has_errors:
        raise Exit(1)


def show_results(results: Iterable[LineResult], *, as_json: bool, num_lines: int) -> bool:
    """Print results as they come; gives whether one is an error."""
    has_errors = False
    for result in results:
        has_errors |= result.error is not None
        if result.warning is not None:
            render.warn(f"line {result.line}: {result.warning}")
        if as_json:
            emit_result(result)
        elif result.filled is None:
            render.complain(f"line {result.line}: {result.error}")
            render.say("\n" * (num_lines - 1))  # as many lines as a good one has
        elif num_lines > 1:
            lines = [f"{v.score:.4f}\t{v.text.translate(ONE_LINE)}" for v in result.variants]
            render.say("\n".join(lines) + "\n" * (num_lines - len(lines)))
        else:
            render.say(result.filled.text.translate(ONE_LINE))
        if result.explanation is not None and not as_json:
            show_explanation(result.explanation)
        render.flush()
    return has_errors


def show_stream(tokens: Iterable[LineResult | LineToken], *, as_json: bool) -> bool:
    """Print tokens as they are chosen; gives whether a line is an error."""
    from glmctl.stages.infill import LineToken

    has_errors = False
    for item in tokens:
        if isinstance(item, LineToken):
            if as_json:
                render.emit("InfillingToken", {"line": item.line, **asdict(item.token)})
            else:
                render.say(item.token.text.translate(ONE_LINE), end="")
        else:
            has_errors |= item.error is not None
            if item.warning is not None:
                render.warn(f"line {item.line}: {item.warning}")
            if as_json:
                emit_result(item)
            else:
                if item.error is not None:
                    render.complain(f"line {item.line}: {item.error}")
                render.say("")
        render.flush()
    return has_errors


def emit_result(result: LineResult) -> None:
    """Print the record of one line."""
    record: dict[str, Any] = {"line": result.line}
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
