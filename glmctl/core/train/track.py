"""The records of a run, sent on to TensorBoard and to Weights & Biases.

Steps that a resumed run does again are shown once: TensorBoard hides what was written after the
checkpoint, and wandb, which goes on with the run of the same id, keeps the first value of a step
(the second is the same).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from glmctl.core.tokenizer.load import is_offline
from glmctl.core.train.metrics import numbers_of
from glmctl.errors import MachineError
from glmctl.recipe.schema import Recipe, TrackConfig, WandbConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker:
    """Takes the records of the loop; without a writer and a wandb run it does nothing."""

    def __init__(self, writer: SummaryWriter | None = None, run: Any = None) -> None:
        self.writer = writer
        self.run = run

    def log(self, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record on, grouped by the first word of their names."""
        scalars = {f"{key.partition('_')[0]}/{key}": value for key, value in numbers_of(record)}
        if self.writer is not None:
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, record["step"])
        if self.run is not None:
            self.run.log(scalars, step=record["step"])

    def flush(self) -> None:
        """Write down what is buffered: a checkpoint must not know more steps than the files."""
        if self.writer is not None:
            self.writer.flush()


@contextmanager
def tracking(recipe: Recipe, root: Path, step: int, *, is_first: bool) -> Iterator[Tracker]:
    """Give the tracker that `[track]` asks for, after `step` steps, and close it at the end.

    The first replica sends, the others keep silent.
    """
    tracker = Tracker()
    with ExitStack() as stack:
        if is_first and recipe.track.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(root / "tensorboard"), purge_step=step + 1)
            tracker.writer = stack.enter_context(writer)
        if is_first and recipe.track.wandb is not None:
            run = tracker.run = begin_wandb(recipe.track.wandb, recipe, root)
            stack.push(lambda kind, *_: run.finish(exit_code=int(kind is not None)))
        yield tracker


def begin_wandb(config: WandbConfig, recipe: Recipe, root: Path) -> Any:
    """Begin the wandb run of a run folder, or go on with it."""
    import wandb

    id_file = root / "wandb" / "run-id"
    if not id_file.exists():
        id_file.parent.mkdir(exist_ok=True)
        id_file.write_text(uuid4().hex, encoding="ascii")
    try:
        return wandb.init(
            project=config.project,
            entity=config.entity,
            mode="offline" if is_offline() else config.mode,
            id=id_file.read_text(encoding="ascii"),
            resume="allow",
            name=root.name,
            dir=str(root),
            config=recipe.model_dump(mode="json", by_alias=True),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        raise MachineError(
            "track.wandb",
            f"could not begin: {error}; run `wandb login`, or set track.wandb.mode = 'offline' "
            "and send the run later with `wandb sync`",
        ) from error


def require_packages(config: TrackConfig) -> None:
    """Look for the packages before anything is built."""
    asked = {"tensorboard": config.tensorboard, "wandb": config.wandb is not None}
    remedies = {"tensorboard": "'glmctl[track]'", "wandb": "wandb, or leave track.wandb out"}
    missing = [name for name in asked if asked[name] and find_spec(name) is None]
    if missing:
        problems = [f"{name}: is not installed; pip install {remedies[name]}" for name in missing]
        raise MachineError("track", *problems)
