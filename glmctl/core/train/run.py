"""The folder of a run: who may write to it, which recipe it belongs to, what it was made with.

The same command continues a run. A recipe that differs from the stored one is refused, except
for what changes no step that is done: more steps (a schedule without decay_steps then ends later),
the rhythm of logs, probes and saves, the trackers, the layout (dropout masks follow the micro
batch, so another one gives other masks), and words.
"""

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from glmctl import __version__
from glmctl.core.checkpoint import durable
from glmctl.errors import UsageError
from glmctl.recipe.keys import flatten
from glmctl.recipe.load import load_recipe, to_toml
from glmctl.recipe.schema import Recipe

FORMAT = 1
LOCK = ".lock"
FREE_KEYS = (
    "recipe.",
    "data.on_error",  # of no effect once the shards are made
    "published",
    "topology.",
    "track.",
    "train.log_every",
    "train.probe_every",
    "train.save_every",
    "train.keep",
)
DURATIONS = ("train.steps", "train.tokens", "train.epochs")
PACKAGES = ("torch", "numpy", "safetensors", "sentencepiece", "tokenizers", "pydantic")
REMEDY = "start over with --fresh --force, or choose another --run-dir"


class RunFolder:
    """Paths and the life cycle of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "recipe.toml"
        self.manifest = root / "manifest.json"
        self.metrics = root / "metrics.jsonl"
        self.checkpoints = root / "checkpoints"
        self.data = root / "data"
        self.model = root / "model"
        self.adapter = root / "adapter"
        self.logs = root / "logs"  # of replicas, while they run
        self.tracks = (root / "tensorboard", root / "wandb")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    str(self.root),
                    "another process is training here; wait for it, or choose another --run-dir",
                ) from error
            yield

    def settle(self, recipe: Recipe, *, fresh: bool, force: bool) -> None:
        """Make the folder ready for the recipe: begin, continue, or start over."""
        if force and not fresh:
            raise UsageError("--force", "lets --fresh delete a run; it does nothing without it")
        if not self.recipe.exists():
            self._refuse_other_files()
        elif not fresh:
            self._refuse_other_recipe(recipe)
        elif force:
            self._delete()
        else:
            raise UsageError(
                str(self.root), "--fresh would delete the run that is here; add --force to do so"
            )
        durable.sweep(self.root)
        durable.sweep(self.checkpoints)
        replace_text(self.recipe, to_toml(recipe))

    def _refuse_other_files(self) -> None:
        own = (LOCK, durable.SCRATCH_SUFFIX)
        others = sorted(path.name for path in self.root.iterdir() if not path.name.endswith(own))
        if others:
            raise UsageError(
                str(self.root),
                f"holds {', '.join(others[:3])} but no run; choose another --run-dir",
            )

    def _refuse_other_recipe(self, recipe: Recipe) -> None:
        changes = [*changed_keys(load_recipe(str(self.recipe)), recipe)]
        if changes and not self.manifest.exists():  # it failed before it began
            shutil.rmtree(self.data, ignore_errors=True)
        elif changes:
            raise UsageError(str(self.root), "holds a run of another recipe", *changes, REMEDY)

    def _delete(self) -> None:
        """Remove the run, its recipe last, so that a kill leaves something that is still a run."""
        for path in (self.model, self.adapter, self.checkpoints, self.data, *self.tracks):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.metrics, self.manifest, self.recipe):
            path.unlink(missing_ok=True)

    def read_manifest(self) -> dict[str, Any]:
        """What is known about the run; empty before it has begun."""
        if not self.manifest.exists():
            return {}
        return durable.read_json(self.manifest, REMEDY)

    def write_manifest(self, values: Mapping[str, Any]) -> None:
        replace_text(self.manifest, durable.to_json(values))


def changed_keys(stored: Recipe, given: Recipe) -> Iterator[str]:
    """The differences that would make the rest of the run another experiment."""
    old, new = (flatten(numbered(it.model_dump(mode="json"))) for it in (stored, given))
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after or key.startswith(FREE_KEYS):
            continue
        if key in DURATIONS and before is not None and after is not None and after > before:
            continue
        if key == "train.micro_batch_size" and given.objective.draw_mode == "sample":
            continue
        yield f"{key}: {before} in the run, {after} in the recipe"


def numbered(value: Any) -> Any:
    """Lists of tables as tables by number, so that what differs in one of them can be said."""
    if isinstance(value, list) and value and all(isinstance(it, dict) for it in value):
        value = dict(enumerate(value))
    return {k: numbered(it) for k, it in value.items()} if isinstance(value, dict) else value


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one."""
    scratch = path.with_name(path.name + durable.SCRATCH_SUFFIX)
    scratch.write_text(text, encoding="utf-8")
    durable.sync(scratch)
    scratch.replace(path)
    durable.sync(path.parent)


def describe_run(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What a run is made with: versions, commit, hardware and layout."""
    is_cuda = device.type == "cuda"
    return {
        "format": FORMAT,
        "glmctl": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "hardware": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if is_cuda else "cpu",
        },
        "topology": recipe.topology.model_dump(mode="json", exclude={"profiles"}),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """The commit of a checkout of glmctl; None for an installed package."""
    source = Path(__file__).parents[3]
    if not (source / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(source), "rev-parse", "--verify", "--quiet", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
