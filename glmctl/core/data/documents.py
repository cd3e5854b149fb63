"""The sources of a corpus, cut into parts that several processes can read.

Text and JSON Lines are read by `text`; here are the tables, Parquet files and data sets of the
library `datasets`, of which one column holds the text. pyarrow and `datasets` take a second to
load, so they load when a table is opened; rows stay on the disk until they are read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xxhash

from glmctl.core.data.shards import digest_of
from glmctl.core.data.text import (
    COMPRESSED,
    PARQUET,
    BrokenRow,
    BrokenRows,
    find_files,
    read_lines,
)
from glmctl.core.tokenizer.load import is_offline, not_here
from glmctl.errors import InputError
from glmctl.recipe.schema import CorpusConfig

COMPRESSION = 4  # what a byte of a compressed file or of Parquet counts
BATCH_ROWS = 256  # rows read at once
SAVED = ("state.json", "dataset_dict.json")  # either stands in a folder that `save_to_disk` made


@dataclass(frozen=True)
class Part:
    """A file or a data set, or what starts in a range of its bytes; it travels to a process."""

    name: str  # what messages and manifests call it
    column: str
    content: Any  # path of the file, or a data set of the library `datasets`
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
        if isinstance(self.content, Path):
            read = read_parquet if self.content.suffix == PARQUET else read_lines
            yield from read(self.content, self.column, self.start, self.stop, broken)
            return
        num_rows, num_bytes = len(self.content), max(self.content.data.nbytes, 1)
        first, stop = (num_rows * place // num_bytes for place in (self.start, self.stop))
        rows = self.content.with_format("arrow")
        for row in range(first, stop, BATCH_ROWS):
            batch = rows[row : min(row + BATCH_ROWS, stop)]
            yield texts_of(batch.column(0), self.name, row, broken)

    def digest(self) -> str:
        """Of all files behind it."""
        if isinstance(self.content, Path):
            return digest_of(self.content)
        files = [digest_of(Path(file["filename"])) for file in self.content.cache_files]
        return xxhash.xxh3_128_hexdigest(" ".join(files).encode())


def open_sources(corpora: Sequence[CorpusConfig]) -> list[Part]:
    """The files and data sets of corpora, in a fixed order."""
    sources = []
    for corpus in corpora:
        if corpus.path is not None:
            for file in find_files(corpus.path):
                sources.append(Part(str(file), corpus.column, file, 0, file.stat().st_size))
            continue
        place, split = corpus.dataset or "", corpus.split or "train"
        named = [f"hf:{place}" + (f"@{corpus.revision}" if corpus.revision else "")]
        named += [f"config {corpus.config}"] if corpus.config else []
        name = " ".join([*named, f"split {split}"])
        otherwise = "name files of your own with path"
        found = fetch_dataset(place, corpus.config, split, corpus.revision, name, otherwise)
        check_column(found.features.arrow_schema, corpus.column, name)
        column = found.select_columns([corpus.column])
        sources.append(Part(name, corpus.column, column, 0, column.data.nbytes))
    return sources


def read_documents(source: Part, broken: BrokenRows) -> Iterator[str]:
    for texts in source.read(broken):
        yield from filter(None, texts)


def read_parquet(
    file: Path, column: str, start: int, stop: int, broken: BrokenRows
) -> Iterator[list[str]]:
    """The documents of the row groups that start in a range of bytes, some at a time."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    first = 0
    try:
        with ParquetFile(file, memory_map=True) as parquet:
            check_column(parquet.schema_arrow, column, str(file))
            for group in range(parquet.num_row_groups):
                about = parquet.metadata.row_group(group)
                place = about.column(0).dictionary_page_offset or about.column(0).data_page_offset
                if start <= place < stop:
                    row = first
                    for batch in parquet.iter_batches(BATCH_ROWS, [group], [column]):
                        yield texts_of(batch.column(0), str(file), row, broken)
                        row += batch.num_rows
                first += about.num_rows
    except (ArrowException, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        reason = str(problem).partition("\n")[0]
        raise InputError(
            str(file), f"damaged Parquet file ({reason}); copy or make it again"
        ) from problem


def check_column(schema: Any, column: str, source: str) -> None:
    """Refuse a table without a column of strings of this name."""
    kinds = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
    kind = kinds.get(column, "").removeprefix("dictionary<values=")
    if not kind.startswith(("string", "large_string")):
        there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise InputError(source, f"has no column {column!r} of strings; name another: {there}")


def texts_of(values: Any, source: str, first: int, broken: BrokenRows) -> list[str]:
    """The texts of a column of pyarrow, of which the first stands in row `first`."""
    if not values.null_count:
        with suppress(UnicodeDecodeError):
            return list(values.to_pylist())
    texts = []
    for row, value in enumerate(values, first):
        problem = "null, not a string"
        try:
            text = value.as_py()
        except UnicodeDecodeError as error:
            text, problem = None, f"not UTF-8: byte 0x{error.object[error.start]:02x}"
        if text is None:
            broken.add(BrokenRow(source, row, is_line=False, problem=problem))
        else:
            texts.append(text)
    return texts


def fetch_dataset(
    dataset: str, config: str | None, split: str, revision: str | None, name: str, otherwise: str
) -> Any:
    """A split of a data set of the hub or a folder, mapped into memory; fetched if need be.

    An error calls it by the name, and says what can be done otherwise.
    """
    import datasets
    import huggingface_hub.constants
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    if is_offline():  # both look at the environment only once, and only at their own variable
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    place = Path(dataset)
    try:
        if not any((place / file).is_file() for file in SAVED):
            found = datasets.load_dataset(
                dataset, config, split=split, revision=revision, keep_in_memory=False
            )
        else:
            found = datasets.load_from_disk(place)
            splits = found if isinstance(found, dict) else {str(found.split or "train"): found}
            if config or revision or split not in splits:
                raise ValueError(
                    "a folder made by save_to_disk has no config and no revision, and this one "
                    f"has the splits {', '.join(splits)}"
                )
            found = splits[split]
    except ConnectionError as problem:
        raise not_here(name, otherwise) from problem
    except (ArrowException, DatasetsError, OSError, ValueError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        reason = str(problem.__cause__ or problem).partition("\n")[0]
        raise InputError(
            name,
            f"cannot be read: {reason}; correct its name, config, split or revision, or "
            f"{otherwise}",
        ) from problem
    return found
