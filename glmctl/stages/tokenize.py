"""Text to ids and back, token shards, and new vocabularies."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from glmctl.core.data.sharding import ShardPlan, plan_shards, publish, write_shards
from glmctl.core.data.text import (
    JSON_LINES,
    file_lines,
    find_files,
    line_text,
    read_documents,
    stream_lines,
    text_suffix,
)
from glmctl.core.tokenizer.base import Piece, Tokenizer
from glmctl.core.tokenizer.sentencepiece import load_sentencepiece, train_sentencepiece
from glmctl.errors import InputError, UsageError

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class LineResult:
    """What became of one line of the input."""

    file: str | None
    """None for the standard input."""
    line: int
    """Number of the line, from 1."""
    ids: list[int] = field(default_factory=list)
    text: str = ""
    pieces: list[Piece] | None = None
    """Only when they are asked for."""
    error: str | None = None
    """What is wrong with the line."""

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.file is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class ShardsResult:
    """Token shards that are whole."""

    folder: str
    num_documents: int
    num_tokens: int
    num_empty: int
    """Empty lines and texts, which are no documents."""
    num_shards: int
    dtype: str
    tokenizer: str
    """Fingerprint."""


@dataclass(frozen=True)
class VocabularyResult:
    """A vocabulary that was learned."""

    file: str
    vocab_size: int
    model_type: str
    is_lossless: bool


def write(
    inputs: Sequence[str], tokenizer: Tokenizer, out: Path, processes: int, progress: Progress
) -> ShardsResult:
    """Write training shards; a run that was interrupted continues.

    Args:
        inputs: files, folders and built-in names.
        tokenizer: its control strings in the text stay text.
        out: folder of the shards.
        processes: how many work at once.
        progress: shows how many of so many bytes are done.
    """
    if not inputs:
        raise UsageError("--out", "shards are made from files; name them as INPUT")
    plan: ShardPlan = plan_shards(inputs, tokenizer.config)
    with progress(plan.num_bytes, "bytes") as advance:
        manifest = write_shards(plan, out, processes, advance)
    return ShardsResult(
        folder=str(out),
        num_documents=manifest["num_documents"],
        num_tokens=manifest["num_tokens"],
        num_empty=manifest["num_empty"],
        num_shards=len(manifest["shards"]),
        dtype=manifest["dtype"],
        tokenizer=manifest["tokenizer"],
    )


def train(
    inputs: Sequence[str],
    vocab_size: int,
    model_type: Literal["unigram", "bpe"],
    out: Path,
    progress: Progress,
) -> VocabularyResult:
    """Learn a SentencePiece vocabulary that loses nothing."""
    if not inputs:
        raise UsageError("--train", "a vocabulary is learned from files; name them as INPUT")
    with progress(sum(1 for source in inputs for _ in find_files(source)), "files") as advance:
        model = train_sentencepiece(all_documents(inputs, advance), vocab_size, model_type)
    out.parent.mkdir(parents=True, exist_ok=True)
    publish(out, model)
    return VocabularyResult(
        str(out), vocab_size, model_type, is_lossless=load_sentencepiece(out).is_lossless
    )


def all_documents(inputs: Sequence[str], advance: Callable[[int], None]) -> Iterator[str]:
    """The documents of all inputs; every file that is read counts."""
    for source in inputs:
        for file in find_files(source):
            yield from read_documents(file)
            advance(1)


def encode(
    inputs: Sequence[str], tokenizer: Tokenizer, *, with_pieces: bool
) -> Iterator[list[LineResult]]:
    """Ids of every line, in order, as many lines at a time as have arrived."""
    for lines, first, file in read_lines(inputs):
        is_json = file is not None and text_suffix(file) in JSON_LINES
        found = [text_or_error(line, is_json=is_json) for line in lines]
        rows = tokenizer.encode_batch([text for text, _ in found])
        yield [
            LineResult(
                file=None if file is None else str(file),
                line=first + offset,
                ids=row.tolist(),
                text=text,
                pieces=tokenizer.pieces(text) if with_pieces else None,
                error=error,
            )
            for offset, ((text, error), row) in enumerate(zip(found, rows, strict=True))
        ]


def decode(
    inputs: Sequence[str], tokenizer: Tokenizer, *, one_line: bool
) -> Iterator[list[LineResult]]:
    """Text of every line of ids, in order.

    Args:
        inputs: files; the standard input without one.
        tokenizer: of the ids.
        one_line: a text of several lines is an error, as it would not be one line out.
    """
    for lines, first, file in read_lines(inputs):
        results = []
        for offset, line in enumerate(lines):
            ids, text, error = decode_line(line, tokenizer)
            if one_line and "\n" in text:
                text, error = "", "the text has several lines; --json shows it"
            name = None if file is None else str(file)
            results.append(LineResult(name, first + offset, ids, text, error=error))
        yield results


def decode_line(line: bytes, tokenizer: Tokenizer) -> tuple[list[int], str, str | None]:
    """Ids, text and error of a line of ids."""
    ids: list[int] = []
    for word in line.split():
        if not word.isdigit():
            found = word.decode(errors="backslashreplace")
            return [], "", f"{found!r} is not an id; ids are whole numbers"
        ids.append(int(word))
    try:
        return ids, tokenizer.decode(ids), None
    except InputError as problem:
        return ids, "", str(problem)


def text_or_error(line: bytes, *, is_json: bool) -> tuple[str, str | None]:
    try:
        return line_text(line, is_json=is_json), None
    except ValueError as problem:
        return "", str(problem)


def read_lines(inputs: Sequence[str]) -> Iterator[tuple[list[bytes], int, Path | None]]:
    """Lines as they arrive, the number of the first of them, and their file."""
    if not inputs:
        stdin = cast(io.BufferedReader, sys.stdin.buffer)  # BinaryIO lacks read1
        yield from number_lines(stream_lines(stdin), None)
        return
    for file in [file for source in inputs for file in find_files(source)]:
        yield from number_lines(file_lines(file), file)


def number_lines(
    batches: Iterator[list[bytes]], file: Path | None
) -> Iterator[tuple[list[bytes], int, Path | None]]:
    first = 1
    for lines in batches:
        yield lines, first, file
        first += len(lines)
