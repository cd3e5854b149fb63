"""Tasks with the files that hold their rows: on this machine, or fetched from the hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmctl.core.checkpoint.durable import digest_all
from glmctl.core.data.shards import digest_of
from glmctl.core.tasks.find import Suite, home, parts_at, places_of
from glmctl.core.tasks.hub import fetched
from glmctl.core.tasks.schema import SubmissionConfig, TaskConfig
from glmctl.errors import InputError, UsageError


@dataclass(frozen=True)
class Request:
    """A task, and the files that hold it."""

    task: TaskConfig
    split: str
    place: Path
    files: Mapping[str, Path]
    """By the part that each one holds."""
    shots: Mapping[str, Path] | None
    """Those with worked examples, by part."""

    @property
    def submission(self) -> SubmissionConfig | None:
        """How predictions are sent in, where the file has no labels."""
        return self.task.submission if self.split == "test" else None

    def digest(self) -> str:
        """One digest of all that is read."""
        files = [*self.files.values(), *(self.shots or {}).values()]
        if len(files) == 1:
            return digest_of(files[0])
        return digest_all({f"{file.parent.name}/{file.name}": digest_of(file) for file in files})


def locate(
    suite: Suite, tasks: Sequence[TaskConfig], split: str | None, data: Path | None
) -> list[Request]:
    """The file of each task.

    Raises:
        UsageError: a task has no such split.
        InputError: naming every file that is missing, and where to get it.
        MachineError: it is neither here nor to be fetched.
    """
    requests, problems = [], []
    if data is not None and data.is_file() and len(tasks) > 1:
        names = ", ".join(task.name for task in suite.tasks)
        raise UsageError("--data", f"is one file, for one task; name that task: {names}")
    unknown = [
        f"{task.name} has {', '.join(task.files)}, not {split}"
        for task in tasks
        if split is not None and task.files and split not in task.files
    ]
    if unknown:
        raise UsageError("--split", *unknown)
    remedy = f"get {suite.get}, unpack it and name" if suite.get else "name"
    remedy += " its folder with --data DIR" if suite.root is None else " it with --data FILE"
    for task in tasks:
        shots = None
        wanted = split or task.scored_on
        places = [*places_of(suite, task, wanted, data, is_single=len(tasks) == 1)]
        place, files = first_found(places, task.files.get(wanted, ""))
        if not files and (hub := task.hub) is not None and data is None:
            # Nobody has seen the rows of the hub here; they are written as JSON Lines.
            as_fetched = {"format": None, "columns": (), "status": "unverified"}
            task = task.model_copy(update=as_fetched)
            files = fetched(task, hub, wanted, home() / "hub", remedy)
            place = next(iter(files.values()))
            place = place.parent if len(files) > 1 else place
            if task.num_shots:
                shots = fetched(task, hub, task.shots_from, home() / "hub", remedy)
        elif task.num_shots:
            is_folder = len(tasks) == 1 and data is not None and data.is_dir()
            sources = [*places_of(suite, task, task.shots_from, data, is_single=is_folder)]
            _, shots = first_found(sources, task.files[task.shots_from])
            if files and not shots:
                missing = " and no ".join(map(str, sources))
                problems.append(f"{task.name}: for its worked examples, no {missing}")
        if files and shots != {}:
            requests.append(Request(task, wanted, place, files, shots))
        elif not files:
            problems.append(f"{task.name}: no {' and no '.join(map(str, places)) or 'file'}")
    if problems:
        there = ",".join(request.task.name for request in requests)
        remedy += f"; or evaluate what is there: --tasks {there}" if there else ""
        raise InputError(str(data or "data"), *problems, remedy)
    return requests


def first_found(places: Sequence[Path], named: str) -> tuple[Path, dict[str, Path]]:
    """The first place that has files of a task, and those; without any the first place."""
    found = [(place, files) for place in places if (files := parts_at(place, named))]
    return found[0] if found else (places[0] if places else Path(named), {})
