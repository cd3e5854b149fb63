"""Options that several commands share, declared once so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

RecipePath = Annotated[
    str,
    Argument(metavar="RECIPE", help="A recipe file, or the name of a built-in recipe."),
]
Set = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe, as train.steps=10."),
]
RunDir = Annotated[
    Path | None,
    Option("--run-dir", metavar="DIR", help="Where the run lives; runs/NAME unless given."),
]
Fresh = Annotated[bool, Option("--fresh", help="Start over instead of continuing the run.")]
Force = Annotated[bool, Option("--force", help="Let --fresh delete the run that is there.")]
DryRun = Annotated[bool, Option("--dry-run", help="Print the plan and stop.")]
Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
Device = Annotated[
    Literal["cpu", "cuda"] | None,
    Option("--device", help="Where to compute; cuda when there is one, unless given."),
]
Gpus = Annotated[
    int | None,
    Option("--gpus", min=1, metavar="N", help="One node of N GPUs; the global batch stays."),
]
Topology = Annotated[
    str | None,
    Option("--topology", metavar="NAME", help="Another layout that the recipe offers."),
]
Tokenizer = Annotated[
    str | None,
    Option("--tokenizer", metavar="NAME|FILE|DIR", help="The vocabulary to use."),
]
Seed = Annotated[int, Option("--seed", min=0, metavar="N", help="Of every random draw.")]
Model = Annotated[
    str | None,
    Option("--model", metavar="CKPT", help="A model or run folder, a checkpoint, or a name."),
]
