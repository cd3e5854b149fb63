"""Documents from text and JSON Lines, in plain or compressed files, one by one or in folders.

A line is a document. Only a newline ends a line (a carriage return before it goes with it);
U+2028 and the like are text. An empty line is no document.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from glmctl.errors import InputError
from glmctl.recipe.schema import OnError

ASSETS = Path(__file__).parents[2] / "assets"
BUILTIN = {
    "glmctl-demo": ASSETS / "demo.jsonl",
    "glmctl-demo-held-out": ASSETS / "demo-held-out.jsonl",
}
COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
DAMAGE = (lzma.LZMAError, zlib.error, EOFError, OSError)
JSON_LINES = (".jsonl", ".ndjson", ".json")
PLAIN = (".txt", ".text")
PARQUET = ".parquet"
UNREADABLE = (".arrow", ".zip", ".tar")
BATCH_BYTES = 1 << 20
"""Bytes read at once; lines longer than this are read whole all the same."""
READ_BYTES = 1 << 16
"""Bytes of a stream read at once, at most; what is there is not kept waiting."""
SHOWN = 30
"""Characters shown of what is wrong, on either side of the place."""
NUM_NAMED = 5
"""How many of the rows that are left out are named."""


@dataclass(frozen=True)
class BrokenRow:
    """A line of a file, or a row of a table, that holds no text."""

    source: str
    place: int
    """Byte at which the line starts, or number of the row."""
    is_line: bool
    problem: str

    def describe(self) -> tuple[str, str]:
        """Where it stands and what is wrong; a file is read up to there to count its lines."""
        if not self.is_line:
            return f"{self.source} row {self.place}", f"{self.problem} (rows count from 0)"
        number, left = 1, self.place
        with open_binary(Path(self.source)) as stream:
            while left:
                block = stream.read(min(left, BATCH_BYTES))
                number += block.count(b"\n")
                left -= len(block)
        return f"{self.source}:{number}", f"{self.problem} (the line starts at byte {self.place})"


class BrokenRows:
    """What becomes of rows that hold no text: the first one stops, or all are counted."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.count = 0
        self.first: list[BrokenRow] = []

    def add(self, row: BrokenRow) -> None:
        """Take note of a row.

        Raises:
            InputError: broken rows are not to be skipped.
        """
        if self.on_error == "stop":
            place, problem = row.describe()
            raise InputError(
                place,
                f"{problem}; correct it, name another column, or leave such rows out "
                '(--on-error skip; in a recipe data.on_error = "skip")',
            )
        self.count += 1
        if len(self.first) < NUM_NAMED:
            self.first.append(row)


def stream_lines(stream: io.BufferedReader) -> Iterator[list[bytes]]:
    """Lines without their newline, as many at a time as have arrived."""
    pending: list[bytes] = []
    while block := stream.read1(READ_BYTES):
        first, *others = block.split(b"\n")
        pending.append(first)
        if others:
            yield [b"".join(pending), *others[:-1]]
            pending = [others[-1]]
    if last := b"".join(pending):
        yield [last]


def find_files(source: str | Path, tables: Sequence[str] = ()) -> list[Path]:
    """The files of a source, in a fixed order.

    Args:
        source: a file, a folder (searched through for files that can be read) or a built-in name.
        tables: suffixes of files that the caller can read beside text and JSON Lines.

    Raises:
        InputError: there is nothing to read.
    """
    place = BUILTIN.get(str(source), Path(source))
    lines = PLAIN + JSON_LINES
    if place.is_dir():
        files = sorted(
            file
            for file in place.rglob("*")
            if (text_suffix(file) in lines or file.suffix in tables) and file.is_file()
        )
        if not files:
            raise InputError(
                str(place),
                f"holds no text; files named {' '.join((*lines, *tables))} are read, and of lines "
                f"also {' '.join(COMPRESSED)}",
            )
        return files
    if not place.is_file():
        raise InputError(
            str(place), f"no such text; name a file, a folder or one of {', '.join(BUILTIN)}"
        )
    if place.suffix in UNREADABLE:
        raise InputError(str(place), f"{place.suffix} is not read; give text or JSON Lines")
    if place.suffix == PARQUET and PARQUET not in tables:
        raise InputError(str(place), "holds no lines; tokenize --out and recipes read Parquet")
    return [place]


def text_suffix(file: Path) -> str:
    """The suffix that says what is inside a compression."""
    return Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix


