"""Text to token shards, in parallel; the same command continues what was interrupted.

The sources are cut into units by size alone, so the shards do not depend on the number of
processes. A shard counts when its record is there, which is renamed into place last; the manifest
comes when all do.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from glmctl.core.data.documents import Part, Source, open_sources
from glmctl.core.data.shards import FORMAT, INDEX_DTYPE, MANIFEST, TokenStore, read_manifest
from glmctl.core.data.text import NUM_NAMED, BrokenRow, BrokenRows
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.schema import CorpusConfig, OnError, TokenizerConfig

PLAN = "plan.json"
UNITS = 64
"""How many units a corpus is cut into, within the two bounds below."""
MIN_UNIT_BYTES = 4 << 20
MAX_UNIT_BYTES = 256 << 20

Unit = tuple[Part, ...]


@dataclass(frozen=True)
class SourceRecord:
    """What the shards were made from."""

    file: str
    column: str
    num_bytes: int
    digest: str


@dataclass(frozen=True)
class ShardPlan:
    """Which text becomes which shard."""

    tokenizer: Tokenizer
    folder: Path | None
    """Where the path of the tokenizer section starts."""
    sources: tuple[SourceRecord, ...]
    units: tuple[Unit, ...]
    on_error: OnError
    """What a row without a text does."""

    @property
    def num_bytes(self) -> int:
        return sum(source.num_bytes for source in self.sources)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.tokenizer.size <= 1 << 16 else "<u4")

    def job(self, out: Path, number: int) -> Job:
        return Job(self.units[number], self.dtype, self.on_error, out, f"shard-{number:05d}")


@dataclass(frozen=True)
class Job:
    """A shard to write."""

    unit: Unit
    dtype: np.dtype[Any]
    on_error: OnError
    out: Path
    name: str


@dataclass(frozen=True)
class ShardRecord:
    """A shard that is whole."""

    file: str
    index: str
    num_tokens: int
    num_documents: int
    num_empty: int
    digest: str
    index_digest: str
    num_broken: int
    first_broken: list[dict[str, Any]]
    """The first few `BrokenRow`."""


def plan_shards(
    corpora: Sequence[CorpusConfig],
    config: TokenizerConfig,
    folder: Path | None = None,
    *,
    on_error: OnError = "stop",
) -> ShardPlan:
    """Read what there is and cut it into units.

    Args:
        corpora: the text; names and weights do not matter here.
        config: the tokenizer.
        folder: where the path of the tokenizer section starts.
        on_error: what a row without a text does.

    Raises:
        InputError: a source or the tokenizer is not what it should be.
        MachineError: a source must be fetched and the network is not allowed.
    """
    records, sources = [], []
    for corpus in corpora:
        for source in open_sources([corpus]):
            records.append(
                SourceRecord(source.name, corpus.column, source.num_bytes, source.digest())
            )
            sources.append(source)
    units = tuple(cut_into_units(sources))
    return ShardPlan(load_tokenizer(config, folder), folder, tuple(records), units, on_error)


def cut_into_units(sources: Sequence[Source]) -> Iterator[Unit]:
    """Group small sources and cut large ones, by size."""
    total = sum(source.cost for source in sources)
    target = min(max(total // UNITS, MIN_UNIT_BYTES), MAX_UNIT_BYTES)
    unit: list[Part] = []
    room = target
    for source in sources:
        for part in source.parts(target):
            unit.append(part)
            room -= part.cost
            if room <= 0:
                yield tuple(unit)
                unit, room = [], target
    if unit:
        yield tuple(unit)


def write_shards(
    plan: ShardPlan, out: Path, processes: int, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Write the shards of a plan, or what is missing of them.

    Args:
        plan: what to write.
        out: folder of the shards; new, empty, or left by the same plan.
        processes: how many work at once; the shards are the same for any number.
        advance: told how many more bytes of the sources are done.

    Returns:
        The manifest.

    Raises:
        InputError: a line of the text is invalid, there is no document, or the shards are there
            and damaged.
        UsageError: the folder holds something else.
        MachineError: a process died.
    """
    out.mkdir(parents=True, exist_ok=True)
    if is_done(plan, out):
        advance(plan.num_bytes)
        return read_manifest(out)
    records: list[ShardRecord] = []
    for number, record in enumerate(make_records(plan, out, processes)):
        records.append(record)
        advance(sum(part.num_bytes for part in plan.units[number]))
    manifest = make_manifest(plan, records)
    if not manifest["num_documents"]:
        clean(out, records, everything=True)
        raise no_document(plan, manifest)
    publish(out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    clean(out, records, everything=False)
    warn_of(manifest["num_broken"], manifest["broken"])
    return manifest


def warn_of(num_broken: int, named: Sequence[str]) -> None:
    """Say which rows were left out, so that nothing is lost in silence."""
    if num_broken:
        more = "; ..." if num_broken > len(named) else ""
        rows = "row" if num_broken == 1 else "rows"
        warnings.warn(
            f"{num_broken:,} broken {rows} left out: {'; '.join(named)}{more}", stacklevel=3
        )


def no_document(plan: ShardPlan, manifest: Mapping[str, Any]) -> InputError:
    """The error for a corpus in which there is nothing to read."""
    names = [source.file for source in plan.sources]
    place = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if manifest["num_broken"]:
        return InputError(
            place, f"no document in it: all rows are broken, first {manifest['broken'][0]}"
        )
    return InputError(place, "no document in it: every row is empty; name other text")


def is_done(plan: ShardPlan, out: Path) -> bool:
    """Whether the folder holds the shards of this plan already; else note there what is made.

    Raises:
        InputError: it does, and they are damaged.
        UsageError: it holds something else.
    """
    asked = {
        "format": FORMAT,
        "tokenizer": plan.tokenizer.fingerprint,
        "sources": [asdict(source) for source in plan.sources],
    }
    for name in (MANIFEST, PLAN):
        if (out / name).is_file():
            is_whole = name == MANIFEST
            there = read_manifest(out) if is_whole else json.loads((out / name).read_bytes())
            if {key: there.get(key) for key in asked} == asked:
                if is_whole:
                    TokenStore.open(out).verify()
                    refuse_broken(plan, out, there)
                return is_whole
            if is_whole or not is_outdated(there, asked):
                raise UsageError(
                    str(out), "holds shards of another text or tokenizer; name another folder"
                )
            for file in (*out.glob("shard-*"), out / PLAN):
                file.unlink()
    if any(out.iterdir()):
        raise UsageError(str(out), "is not empty; name another folder")
    publish(out / PLAN, json.dumps(asked, ensure_ascii=False).encode())
    return False


def refuse_broken(plan: ShardPlan, out: Path, manifest: Mapping[str, Any]) -> None:
    """Shards that lack broken rows are not what a plan that stops at them asks for.

    Raises:
        InputError: they do.
    """
    if plan.on_error == "stop" and manifest["num_broken"]:
        raise InputError(
            str(out),
            f"lacks {manifest['num_broken']} broken rows of the text, first "
            f"{manifest['broken'][0]}; allow that with --on-error skip, or correct them and name "
            "another folder",
        )


def is_outdated(unfinished: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether shards were begun of files that have changed since, so that none can be finished."""
    before, now = ([source["file"] for source in each["sources"]] for each in (unfinished, asked))
    return before == now and unfinished["tokenizer"] == asked["tokenizer"]


def make_records(plan: ShardPlan, out: Path, processes: int) -> Iterator[ShardRecord]:
    """The shards, in order, made now or found whole."""
    found = {number: read_record(plan, out, number) for number in range(len(plan.units))}
    missing = [number for number, record in found.items() if record is None]
    if processes == 1 or len(missing) <= 1:
        for number, record in found.items():
            yield record or write_shard(plan.tokenizer, plan.job(out, number))
        return
    pool = ProcessPoolExecutor(
        min(processes, len(missing)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(plan.tokenizer.config, plan.folder),
    )
    try:
        made = {number: pool.submit(work, plan.job(out, number)) for number in missing}
        for number, record in found.items():
            yield record or made[number].result()
    except BrokenProcessPool as problem:
        raise MachineError(
            "--processes",
            f"one of {processes} processes died, often for lack of memory; "
            "use fewer: the same command continues",
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


class Worker:
    """The tokenizer of a worker process."""

    tokenizer: Tokenizer


def start_worker(config: TokenizerConfig, folder: Path | None) -> None:
    """Prepare a worker process; it ends with its parent and does not start threads of its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    Worker.tokenizer = load_tokenizer(config, folder)


def end_with_parent() -> None:
    """A parent that is killed takes its workers along; they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def work(job: Job) -> ShardRecord:
    return write_shard(Worker.tokenizer, job)


def write_shard(tokenizer: Tokenizer, job: Job) -> ShardRecord:
    """Encode the documents of a unit into a shard, a batch at a time."""
    name, out = job.name, job.out
    lengths: list[int] = []
    num_empty = 0
    broken = BrokenRows(job.on_error)
    digest = xxhash.xxh3_128()
    scratch = out / f"{name}.tokens.partial"
    with naming(scratch), scratch.open("wb") as stream:
        for part in job.unit:
            for texts in part.read(broken):
                rows = tokenizer.encode_batch([text for text in texts if text], special=False)
                rows = [row for row in rows if len(row)]
                num_empty += len(texts) - len(rows)
                if rows:
                    lengths += map(len, rows)
                    data = np.concatenate(rows).astype(job.dtype).tobytes()
                    digest.update(data)
                    stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, out / f"{name}.tokens")
    index = np.cumsum(lengths, dtype=INDEX_DTYPE).tobytes()
    publish(out / f"{name}.index", index)
    record = ShardRecord(
        file=f"{name}.tokens",
        index=f"{name}.index",
        num_tokens=sum(lengths),
        num_documents=len(lengths),
        num_empty=num_empty,
        digest=digest.hexdigest(),
        index_digest=xxhash.xxh3_128_hexdigest(index),
        num_broken=broken.count,
        first_broken=[asdict(row) for row in broken.first],
    )
    publish(out / f"{name}.json", json.dumps(asdict(record)).encode())
    return record


def read_record(plan: ShardPlan, out: Path, number: int) -> ShardRecord | None:
    """The record of a shard that an earlier run made whole; None for one that must be made."""
    file = out / f"shard-{number:05d}.json"
    if not file.is_file():
        return None
    record = ShardRecord(**json.loads(file.read_bytes()))
    if record.num_broken and plan.on_error == "stop":
        return None  # made when they were to be skipped
    sizes = (record.num_tokens * plan.dtype.itemsize, record.num_documents * INDEX_DTYPE.itemsize)
    places = (out / record.file, out / record.index)
    is_whole = all(
        place.is_file() and place.stat().st_size == size
        for place, size in zip(places, sizes, strict=True)
    )
    return record if is_whole else None


def make_manifest(plan: ShardPlan, records: Sequence[ShardRecord]) -> dict[str, Any]:
    """What a reader needs to know; shards without a document are left out."""
    broken = [BrokenRow(**row) for record in records for row in record.first_broken][:NUM_NAMED]
    shards = [asdict(record) for record in records if record.num_documents]
    for shard in shards:
        del shard["first_broken"]
    return {
        "format": FORMAT,
        "tokenizer": plan.tokenizer.fingerprint,
        "tokenizer_section": plan.tokenizer.config.model_dump(),
        "dtype": plan.dtype.str,
        "num_documents": sum(record.num_documents for record in records),
        "num_tokens": sum(record.num_tokens for record in records),
        "num_empty": sum(record.num_empty for record in records),
        "num_broken": sum(record.num_broken for record in records),
        "broken": [": ".join(row.describe()) for row in broken],
        "shards": shards,
        "sources": [asdict(source) for source in plan.sources],
    }


def clean(out: Path, records: Sequence[ShardRecord], *, everything: bool) -> None:
    """Remove what only an unfinished folder needs."""
    for number, record in enumerate(records):
        (out / f"shard-{number:05d}.json").unlink()
        if everything or not record.num_documents:
            (out / record.file).unlink()
            (out / record.index).unlink()
    (out / PLAN).unlink()


def publish(file: Path, data: bytes) -> None:
    """Write a file so that it is whole or absent."""
    scratch = file.with_name(f"{file.name}.partial")
    with naming(scratch), scratch.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(scratch, file)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """The system says of a failed write why, but not which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error
