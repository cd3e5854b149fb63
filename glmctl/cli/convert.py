"""The command `glmctl convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from glmctl.cli import options, render


def convert(
    source: Annotated[str, Argument(metavar="SRC", help="A model in any format.")],
    out: Annotated[Path, Argument(metavar="DST", help="The folder to write; absent or empty.")],
    to: Annotated[
        Literal["glmctl", "original", "hub-glm", "transformers"],
        Option(help="The format; transformers: glm or glm4, which loads without remote code."),
    ] = "glmctl",
    model_parallel: Annotated[
        int | None, Option(min=1, metavar="N", help="Shards of --to original; 1 unless given.")
    ] = None,
    model_config: Annotated[
        str | None,
        Option(metavar="FILE", help="A recipe or config.json, where SRC holds no sizes."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a model in another format, unless a layer of it computes anything else."""
    from glmctl.stages import convert as stage  # torch loads here, never for --help

    result = stage.run(
        source,
        out,
        to=to,
        model_parallel=model_parallel,
        model_config=model_config,
        note=render.note,
    )
    render.show(result, as_json=as_json)
