"""Data sets of the hub, through `datasets`, kept as files that a task reads like any other."""

from pathlib import Path

from glmctl.core.checkpoint.durable import SCRATCH_SUFFIX
from glmctl.core.data.documents import fetch_dataset
from glmctl.core.tasks.schema import HubConfig
from glmctl.errors import InputError


def fetched(hub: HubConfig, split: str, root: Path) -> Path:
    """The file of a split, fetched and written unless it is here.

    Args:
        hub: where it is.
        split: as the task calls it.
        root: folder for what is fetched.

    Raises:
        InputError: there is no such data set, split or column.
        MachineError: it is not here and the hub cannot be asked.
    """
    wanted = hub.splits.get(split, split)
    place = root / hub.path.strip("/").replace("/", "--") / hub.revision / (hub.config or "default")
    file = place / f"{wanted}.jsonl"
    if file.is_file():
        return file
    otherwise = "get its files and name them with --data"
    table = fetch_dataset(hub.path, hub.config, wanted, hub.revision, hub.path, otherwise)
    if missing := [name for name in hub.columns if name not in table.column_names]:
        there = ", ".join(table.column_names)
        raise InputError(
            hub.path, f"has no column {', '.join(missing)}; there are {there}; correct hub.columns"
        )
    place.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(file.name + SCRATCH_SUFFIX)
    table.rename_columns(dict(hub.columns)).to_json(scratch, force_ascii=False)
    scratch.replace(file)
    return file
