"""Documents from text and JSON Lines, in plain or compressed files, one by one or in folders.

A line is a document. Only a newline ends a line (a carriage return before it goes with it);
U+2028 and the like are text. An empty line is no document.
"""

import bz2
import gzip
import io
import json
import lzma
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

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
BATCH_BYTES = 1 << 20  # bytes read at once; lines longer than this are read whole all the same
READ_BYTES = 1 << 16  # the same where lines go on as they come
SHOWN = 30  # characters shown of what is wrong, on either side of the place
NUM_NAMED = 5  # how many of the rows that are left out are named


@dataclass(frozen=True)
class Line:
    """A line that was read: its text, or what is wrong with it."""

    file: str | None  # None for the standard input
    number: int  # from 1
    text: str = ""
    error: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of a JSON object that holds the text, all of them."""

    @property
    def place(self) -> str:
        return f"line {self.number}" if self.file is None else f"{self.file}:{self.number}"

    def record(self) -> dict[str, Any]:
        said = {"text": self.text} if self.error is None else {"error": self.error}
        return {"file": self.file, "line": self.number, **said}


class BrokenRow(NamedTuple):
    """A line of a file, or a row of a table, that holds no text."""

    source: str
    place: int  # byte at which the line starts, or number of the row
    is_line: bool
    problem: str

    def where(self) -> str:
        """File and line, or row; the file is read up to there to count its lines."""
        if not self.is_line:
            return f"{self.source} row {self.place} (from 0)"
        before = blocks(Path(self.source), 0, self.place)
        line = 1 + sum(data.count(b"\n") for _, data in before)
        return f"{self.source}:{line}"


class BrokenRows:
    """What becomes of rows that hold no text: the first one stops, or all are counted."""

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.count = 0
        self.first: list[BrokenRow] = []

    def add(self, row: BrokenRow) -> None:
        if self.on_error == "stop":
            raise InputError(
                row.where(),
                f"{row.problem}; correct it, name another column, or leave such rows out "
                '(--on-error skip; in a recipe data.on_error = "skip")',
            )
        self.count += 1
        if len(self.first) < NUM_NAMED:
            self.first.append(row)

    def named(self) -> list[str]:
        return [f"{row.where()}: {row.problem}" for row in self.first[:NUM_NAMED]]

    def warn(self) -> None:
        """Say which rows were left out, so that nothing is lost in silence."""
        if self.count:
            rows = "row" if self.count == 1 else "rows"
            named = "; ".join([*self.named(), *(["..."] if self.count > NUM_NAMED else [])])
            warnings.warn(f"{self.count:,} broken {rows} left out: {named}", stacklevel=3)


def find_files(source: str | Path) -> list[Path]:
    """The files of a source, in a fixed order: a file, those of a folder, or a built-in name."""
    place = BUILTIN.get(str(source), Path(source))
    if place.is_file():
        return [place]
    lines = PLAIN + JSON_LINES
    known = [it for it in place.rglob("*") if text_suffix(it) in lines or it.suffix == PARQUET]
    files = sorted(file for file in known if file.is_file())
    if not files:
        raise InputError(
            str(place),
            f"no such text; name a file, a folder of {' '.join((*lines, PARQUET))} (lines also "
            f"{' '.join(COMPRESSED)}), or one of {', '.join(BUILTIN)}",
        )
    return files


def text_suffix(file: Path) -> str:
    """The suffix that says what is inside a compression."""
    return Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix


def read_texts(inputs: Sequence[str], *, jsonl: bool = False) -> Iterator[list[Line]]:
    """The texts of the lines of :func:`read_source`.

    ``jsonl``: the lines are JSON objects, whatever the name of the file.
    """
    for file, first, lines in read_source(inputs):
        is_json = jsonl or holds_json(file)
        yield [read_line(file, n, line, is_json=is_json) for n, line in enumerate(lines, first)]


def read_line(file: Path | None, number: int, line: bytes, *, is_json: bool) -> Line:
    name = None if file is None else str(file)
    try:
        values = line_record(line, is_json=is_json)
        return Line(name, number, values["text"], values=values)
    except ValueError as problem:
        return Line(name, number, error=str(problem))


def read_source(inputs: Sequence[str]) -> Iterator[tuple[Path | None, int, list[bytes]]]:
    """Lines of files, folders and built-in names, or of the standard input without one.

    Yields:
        The file, the number in it of the first line, and as many lines as have arrived.
    """
    files: list[Path | None] = [file for source in inputs for file in find_files(source)]
    stdin = cast(io.BufferedReader, sys.stdin.buffer)  # BinaryIO lacks read1
    for file in files or [None]:
        number = 1
        for lines in stream_lines(stdin) if file is None else file_lines(file):
            yield file, number, lines
            number += len(lines)


def holds_json(file: Path | None) -> bool:
    """Whether the name of a file says that its lines are JSON."""
    return file is not None and text_suffix(file) in JSON_LINES


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


def file_lines(file: Path) -> Iterator[list[bytes]]:
    """Lines of a file without their newline, some at a time."""
    if file.suffix == PARQUET:
        raise InputError(str(file), "holds no lines; tokenize --out and recipes read Parquet")
    for _, data in blocks(file, num_bytes=READ_BYTES):
        yield data.removesuffix(b"\n").split(b"\n")


def read_lines(
    file: Path, column: str, start: int, stop: int, broken: BrokenRows
) -> Iterator[list[str]]:
    """The documents of the lines that start in a range of bytes, about a megabyte at a time.

    An empty line has an empty one. A compressed file is read to its end.
    """
    key = column if holds_json(file) else None
    end = sys.maxsize if file.suffix in COMPRESSED else stop
    for place, data in blocks(file, start, end):
        yield parse(data, file, place, key, broken)


def blocks(
    file: Path, start: int = 0, stop: int = sys.maxsize, num_bytes: int = BATCH_BYTES
) -> Iterator[tuple[int, bytes]]:
    """The lines that start in a range of bytes, about so many bytes of whole lines at a time.

    Yields:
        Where the first line starts, and the lines.
    """
    with open_binary(file) as stream:
        place = start
        try:
            if start:
                stream.seek(start - 1)
                place += len(stream.readline()) - 1  # the rest of a line that starts before
            while place < stop and (data := stream.read(min(num_bytes, stop - place))):
                if not data.endswith(b"\n"):
                    data += stream.readline()
                yield place, data
                place += len(data)
        except DAMAGE as problem:
            if isinstance(problem, OSError) and problem.errno is not None:
                raise  # the system could not read it
            raise InputError(
                str(file), f"damaged {file.suffix} file ({problem}); copy or make it again"
            ) from problem


def open_binary(file: Path) -> io.BufferedReader:
    """The uncompressed bytes of a file."""
    if file.suffix not in COMPRESSED:
        return file.open("rb")
    if file.suffix == ".zst":
        import pyarrow  # takes 0.3 s to load

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"), BATCH_BYTES)
    library = {".gz": gzip, ".xz": lzma, ".bz2": bz2}[file.suffix]
    return io.BufferedReader(library.open(file), BATCH_BYTES)


def parse(data: bytes, file: Path, place: int, key: str | None, broken: BrokenRows) -> list[str]:
    """Text of lines; all at once when nothing is wrong, which is nearly always."""
    data = data.removesuffix(b"\n")
    try:
        lines = data.decode().split("\n")
        if key is None:
            return [line.removesuffix("\r") for line in lines]
        return [json_record(line, key)[key] for line in lines]
    except ValueError:
        texts = []
        for line in data.split(b"\n"):
            try:
                texts.append(line_text(line, is_json=key is not None, key=key or ""))
            except ValueError as problem:
                broken.add(BrokenRow(str(file), place, is_line=True, problem=str(problem)))
            place += len(line) + 1
        return texts


def line_text(line: bytes, *, is_json: bool, key: str = "text") -> str:
    """Text of a line without its end; a ValueError says what is wrong with it."""
    return str(line_record(line, is_json=is_json, key=key)[key])


def line_record(line: bytes, *, is_json: bool, key: str = "text") -> dict[str, Any]:
    """An object with the text of a line under a key; a ValueError says what is wrong with it."""
    try:
        text = line.decode().removesuffix("\r")
        return json_record(text, key) if is_json else {key: text}
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


def json_record(line: str, key: str) -> dict[str, Any]:
    """A JSON Lines record with a text, which is empty in an empty line; else a ValueError."""
    if not line.strip():
        return {key: ""}
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        raise ValueError(f'not an object with a string "{key}", but {line[: 2 * SHOWN]!r}')
    if "\\u" in line:
        reject_surrogates(record[key])
    return record


def reject_surrogates(text: str) -> None:
    """Half a surrogate pair is no character and has no UTF-8: a ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        where = f"at character {problem.start} of the text"
        raise ValueError(f"half a surrogate pair {where}") from problem
