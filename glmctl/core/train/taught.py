"""What a fine-tuned model was taught: its task, and the rows that it has seen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmctl.core.tasks.schema import NO_PATTERN, TaskConfig
from glmctl.core.train.run import RunFolder
from glmctl.recipe.load import load_recipe

SEEN = {
    "train": "the model was trained on these very rows",
    "dev": "the best step of the model was chosen by these rows",
}


@dataclass(frozen=True)
class Taught:
    """What the run of a model says."""

    task: TaskConfig
    files: Mapping[str, str]
    """Digests of its files, by what they were for: train and dev."""

    def differences(self, task: TaskConfig) -> list[str]:
        """In what another task asks and answers otherwise, with both."""
        then, now = essence(self.task), essence(task)
        return [f"{key} {then[key]!r}, here {now[key]!r}" for key in now if then[key] != now[key]]

    def is_other(self, task: TaskConfig) -> bool:
        """Whether it only has the name of the one that was learned."""
        return task.name == self.task.name and bool(self.differences(task))

    def notes(self, task: TaskConfig, digest: str) -> Iterator[str]:
        """What must be known to read the score of the model on a file of a task."""
        if self.is_other(task):
            changes = "; ".join(self.differences(task))
            yield f"the model learned another task of this name, with {changes}"
        if use := next((name for name, it in self.files.items() if it == digest), None):
            yield f"{SEEN[use]}, so the score is too good for new ones; evaluate on others"


def taught(model: str) -> Taught | None:
    """What a model was fine-tuned for, as its run says; None where it is in no such run."""
    place = Path(model)
    for folder in (place, place.parent, place.parent.parent) if place.exists() else ():
        run = RunFolder(folder)
        is_run = run.recipe.is_file() and run.manifest.is_file()
        table = load_recipe(str(run.recipe)).task if is_run else None
        if table is not None:
            return Taught(TaskConfig.model_validate(table), run.read_manifest().get("files", {}))
    return None


def essence(task: TaskConfig) -> dict[str, Any]:
    """What is learned of a task, wherever its rows lie."""
    pattern = task.patterns[task.pattern] if task.patterns else NO_PATTERN
    return {
        "kind": task.kind,
        "pattern": "".join(part.removeprefix("~") for part in pattern.parts),
        "verbalizer": dict(task.words(pattern)),
        "labels": sorted(task.label_names),
        "choices": task.fixed_choices,
    }
