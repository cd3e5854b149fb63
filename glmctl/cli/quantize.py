"""The command `glmctl quantize`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Exit, Option

from glmctl.cli import options, render

if TYPE_CHECKING:
    from glmctl.stages.quantize import QuantizeResult


def quantize(
    context: Context,
    source: Annotated[
        str, Argument(metavar="RECIPE|CKPT", help="A recipe with [quantize], or a model.")
    ],
    out: Annotated[Path, Option(metavar="DIR", help="The model folder to write.")],
    method: Annotated[
        str | None, Option(metavar="absmax", help="Rule of the integers; absmax unless given.")
    ] = None,
    bits: Annotated[int | None, Option(metavar="8|4", help="Of a weight; 8 unless given.")] = None,
    max_loss: Annotated[
        float | None,
        Option(metavar="X", help="Write nothing if perplexity rises by more than this share."),
    ] = None,
    calibration: Annotated[
        str | None,
        Option(metavar="FILE", help="Text to measure on; the held-out demo text unless given."),
    ] = None,
    overrides: options.Set = None,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Quantize the linears of a model, and say what that costs in perplexity and exact match."""
    from glmctl.stages import quantize as stage  # torch loads here, never for --help

    keys = ("method", "bits", "max_loss", "calibration")
    config = stage.settings(source, {key: context.params[key] for key in keys}, overrides or ())
    result = stage.run(config, out=out, device=device, note=render.note)
    if as_json:
        render.emit("QuantizeResult", asdict(result))
    else:
        show(result)
    if result.out is None:
        render.complain(
            f"perplexity rose by {result.perplexity_rise_share:.4f}, more than --max-loss "
            f"{config.max_loss:g}; nothing was written; use more bits, or allow more"
        )
        raise Exit(1)


def show(result: QuantizeResult) -> None:
    """Print the tables of bytes, of errors, and of what was measured."""
    rows = [
        (
            part.name,
            f"{part.stored_bytes:,}",
            f"{part.quantized_bytes:,}",
            f"{part.float16_ratio:.3f}",
        )
        for part in result.parts
    ]
    render.table(("weights", "bytes before", "bytes after", "after / float16"), rows)
    render.say("")
    errors = [(f"{number}", f"{error:.4f}") for number, error in enumerate(result.layer_errors)]
    render.table(("layer", "error"), errors)
    if result.before is not None and result.after is not None:
        before, after = result.before, result.after
        shares = (f"{100 * quality.exact_match_share:.1f} %" for quality in (before, after))
        render.say("")
        render.table(
            (f"{before.num_blanks:,} {result.measured} of {result.calibration}", "before", "after"),
            [
                ("perplexity", f"{before.perplexity:.4f}", f"{after.perplexity:.4f}"),
                ("exact match", *shares),
            ],
        )
    if result.out is not None:
        render.note(f"wrote {result.out}")
