"""Documents from tables: Parquet files, and the data sets of the library `datasets`.

One column holds the text. pyarrow and `datasets` take a second to load, so they load when a table
is opened; rows stay on the disk until they are read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmctl.core.data.text import BrokenRow, BrokenRows
from glmctl.core.tokenizer.load import is_offline
from glmctl.errors import InputError, MachineError
from glmctl.recipe.schema import CorpusConfig

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BATCH_ROWS = 256
"""Rows read at once."""
SAVED = ("state.json", "dataset_dict.json")
"""Either stands in a folder that `save_to_disk` made."""


def read_parquet(
    file: Path, column: str, start: int, stop: int, broken: BrokenRows
) -> Iterator[list[str]]:
    """The documents of the row groups that start in a range of bytes, some at a time."""
    with opened(file, column) as parquet:
        first = 0
        for group, place in enumerate(group_starts(parquet)):
            if start <= place < stop:
                row = first
                for batch in parquet.iter_batches(BATCH_ROWS, [group], [column]):
                    yield texts_of(batch.column(0), str(file), row, broken)
                    row += batch.num_rows
            first += parquet.metadata.row_group(group).num_rows


def parquet_starts(file: Path, column: str) -> list[int]:
    """Bytes at which a Parquet file can be cut in two; checks that it holds the column.

    Raises:
        InputError: the file is damaged or has no such column of strings.
    """
    with opened(file, column) as parquet:
        return group_starts(parquet)[1:]


def group_starts(parquet: ParquetFile) -> list[int]:
    """Byte at which each row group starts."""
    chunks = [
        parquet.metadata.row_group(group).column(0) for group in range(parquet.num_row_groups)
    ]
    return [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]


@contextmanager
def opened(file: Path, column: str) -> Iterator[ParquetFile]:
    """A Parquet file, and one message for all that can be wrong inside.

    Raises:
        InputError: the file is damaged or has no such column of strings.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file, memory_map=True) as parquet:
            check_column(parquet.schema_arrow, column, str(file))
            yield parquet
    except (ArrowException, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        reason = str(problem).partition("\n")[0]
        raise InputError(
            str(file), f"damaged Parquet file ({reason}); copy or make it again"
        ) from problem


def check_column(schema: Any, column: str, source: str) -> None:
    """Refuse a table without the column.

    Raises:
        InputError: it has none of this name, or it does not hold strings.
    """
    from pyarrow import types

    there = ", ".join(schema.names)
    if column not in schema.names:
        raise InputError(source, f"has no column {column!r}; name one of its columns: {there}")
    kind = schema.field(column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise InputError(
            source,
            f"its column {column!r} holds {kind}, not strings; name another of its columns: "
            f"{there}",
        )


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


def open_dataset(corpus: CorpusConfig) -> Any:
    """The column of a data set, mapped into memory; fetched unless it is on this machine.

    Raises:
        InputError: there is no such data set, split, configuration or column, or it is damaged.
        MachineError: it must be fetched, and the network is forbidden or does not answer.
    """
    import datasets
    import huggingface_hub.constants
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    name = dataset_name(corpus)
    offline = is_offline()
    if offline:  # both look at the environment only once, and only at their own variable
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    assert corpus.dataset is not None
    try:
        if any((Path(corpus.dataset) / file).is_file() for file in SAVED):
            dataset = saved_dataset(corpus, datasets.load_from_disk(corpus.dataset))
        else:
            dataset = datasets.load_dataset(
                corpus.dataset,
                corpus.config,
                split=corpus.split or "train",
                revision=corpus.revision,
                keep_in_memory=False,
            )
    except ConnectionError as problem:
        reason = "the network is switched off" if offline else "the hub does not answer"
        raise MachineError(
            name,
            f"not on this machine, and {reason}; unset GLMCTL_OFFLINE and HF_HUB_OFFLINE where "
            "there is a network, or name files of your own with path",
        ) from problem
    except (ArrowException, DatasetsError, OSError, ValueError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise
        reason = str(problem.__cause__ or problem).partition("\n")[0]
        raise InputError(
            name,
            f"cannot be read: {reason}; correct its name, config, split or revision, or name its "
            "files with path",
        ) from problem
    check_column(dataset.features.arrow_schema, corpus.column, name)
    return dataset.select_columns([corpus.column])


def saved_dataset(corpus: CorpusConfig, saved: Any) -> Any:
    """The split of what `save_to_disk` left.

    Raises:
        ValueError: there is no such split, or a key that means nothing here.
    """
    if corpus.config or corpus.revision:
        raise ValueError("a folder made by save_to_disk has neither config nor revision")
    if isinstance(saved, dict):
        split = corpus.split or "train"
        if split not in saved:
            raise ValueError(f"has no split {split!r}, but {', '.join(saved)}")
        return saved[split]
    if corpus.split and corpus.split != str(saved.split):
        raise ValueError("a folder made by save_to_disk of one split; leave split out")
    return saved


def dataset_name(corpus: CorpusConfig) -> str:
    """How messages and manifests call a data set."""
    named = [f"hf:{corpus.dataset}" + (f"@{corpus.revision}" if corpus.revision else "")]
    named += [f"config {corpus.config}"] if corpus.config else []
    return " ".join([*named, f"split {corpus.split or 'train'}"])


def read_dataset(
    dataset: Any, source: str, start: int, stop: int, broken: BrokenRows
) -> Iterator[list[str]]:
    """The documents of a range of rows, some at a time."""
    rows = dataset.with_format("arrow")
    for first in range(start, stop, BATCH_ROWS):
        batch = rows[first : min(first + BATCH_ROWS, stop)]
        yield texts_of(batch.column(0), source, first, broken)
