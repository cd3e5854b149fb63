"""Text to token shards, in parallel; the same command continues what was interrupted.

The sources are cut into units by size alone, so the shards do not depend on the number of
processes. A shard counts when its record is there, which is renamed into place last. The records
lie in a folder named after the plan; when all are there the manifest is made of them.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from glmctl.core.data.documents import Part, open_sources
from glmctl.core.data.shards import FORMAT, INDEX_DTYPE, MANIFEST, TokenStore, read_manifest
from glmctl.core.data.text import BrokenRow, BrokenRows
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.schema import CorpusConfig, OnError

UNFINISHED = "unfinished-"
UNITS = 64  # how many units a corpus is cut into, within the two bounds below
MIN_UNIT_BYTES = 4 << 20
MAX_UNIT_BYTES = 256 << 20

Record = dict[str, Any]


@dataclass(frozen=True)
class ShardPlan:
    """Which text becomes which shard."""

    tokenizer: Tokenizer
    sources: list[Part]
    on_error: OnError  # what a row without a text does

    @property
    def num_bytes(self) -> int:
        return sum(source.num_bytes for source in self.sources)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.tokenizer.size <= 1 << 16 else "<u4")

    @cached_property
    def units(self) -> list[list[Part]]:
        """What goes into each shard: small sources together, large ones in parts, by size."""
        total = sum(source.cost for source in self.sources)
        target = min(max(total // UNITS, MIN_UNIT_BYTES), MAX_UNIT_BYTES)
        units: list[list[Part]] = []
        room = 0
        for part in (part for source in self.sources for part in source.cut(target)):
            if room <= 0:
                units.append([])
                room = target
            units[-1].append(part)
            room -= part.cost
        return units

    @cached_property
    def made_of(self) -> Record:
        """What the manifest says of the text and of the tokenizer."""
        sources = [
            {
                "file": source.name,
                "column": source.column,
                "num_bytes": source.num_bytes,
                "digest": source.digest(),
            }
            for source in self.sources
        ]
        return {"format": FORMAT, "tokenizer": self.tokenizer.fingerprint, "sources": sources}

    @cached_property
    def records(self) -> str:
        """The folder of the records, named after all that decides what the shards hold."""
        cuts = [[(part.name, part.start, part.stop) for part in unit] for unit in self.units]
        return UNFINISHED + xxhash.xxh3_128_hexdigest(json.dumps([self.made_of, cuts]).encode())


def plan_shards(
    corpora: Sequence[CorpusConfig], tokenizer: Tokenizer, *, on_error: OnError = "stop"
) -> ShardPlan:
    """Look at what there is; the names and weights of the corpora do not matter here."""
    return ShardPlan(tokenizer, open_sources(corpora), on_error)


def write_shards(
    plan: ShardPlan, out: Path, processes: int, advance: Callable[[int], None]
) -> Record:
    """Write the shards of a plan, or what is missing of them, and give the manifest.

    Any number of processes makes the same shards. `advance` is told how many more bytes are done.
    """
    if (out / MANIFEST).is_file():
        manifest = found_manifest(plan, out)
        advance(plan.num_bytes)
        return manifest
    begin(plan, out)
    records, broken = [], BrokenRows(plan.on_error)
    for unit, record in zip(plan.units, make_records(plan, out, processes), strict=True):
        broken.count += record["num_broken"]
        broken.first += starmap(BrokenRow, record.pop("first_broken"))
        records.append(record)
        advance(sum(part.num_bytes for part in unit))
    manifest = finish(plan, out, records, broken.named())
    broken.warn()
    return manifest


def found_manifest(plan: ShardPlan, out: Path) -> Record:
    """The manifest of shards that are there already, and are those of the plan."""
    manifest = read_manifest(out)
    if manifest | plan.made_of != manifest:
        raise UsageError(str(out), "holds shards of another text or tokenizer; name another folder")
    if plan.on_error == "stop" and manifest["num_broken"]:
        broken = f"{manifest['num_broken']} broken rows, first {manifest['broken'][0]}"
        raise UsageError(str(out), f"lacks {broken}; name another folder, or --on-error skip")
    TokenStore.open(out).verify()
    return manifest


def begin(plan: ShardPlan, out: Path) -> None:
    """Make the folder of the records; those of another plan are removed."""
    begun = [*out.glob(f"{UNFINISHED}*")]
    if not begun and out.is_dir() and any(out.iterdir()):
        raise UsageError(str(out), "is not empty; name another folder")
    (out / plan.records).mkdir(parents=True, exist_ok=True)
    for folder in begun:
        if folder.name != plan.records:
            shutil.rmtree(folder)


def make_records(plan: ShardPlan, out: Path, processes: int) -> Iterator[Record]:
    """The records of all shards, in order, made now or found."""
    numbers = range(len(plan.units))
    processes = min(processes, len(numbers))
    if processes <= 1:
        yield from (write_shard(plan, out, number) for number in numbers)
        return
    # A new interpreter needs half a second; a fork is safe only where nothing else runs.
    is_alone = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if is_alone else "spawn")
    pool = ProcessPoolExecutor(processes, context, start_worker, (plan, out))
    try:
        yield from pool.map(work, numbers)
    except BrokenProcessPool as problem:
        raise MachineError(
            "--processes",
            f"one of {processes} processes died, often for lack of memory; "
            "use fewer: the same command continues",
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


class Worker:  # what a worker process works at
    plan: ShardPlan
    out: Path


def start_worker(plan: ShardPlan, out: Path) -> None:
    """Prepare a worker process; it ends with its parent and does not start threads of its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    Worker.plan, Worker.out = plan, out


