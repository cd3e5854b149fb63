"""The sources of a corpus, cut into parts that several processes can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xxhash

from glmctl.core.data.shards import digest_of
from glmctl.core.data.tables import open_dataset, read_dataset, read_parquet
from glmctl.core.data.text import COMPRESSED, PARQUET, BrokenRows, find_files, read_lines
from glmctl.recipe.schema import CorpusConfig

COMPRESSION = 4
"""What a byte of a compressed file or of Parquet counts."""


@dataclass(frozen=True)
class Part:
    """A file or a data set, or what starts in a range of its bytes; it travels to a process."""

    name: str
    """What messages and manifests call it."""
    column: str
    content: Any
    """Path of the file, or a data set of the library `datasets`."""
    start: int
    stop: int

    @property
    def num_bytes(self) -> int:
        return self.stop - self.start

    @property
    def cost_of_byte(self) -> int:
        return COMPRESSION if self.name.endswith((*COMPRESSED, PARQUET)) else 1

    @property
    def cost(self) -> int:
        """About how many bytes of text."""
        return self.num_bytes * self.cost_of_byte

    def cut(self, target: int) -> Iterator[Part]:
        """Parts of about this cost; a compressed file can only be read from its start."""
        if self.name.endswith(COMPRESSED):
            yield self
            return
        size = target // self.cost_of_byte
        for start in range(self.start, self.stop, size):
            yield replace(self, start=start, stop=min(start + size, self.stop))

    def read(self, broken: BrokenRows) -> Iterator[list[str]]:
        """Its documents, some at a time; an empty one for an empty line."""
        if not isinstance(self.content, Path):
            num_rows, num_bytes = len(self.content), max(self.content.data.nbytes, 1)
            first, last = (num_rows * place // num_bytes for place in (self.start, self.stop))
            return read_dataset(self.content, self.name, first, last, broken)
        read = read_parquet if self.content.suffix == PARQUET else read_lines
        return read(self.content, self.column, self.start, self.stop, broken)

    def digest(self) -> str:
        """Of all files behind it."""
        if isinstance(self.content, Path):
            return digest_of(self.content)
        files = [digest_of(Path(file["filename"])) for file in self.content.cache_files]
        return xxhash.xxh3_128_hexdigest(" ".join(files).encode())


def open_sources(corpora: Sequence[CorpusConfig]) -> list[Part]:
    """The files and data sets of corpora, in a fixed order.

    Raises:
        InputError: one is not what it should be.
        MachineError: one must be fetched and the network is not allowed.
    """
    sources = []
    for corpus in corpora:
        if corpus.path is not None:
            for file in find_files(corpus.path):
                sources.append(Part(str(file), corpus.column, file, 0, file.stat().st_size))
        else:
            name = dataset_name(corpus)
            dataset = open_dataset(corpus, name)
            sources.append(Part(name, corpus.column, dataset, 0, dataset.data.nbytes))
    return sources


def dataset_name(corpus: CorpusConfig) -> str:
    """How messages and manifests call a data set."""
    named = [f"hf:{corpus.dataset}" + (f"@{corpus.revision}" if corpus.revision else "")]
    named += [f"config {corpus.config}"] if corpus.config else []
    return " ".join([*named, f"split {corpus.split or 'train'}"])


def read_documents(source: Part, broken: BrokenRows) -> Iterator[str]:
    """The documents of a source, one by one."""
    for texts in source.read(broken):
        yield from filter(None, texts)
