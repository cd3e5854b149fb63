"""The command `glmctl infill`."""

from dataclasses import asdict
from typing import Annotated

from typer import Argument, Exit, Option

from glmctl.cli import options, render


def infill(
    texts: Annotated[
        list[str] | None, Argument(metavar="TEXT", help="Text with [MASK]; stdin without one.")
    ] = None,
    model: options.Model = None,  # the default model of the package
    choices: Annotated[
        str | None, Option("--choices", metavar="A,B", help="Fill with the best of these.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, Option("--max-new-tokens", metavar="N", help="Most tokens of one blank.")
    ] = None,
    temperature: Annotated[
        float | None, Option("--temperature", metavar="T", help="Draw tokens; 0 takes the best.")
    ] = None,
    top_k: Annotated[
        int | None, Option("--top-k", metavar="N", help="Draw among the N best tokens.")
    ] = None,
    top_p: Annotated[
        float | None, Option("--top-p", metavar="P", help="Draw among tokens that make up P.")
    ] = None,
    seed: Annotated[int | None, Option("--seed", metavar="N", help="Of every random draw.")] = None,
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A decode setting, as decode.top_k=40."),
    ] = None,
    batch_size: Annotated[
        int, Option("--batch-size", min=1, metavar="N", help="Lines filled together.")
    ] = 16,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Fill every blank ([MASK], [sMASK], [gMASK]) of each TEXT, or of each line of stdin."""
    from glmctl.stages import infill as stage  # torch loads here, never for --help

    flags = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    results = stage.run(
        stage.batches_of(texts, batch_size),
        model=model,
        device=device,
        config=stage.decode_config(flags, overrides or ()),
        choices=None if choices is None else [word.strip() for word in choices.split(",")],
    )
    has_errors = False
    for result in results:
        has_errors |= result.error is not None
        if as_json:
            record = {"error": result.error} if result.filled is None else asdict(result.filled)
            render.emit("Infilling", {"line": result.line, **record})
        elif result.filled is None:
            render.complain(f"line {result.line}: {result.error}")
            render.say("")
        else:
            render.say(" ".join(result.filled.text.splitlines()))  # one line in, one line out
        render.flush()
    if has_errors:
        raise Exit(1)