def end_with_parent() -> None:
    """A parent that is killed takes its workers along; they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def work(number: int) -> Record:
    return write_shard(Worker.plan, Worker.out, number)


def write_shard(plan: ShardPlan, out: Path, number: int) -> Record:
    """Encode the documents of a unit into a shard, unless its record is there; give the record."""
    place = out / plan.records / f"{number:05d}.json"
    if place.is_file():
        record: Record = json.loads(place.read_bytes())
        if plan.on_error == "skip" or not record["num_broken"]:
            return record
    tokens, index = out / f"shard-{number:05d}.tokens", out / f"shard-{number:05d}.index"
    lengths: list[int] = []
    num_empty = 0
    broken = BrokenRows(plan.on_error)
    digest = xxhash.xxh3_128()
    with publish(tokens) as stream:
        for texts in (texts for part in plan.units[number] for texts in part.read(broken)):
            rows = plan.tokenizer.encode_batch([text for text in texts if text], special=False)
            rows = [row for row in rows if len(row)]
            num_empty += len(texts) - len(rows)
            if rows:
                lengths += map(len, rows)
                data = np.concatenate(rows).astype(plan.dtype).tobytes()
                digest.update(data)
                stream.write(data)
    ends = np.cumsum(lengths, dtype=INDEX_DTYPE).tobytes()
    with publish(index) as stream:
        stream.write(ends)
    record = {
        "file": tokens.name,
        "index": index.name,
        "num_tokens": sum(lengths),
        "num_documents": len(lengths),
        "num_empty": num_empty,
        "digest": digest.hexdigest(),
        "index_digest": xxhash.xxh3_128_hexdigest(ends),
        "num_broken": broken.count,
        "first_broken": broken.first,
    }
    with publish(place) as stream:
        stream.write(json.dumps(record).encode())
    return record


def finish(plan: ShardPlan, out: Path, records: Sequence[Record], broken: Sequence[str]) -> Record:
    """Write the manifest, and remove shards without a document and what only work needs."""
    counts = ("num_documents", "num_tokens", "num_empty", "num_broken")
    manifest = {
        **plan.made_of,
        "tokenizer_section": plan.tokenizer.config.model_dump(),
        "dtype": plan.dtype.str,
        **{count: sum(record[count] for record in records) for count in counts},
        "broken": broken,
        "shards": [record for record in records if record["num_documents"]],
    }
    kept = {shard[key] for shard in manifest["shards"] for key in ("file", "index")}
    for file in out.glob("shard-*"):
        if file.name not in kept:
            file.unlink()
    if kept:
        with publish(out / MANIFEST) as stream:
            stream.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    shutil.rmtree(out / plan.records)
    if not kept:
        names = ", ".join(source.name for source in plan.sources[:3])
        why = f"all rows are broken, first {broken[0]}" if broken else "every row is empty"
        raise InputError(names, f"no document in it: {why}; name other text")
    return manifest


@contextmanager
def publish(file: Path) -> Iterator[BinaryIO]:
    """Give a stream to write; the file is whole or absent."""
    scratch = file.with_name(f"{file.name}.partial")
    try:
        with scratch.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if error.filename is None:  # the system says of a failed write why, but not where
            error.filename = str(scratch)
        raise
    os.replace(scratch, file)