def read_lines(
    file: Path, column: str, start: int, stop: int | None, broken: BrokenRows
) -> Iterator[list[str]]:
    """The documents of about a megabyte of lines at a time; an empty one for an empty line.

    Args:
        file: of text or JSON Lines.
        column: key of the text in JSON Lines.
        start: lines that start before this byte are left to others.
        stop: as are those that start here or later; None: the end.
        broken: told of lines that hold no text.
    """
    key = column if text_suffix(file) in JSON_LINES else None
    with open_binary(file) as stream:
        place = start
        if start:
            stream.seek(start - 1)
            place += len(stream.readline()) - 1  # the rest of a line that starts before
        while stop is None or place < stop:
            room = BATCH_BYTES if stop is None else min(BATCH_BYTES, stop - place)
            data = read_block(stream, room, file)
            if not data:
                return
            yield parse(data, file, place, key, broken)
            place += len(data)


def open_binary(file: Path) -> io.BufferedReader:
    """The uncompressed bytes of a file."""
    if file.suffix == ".gz":
        return io.BufferedReader(gzip.open(file), BATCH_BYTES)
    if file.suffix == ".xz":
        return io.BufferedReader(lzma.open(file), BATCH_BYTES)
    if file.suffix == ".bz2":
        return io.BufferedReader(bz2.open(file), BATCH_BYTES)
    if file.suffix == ".zst":
        import pyarrow  # takes 0.3 s to load

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"), BATCH_BYTES)
    return file.open("rb")


def file_lines(file: Path) -> Iterator[list[bytes]]:
    """Lines of a file without their newline, some at a time.

    Raises:
        InputError: the compressed file is damaged.
    """
    with open_binary(file) as stream:
        try:
            yield from stream_lines(stream)
        except DAMAGE as problem:
            raise_damage(file, problem)


def read_block(stream: io.BufferedReader, num_bytes: int, file: Path) -> bytes:
    """So many bytes, and what is left of the last line; fewer at the end.

    Raises:
        InputError: the compressed file is damaged.
    """
    try:
        data = stream.read(num_bytes)
        return data if data.endswith(b"\n") else data + stream.readline()
    except DAMAGE as problem:
        raise_damage(file, problem)


def raise_damage(file: Path, problem: Exception) -> NoReturn:
    """Name a file that cannot be unpacked.

    Raises:
        InputError: it is damaged.
        OSError: as it came, when the system could not read the file.
    """
    if isinstance(problem, OSError) and problem.errno is not None:
        raise problem
    raise InputError(
        str(file), f"damaged {file.suffix} file ({problem}); copy or make it again"
    ) from problem


def parse(data: bytes, file: Path, place: int, key: str | None, broken: BrokenRows) -> list[str]:
    """Text of lines; all at once when nothing is wrong, which is nearly always."""
    try:
        texts = data.removesuffix(b"\n").decode().replace("\r\n", "\n").split("\n")
        return texts if key is None else [json_text(text, key) for text in texts]
    except ValueError:
        texts = []
        for line in data.removesuffix(b"\n").split(b"\n"):
            try:
                texts.append(line_text(line, is_json=key is not None, key=key or ""))
            except ValueError as problem:
                broken.add(BrokenRow(str(file), place, is_line=True, problem=str(problem)))
            place += len(line) + 1
        return texts


def line_text(line: bytes, *, is_json: bool, key: str = "text") -> str:
    """Text of a line without its end.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        text = line.decode().removesuffix("\n").removesuffix("\r")
        return json_text(text, key) if is_json else text
    except UnicodeDecodeError as problem:
        byte = line[problem.start]
        raise ValueError(
            f"not UTF-8: byte 0x{byte:02x} at byte {problem.start} of the line"
        ) from problem
    except json.JSONDecodeError as problem:
        found = text[max(problem.pos - SHOWN, 0) : problem.pos + SHOWN]
        raise ValueError(
            f"not JSON: {problem.msg} at column {problem.colno}, in {found!r}"
        ) from problem


def json_text(line: str, key: str) -> str:
    """The text of a JSON Lines record.

    Raises:
        ValueError: it has none.
    """
    if not line.strip():
        return ""
    record = json.loads(line)
    text = record.get(key) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'not an object with a string "{key}": {what_is_there(record, key)}')
    if "\\u" in line:
        reject_surrogates(text)
    return text


def what_is_there(record: Any, key: str) -> str:
    """What stands in the place of a record with a text, in a few words."""
    if not isinstance(record, dict):
        return f"it is {json.dumps(record)[:SHOWN]}"
    if key in record:
        return f"it is {json.dumps(record[key])[:SHOWN]}"
    return f"its keys are {', '.join(record) or 'none'}"


def reject_surrogates(text: str) -> None:
    """Half a surrogate pair is no character and has no UTF-8.

    Raises:
        ValueError: the text holds one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise ValueError(
            f"half a surrogate pair at character {problem.start} of the text"
        ) from problem
