"""The command `glmctl pull`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from glmctl.cli import options, render

Name = Annotated[str, Argument(metavar="NAME", help="ORG/NAME or ORG/NAME@REVISION of the hub.")]
Out = Annotated[Path | None, Option("--out", metavar="DIR", help="Put a copy there.")]
Offline = Annotated[bool, Option("--offline", help="Use only what is on this machine.")]


def pull(
    name: Name, out: Out = None, offline: Offline = False, as_json: options.Json = False
) -> None:
    """Fetch a model of the hub, prove every file, and say where it lies and its licence."""
    from glmctl.stages import pull as stage

    result = stage.run(name, out=out, offline=offline)
    if result.license is None:
        render.warn(f"{result.source} states no licence; ask its authors before you use it")
    render.show(result, as_json=as_json)
