"""Documents from text and JSON Lines, in plain files, gzip or xz, one by one or in folders.

A line is a document. Only a newline ends a line (a carriage return before it goes with it);
U+2028 and the like are text. An empty line is no document.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glmctl.errors import InputError

ASSETS = Path(__file__).parents[2] / "assets"
BUILTIN = {
    "glmctl-demo": ASSETS / "demo.jsonl",
    "glmctl-demo-held-out": ASSETS / "demo-held-out.jsonl",
}
COMPRESSED = (".gz", ".xz")
DAMAGE = (lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile)
JSON_LINES = (".jsonl", ".ndjson", ".json")
PLAIN = (".txt", ".text")
UNREADABLE = (".parquet", ".arrow", ".zst", ".bz2", ".zip", ".tar")
BATCH_BYTES = 1 << 20
"""Bytes read at once; lines longer than this are read whole all the same."""
READ_BYTES = 1 << 16
"""Bytes of a stream read at once, at most; what is there is not kept waiting."""


@dataclass(frozen=True)
class Part:
    """A file, or the lines of it that start in a range of bytes."""

    file: Path
    start: int = 0
    stop: int | None = None


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


def find_files(source: str | Path) -> list[Path]:
    """The files of a source, in a fixed order.

    Args:
        source: a file, a folder (searched through for text and JSON Lines) or a built-in name.

    Raises:
        InputError: there is nothing to read.
    """
    place = BUILTIN.get(str(source), Path(source))
    if place.is_dir():
        files = sorted(
            file
            for file in place.rglob("*")
            if text_suffix(file) in JSON_LINES + PLAIN and file.is_file()
        )
        if not files:
            known = " ".join(PLAIN + JSON_LINES)
            raise InputError(str(place), f"holds no text; files named {known}, .gz or .xz are read")
        return files
    if not place.is_file():
        raise InputError(
            str(place), f"no such text; name a file, a folder or one of {', '.join(BUILTIN)}"
        )
    if place.suffix in UNREADABLE:
        raise InputError(
            str(place), f"{place.suffix} is not read; give text or JSON Lines, plain, .gz or .xz"
        )
    return [place]


def text_suffix(file: Path) -> str:
    """The suffix that says what is inside a compression."""
    return Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix


def read_documents(source: str | Path) -> Iterator[str]:
    """The documents of a source, in order.

    Args:
        source: as :func:`find_files` takes it.

    Raises:
        InputError: a line is not what the file's name promises.
    """
    for file in find_files(source):
        for documents in read_batches(Part(file)):
            yield from filter(None, documents)


def read_batches(part: Part) -> Iterator[list[str]]:
    """Documents of about a megabyte of lines at a time.

    An empty document stands for an empty line.
    """
    is_json = text_suffix(part.file) in JSON_LINES
    with open_binary(part.file) as stream:
        place = part.start
        if part.start:
            stream.seek(part.start - 1)
            place += len(stream.readline()) - 1  # the rest of a line that starts before
        while part.stop is None or place < part.stop:
            room = BATCH_BYTES if part.stop is None else min(BATCH_BYTES, part.stop - place)
            data = read_block(stream, room, part.file)
            if not data:
                return
            yield parse(data, part.file, place, is_json=is_json)
            place += len(data)


def open_binary(file: Path) -> io.BufferedReader:
    """The uncompressed bytes of a file."""
    if file.suffix == ".gz":
        return io.BufferedReader(gzip.open(file), BATCH_BYTES)
    if file.suffix == ".xz":
        return io.BufferedReader(lzma.open(file), BATCH_BYTES)
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
            raise damaged(file, problem) from problem


def read_block(stream: io.BufferedReader, num_bytes: int, file: Path) -> bytes:
    """So many bytes, and what is left of the last line; fewer at the end.

    Raises:
        InputError: the compressed file is damaged.
    """
    try:
        data = stream.read(num_bytes)
        return data if data.endswith(b"\n") else data + stream.readline()
    except DAMAGE as problem:
        raise damaged(file, problem) from problem


def damaged(file: Path, problem: Exception) -> InputError:
    """The error for a file that does not unpack."""
    return InputError(
        str(file), f"damaged {file.suffix} file ({problem}); copy or compress it again"
    )


def parse(data: bytes, file: Path, place: int, *, is_json: bool) -> list[str]:
    """Text of lines; all at once when nothing is wrong, which is nearly always."""
    try:
        texts = data.removesuffix(b"\n").decode().replace("\r\n", "\n").split("\n")
        return [json_text(text) for text in texts] if is_json else texts
    except ValueError:
        texts = []
        for line in data.removesuffix(b"\n").split(b"\n"):
            texts.append(parse_line(line, file, place, is_json=is_json))
            place += len(line) + 1
        return texts


def parse_line(line: bytes, file: Path, place: int, *, is_json: bool) -> str:
    """Text of one line of a file.

    Raises:
        InputError: it is not UTF-8, or not an object with a text.
    """
    try:
        return line_text(line, is_json=is_json)
    except ValueError as problem:
        raise bad_line(file, place, str(problem)) from problem


def line_text(line: bytes, *, is_json: bool) -> str:
    """Text of a line without its end.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        text = line.decode().removesuffix("\n").removesuffix("\r")
        return json_text(text) if is_json else text
    except UnicodeDecodeError as problem:
        byte = line[problem.start]
        raise ValueError(
            f"not UTF-8: byte 0x{byte:02x} at byte {problem.start} of the line"
        ) from problem
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON: {problem.msg} at column {problem.colno}") from problem


def json_text(line: str) -> str:
    """The text of a JSON Lines record.

    Raises:
        ValueError: it has none.
    """
    if not line.strip():
        return ""
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError('not an object with a string "text"')
    text: str = record["text"]
    if "\\u" in line:
        reject_surrogates(text)
    return text


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


def bad_line(file: Path, place: int, problem: str) -> InputError:
    """The error for a line, with its number.

    Args:
        file: where it stands.
        place: byte at which the line starts.
        problem: what is wrong.
    """
    number, left = 1, place
    with open_binary(file) as stream:
        while left:
            block = stream.read(min(left, BATCH_BYTES))
            number += block.count(b"\n")
            left -= len(block)
    return InputError(f"{file}:{number}", f"{problem} (the line starts at byte {place})")
