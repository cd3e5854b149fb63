"""Data sets of the hub, through `datasets`, kept as files that a task reads like any other."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmctl.core.checkpoint.durable import SCRATCH_SUFFIX
from glmctl.core.checkpoint.hub import TIMEOUT_SECONDS, open_hub
from glmctl.core.data.documents import fetch_dataset
from glmctl.core.tasks.schema import PART, HubConfig, TaskConfig
from glmctl.core.tokenizer.load import is_offline, not_here
from glmctl.errors import InputError

ALL = "*"


def fetched(
    task: TaskConfig, hub: HubConfig, split: str, root: Path, remedy: str
) -> dict[str, Path]:
    """The files of a split by the part that each one holds, fetched unless they are here.

    Args:
        task: that reads them.
        hub: where they are.
        split: as the task calls it.
        root: folder for what is fetched.
        remedy: what else can be done, for those who have no hub.

    Raises:
        InputError: there is no such data set, split or column.
        MachineError: it is not here and the hub cannot be asked.
    """
    wanted = hub.splits.get(split, split)
    name = f"{task.name}: {hub.path} of the hub, {wanted}"
    place = root / hub.path.strip("/").replace("/", "--")
    otherwise = f"run this command where there is one and copy {place} from there; or {remedy}"
    commit = commit_of(hub, place, name, otherwise)
    whole = place / commit / (hub.config or "default").replace(ALL, "all") / wanted
    if not whole.is_dir():
        scratch = whole.with_name(wanted + SCRATCH_SUFFIX)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for config in configs_of(hub, commit, name, otherwise):
            table = fetch_dataset(hub.path, config, wanted, commit, name, otherwise)
            part = config if hub.config == ALL else None
            write_rows(scratch, table, task, hub, part)
        scratch.rename(whole)
    files = sorted(whole.glob("*.jsonl"))
    is_whole = [file.stem for file in files] == [wanted]
    return {"" if is_whole else file.stem: file for file in files}


def commit_of(hub: HubConfig, place: Path, name: str, otherwise: str) -> str:
    """The commit behind the revision when it was first asked for; it is kept, and in every result.

    Raises:
        InputError: there is no such data set.
        MachineError: it is not known here and the hub cannot be asked.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx

    if Path(hub.path).exists():
        return hub.revision
    kept = place / f"{hub.revision.replace('/', '--')}.commit"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    if is_offline():
        raise not_here(name, otherwise)
    try:
        found = open_hub().dataset_info(hub.path, revision=hub.revision, timeout=TIMEOUT_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(name, f"is not there; {otherwise}") from None
    except (httpx.HTTPError, OSError):
        raise not_here(name, otherwise) from None
    place.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(found.sha), encoding="utf-8")
    return str(found.sha)


def configs_of(
    hub: HubConfig, commit: str, name: str, otherwise: str
) -> list[str] | list[str | None]:
    """Those of the data set that make up the task."""
    if hub.config != ALL:
        return [hub.config]
    from datasets import get_dataset_config_names

    try:
        return [*get_dataset_config_names(hub.path, revision=commit)]
    except OSError:
        raise not_here(name, otherwise) from None


def write_rows(
    folder: Path, table: Any, task: TaskConfig, hub: HubConfig, part: str | None
) -> None:
    """Write a table as the files of its parts."""
    if missing := [name for name in hub.columns if name not in table.column_names]:
        there = ", ".join(table.column_names)
        raise InputError(
            hub.path, f"has no column {', '.join(missing)}; there are {there}; correct hub.columns"
        )
    texts: dict[str, list[str]] = {}
    for row in table:
        record = reshaped(row, hub)
        number = record.get(task.label)
        if hub.labels and isinstance(number, int) and number >= 0:
            record[task.label] = hub.labels[number]
        kept = part or str(record.pop(PART, "")) or folder.name.removesuffix(SCRATCH_SUFFIX)
        texts.setdefault(kept, []).append(json.dumps(record, ensure_ascii=False) + "\n")
    for name, lines in texts.items():
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def reshaped(row: Mapping[str, Any], hub: HubConfig) -> dict[str, Any]:
    """A row as the files of its authors have it."""
    record: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and value and all(isinstance(it, list) for it in value.values()):
            value = [dict(zip(value, it, strict=True)) for it in zip(*value.values(), strict=True)]
        names = hub.columns.get(name, name)
        one_each = zip(names, value, strict=True) if isinstance(names, tuple) else [(names, value)]
        for path, item in one_each:
            *above, last = path.split(".")
            inner = record
            for key in above:
                inner = inner.setdefault(key, {})
            inner[last] = item
    return record
