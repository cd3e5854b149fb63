"""The command `glmctl quantize`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Exit

from glmctl.cli import options, render
from glmctl.cli.options import value, word

if TYPE_CHECKING:
    from glmctl.stages.quantize import QuantizeResult


def quantize(
    context: Context,
    source: Annotated[str, word("RECIPE|CKPT", "A recipe with [quantize], or a model.")],
    out: Annotated[Path, value("DIR", "The model folder to write.")],
    method: Annotated[str | None, value("absmax", "Rule of the integers.")] = None,
    bits: Annotated[int | None, value("8|4", "Of a weight; 8 unless given.")] = None,
    max_loss: Annotated[
        float | None, value("X", "Write nothing if perplexity rises by more than this share.")
    ] = None,
    calibration: Annotated[
        str | None, value("FILE", "Text to measure on; the held-out demo text unless given.")
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
        (it.name, f"{it.stored_bytes:,}", f"{it.quantized_bytes:,}", f"{it.float16_ratio:.3f}")
        for it in result.parts
    ]
    render.table(("weights", "bytes before", "bytes after", "after / float16"), rows)
    render.say("")
    errors = [(f"{number}", f"{error:.4f}") for number, error in enumerate(result.layer_errors)]
    render.table(("layer", "error"), errors)
    if result.before is not None and result.after is not None:
        both = (result.before, result.after)
        text = f"{result.before.num_blanks:,} {result.measured} of {result.calibration}"
        measured = [
            ("perplexity", *(f"{it.perplexity:.4f}" for it in both)),
            ("exact match", *(f"{100 * it.exact_match_share:.1f} %" for it in both)),
        ]
        render.say("")
        render.table((text, "before", "after"), measured)
    if result.out is not None:
        render.note(f"wrote {result.out}")
