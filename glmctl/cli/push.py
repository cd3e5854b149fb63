"""The command `glmctl push`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from glmctl.cli import options, render

Folder = Annotated[Path, Argument(metavar="DIR", help="A model folder.")]
Name = Annotated[str, Argument(metavar="NAME", help="ORG/NAME on the hub; made when it is new.")]
Private = Annotated[bool, Option("--private", help="Let only you and your organization see it.")]
Revision = Annotated[str | None, Option("--revision", metavar="BRANCH", help="A branch.")]
Message = Annotated[str | None, Option("--message", metavar="TEXT", help="Of the commit.")]


def push(
    folder: Folder,
    name: Name,
    private: Private = False,
    revision: Revision = None,
    message: Message = None,
    as_json: options.Json = False,
) -> None:
    """Put a model folder on the hub, proved before, with a card made from its manifest."""
    from glmctl.stages import push as stage

    result = stage.run(folder, name, private=private, revision=revision, message=message)
    if result.license is None:
        render.warn(f"{folder} states no licence, so nobody may use the model")
    render.show(result, as_json=as_json)
