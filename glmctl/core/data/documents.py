"""The sources of a corpus, cut into parts that several processes can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import xxhash

from glmctl.core.data.shards import digest_of
from glmctl.core.data.tables import (
    dataset_name,
    open_dataset,
    parquet_starts,
    read_dataset,
    read_parquet,
)
from glmctl.core.data.text import COMPRESSED, PARQUET, BrokenRows, find_files, read_lines
from glmctl.recipe.schema import CorpusConfig

COMPRESSION = 4
"""What a byte of a compressed file or of Parquet counts."""


class Part(Protocol):
    """What one process reads at a time; it travels to it."""

    @property
    def num_bytes(self) -> int:
        """Of the source."""

    @property
    def cost(self) -> int:
        """About how many bytes of text."""

    def read(self, broken: BrokenRows) -> Iterator[list[str]]:
        """Its documents, some at a time; an empty one for an empty line."""


class Source(Protocol):
    """A file or a data set."""

    @property
    def name(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def cost(self) -> int: ...
    def digest(self) -> str: ...
    def parts(self, target: int) -> Iterator[Part]:
        """Cut it into parts of about this cost."""


@dataclass(frozen=True)
class FilePart:
    """The lines or row groups of a file that start in a range of bytes."""

    file: Path
    column: str
    start: int
    stop: int

    @property
    def num_bytes(self) -> int:
        return self.stop - self.start

    @property
    def cost(self) -> int:
        return self.num_bytes * cost_of_byte(self.file)

    def read(self, broken: BrokenRows) -> Iterator[list[str]]:
        if self.file.suffix == PARQUET:
            return read_parquet(self.file, self.column, self.start, self.stop, broken)
        stop = None if self.file.suffix in COMPRESSED else self.stop
        return read_lines(self.file, self.column, self.start, stop, broken)


@dataclass(frozen=True)
class FileSource:
    """A file of text, JSON Lines or Parquet."""

    file: Path
    column: str

    @property
    def name(self) -> str:
        return str(self.file)

    @cached_property
    def num_bytes(self) -> int:
        return self.file.stat().st_size

    @property
    def cost(self) -> int:
        return self.num_bytes * cost_of_byte(self.file)

    def digest(self) -> str:
        return digest_of(self.file)

    def parts(self, target: int) -> Iterator[Part]:
        starts = [0]
        for place in self.places(target):
            if (place - starts[-1]) * cost_of_byte(self.file) >= target:
                starts.append(place)
        for start, stop in pairwise([*starts, self.num_bytes]):
            yield FilePart(self.file, self.column, start, stop)

    def places(self, target: int) -> Sequence[int]:
        """Bytes at which it may be cut; a compressed file can only be read from its start."""
        if self.file.suffix == PARQUET:
            return parquet_starts(self.file, self.column)
        return [] if self.file.suffix in COMPRESSED else range(target, self.num_bytes, target)


def cost_of_byte(file: Path) -> int:
    return COMPRESSION if file.suffix in (*COMPRESSED, PARQUET) else 1


@dataclass(frozen=True)
class DatasetPart:
    """A range of rows of a data set."""

    dataset: Any
    source: str
    start: int
    stop: int
    num_bytes: int

    @property
    def cost(self) -> int:
        return self.num_bytes

    def read(self, broken: BrokenRows) -> Iterator[list[str]]:
        return read_dataset(self.dataset, self.source, self.start, self.stop, broken)


class DatasetSource:
    """A data set of the library `datasets`."""

    def __init__(self, corpus: CorpusConfig) -> None:
        self.name = dataset_name(corpus)
        self.dataset = open_dataset(corpus)
        self.num_bytes: int = self.dataset.data.nbytes

    @property
    def cost(self) -> int:
        return self.num_bytes

    def digest(self) -> str:
        files = [digest_of(Path(file["filename"])) for file in self.dataset.cache_files]
        return xxhash.xxh3_128_hexdigest(" ".join(files).encode())

    def parts(self, target: int) -> Iterator[Part]:
        num_rows = len(self.dataset)
        rows = max(1, num_rows * target // max(self.num_bytes, 1))
        for start in range(0, num_rows, rows):
            stop = min(start + rows, num_rows)
            before, after = (self.num_bytes * row // num_rows for row in (start, stop))
            yield DatasetPart(self.dataset, self.name, start, stop, after - before)


def open_sources(corpora: Sequence[CorpusConfig]) -> list[Source]:
    """The files and data sets of corpora, in a fixed order.

    Raises:
        InputError: one is not what it should be.
        MachineError: one must be fetched and the network is not allowed.
    """
    sources: list[Source] = []
    for corpus in corpora:
        if corpus.path is None:
            sources.append(DatasetSource(corpus))
        else:
            files = find_files(corpus.path, tables=(PARQUET,))
            sources += [FileSource(file, corpus.column) for file in files]
    return sources


def read_documents(source: Source, broken: BrokenRows) -> Iterator[str]:
    """The documents of a source, in order."""
    for part in source.parts(target=source.cost + 1):
        for texts in part.read(broken):
            yield from filter(None, texts)
