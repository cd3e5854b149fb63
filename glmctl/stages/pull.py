"""Fetching a model of the hub, and copying it where it is wanted."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from glmctl.core.checkpoint import durable, hub
from glmctl.errors import UsageError


@dataclass(frozen=True)
class PullResult:
    """What was fetched, each file of it with the digest that the hub states."""

    source: str
    commit: str
    license: str | None
    num_files: int
    model_bytes: int
    place: str


def run(name: str, *, out: Path | None, offline: bool) -> PullResult:
    """Fetch a model and prove every file of it; a copy in `out` has its source recorded beside."""
    if out is not None and out.exists() and hub.read_record(out) is None and any(out.iterdir()):
        raise UsageError(str(out), "holds files that no pull put there; name another folder")
    place = hub.fetch(name, offline=offline, proves=True)
    record = hub.read_record(place)
    assert record is not None
    files = [*record["digests"]]
    if out is not None:
        with durable.publish(out) as scratch:
            for file in [*files, hub.RECORD_FILE]:
                shutil.copyfile(place / file, scratch / file)
        place = out
    return PullResult(
        source=record["source"],
        commit=record["commit"],
        license=record["license"],
        num_files=len(files),
        model_bytes=sum((place / file).stat().st_size for file in files),
        place=str(place),
    )
