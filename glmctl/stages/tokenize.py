"""Text to ids and back, token shards, new vocabularies, and what is to be said about one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from glmctl.core.data.documents import Part, open_sources, read_documents
from glmctl.core.data.sharding import plan_shards, publish, write_shards
from glmctl.core.data.text import (
    JSON_LINES,
    BrokenRows,
    file_lines,
    find_files,
    line_text,
    stream_lines,
    text_suffix,
)
from glmctl.core.tokenizer.audit import (
    Finding,
    ScriptUse,
    TextAudit,
    UnknownScript,
    audit_vocabulary,
)
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.compare import Comparison
from glmctl.core.tokenizer.load import rows_of
from glmctl.core.tokenizer.sentencepiece import load_sentencepiece, train_sentencepiece
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import CorpusConfig, OnError

MAX_DIGITS = 10
"""No id has more."""
Progress = Callable[[int | None, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Line:
    """A line of the input, and what became of it."""

    file: str | None
    """None for the standard input."""
    number: int
    """From 1."""
    text: str = ""
    ids: list[int] = field(default_factory=list)
    error: str | None = None
    """What is wrong with the line."""

    @property
    def place(self) -> str:
        return f"line {self.number}" if self.file is None else f"{self.file}:{self.number}"


@dataclass(frozen=True)
class ShardsResult:
    """Token shards that are whole."""

    folder: str
    num_documents: int
    num_tokens: int
    num_empty: int
    """Empty lines and texts, which are no documents."""
    num_broken: int
    """Rows without a text, left out; the manifest names the first few."""
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


@dataclass(frozen=True)
class AuditResult:
    """What is to be known about a tokenizer before training."""

    tokenizer: str
    kind: str
    special: str
    size: int
    is_lossless: bool
    spoils_training: bool
    """Whether one of the findings does."""
    special_tokens: dict[str, int]
    scripts: list[ScriptUse]
    """Of the text; [] without one."""
    unknown: list[UnknownScript]
    findings: list[Finding]


def corpora_of(
    inputs: Sequence[str], *, config: str | None, split: str | None, column: str | None
) -> list[CorpusConfig]:
    """What a command line names: files, folders, built-in names, and data sets as hf:NAME@REVISION.

    Raises:
        UsageError: there is nothing, or an option that goes with data sets only.
    """
    if not inputs:
        raise UsageError("INPUT", "is missing; name files, folders or hf:NAME to read")
    if (config or split) and not any(source.startswith("hf:") for source in inputs):
        option = "--config" if config else "--split"
        raise UsageError(option, "goes with a data set only; name one as hf:NAME")
    corpora = []
    for source in inputs:
        values: dict[str, str | None] = {"name": source, "path": source}
        values["column"] = column or "text"
        if source.startswith("hf:"):
            dataset, _, revision = source.removeprefix("hf:").partition("@")
            values |= {"dataset": dataset, "revision": revision or None, "path": None}
            values |= {"config": config, "split": split}
        corpora.append(CorpusConfig.model_validate(values))
    return corpora


def write(
    corpora: Sequence[CorpusConfig],
    tokenizer: Tokenizer,
    out: Path,
    processes: int,
    on_error: OnError,
    progress: Progress,
) -> ShardsResult:
    """Write training shards; a run that was interrupted continues.

    Args:
        corpora: the text.
        tokenizer: its control strings in the text stay text.
        out: folder of the shards.
        processes: how many work at once.
        on_error: what a row without a text does.
        progress: shows how many of so many bytes are done.
    """
    plan = plan_shards(corpora, tokenizer, on_error=on_error)
    with progress(plan.num_bytes, "bytes") as advance:
        manifest = write_shards(plan, out, processes, advance)
    return ShardsResult(
        folder=str(out),
        num_documents=manifest["num_documents"],
        num_tokens=manifest["num_tokens"],
        num_empty=manifest["num_empty"],
        num_broken=manifest["num_broken"],
        num_shards=len(manifest["shards"]),
        dtype=manifest["dtype"],
        tokenizer=manifest["tokenizer"],
    )


def train(
    corpora: Sequence[CorpusConfig],
    vocab_size: int,
    model_type: Literal["unigram", "bpe"],
    out: Path,
    on_error: OnError,
    progress: Progress,
) -> VocabularyResult:
    """Learn a SentencePiece vocabulary that loses nothing."""
    sources = open_sources(corpora)
    broken = BrokenRows(on_error)
    with progress(len(sources), "files") as advance:
        documents = all_documents(sources, broken, advance)
        model = train_sentencepiece(documents, vocab_size, model_type)
    out.parent.mkdir(parents=True, exist_ok=True)
    with publish(out) as stream:
        stream.write(model)
    broken.warn()
    return VocabularyResult(
        str(out), vocab_size, model_type, is_lossless=load_sentencepiece(out).is_lossless
    )


def all_documents(
    sources: Sequence[Part], broken: BrokenRows, advance: Callable[[int], None]
) -> Iterator[str]:
    """The documents of all sources; every one that is read counts."""
    for source in sources:
        yield from read_documents(source, broken)
        advance(1)


def encode(inputs: Sequence[str], tokenizer: Tokenizer) -> Iterator[list[Line]]:
    """Ids of every line, in order, as many lines at a time as have arrived."""
    for lines in read_texts(inputs):
        rows = tokenizer.encode_batch([line.text for line in lines])
        yield [replace(line, ids=row.tolist()) for line, row in zip(lines, rows, strict=True)]


def audit(
    inputs: Sequence[str], tokenizer: Tokenizer, name: str, progress: Progress
) -> AuditResult:
    """Find out what would spoil training with a tokenizer.

    Args:
        inputs: text to look at; without any, what is piped in, or the vocabulary alone.
        tokenizer: to look at.
        name: of the tokenizer, as a command line names it.
        progress: shows how many lines are done.
    """
    text = TextAudit(tokenizer)
    broken: Line | None = None
    num_broken = 0
    if inputs or not sys.stdin.isatty():
        with progress(None, "lines") as advance:
            for lines in read_texts(inputs):
                text.add([line.text for line in lines], [line.place for line in lines])
                for line in lines:
                    if line.error is not None:
                        num_broken += 1
                        broken = broken or line
                advance(len(lines))
    findings = [*audit_vocabulary(tokenizer, rows_of(name)), *text.findings()]
    if broken is not None:
        what = f"lines that cannot be read: {num_broken:,}; the first is {broken.error}"
        remedy = "repair the lines, or make shards with --on-error skip"
        findings.append(Finding("unreadable_lines", broken.place, what, remedy, True))
    return AuditResult(
        tokenizer=name,
        kind=tokenizer.config.kind,
        special=tokenizer.config.special,
        size=tokenizer.size,
        is_lossless=tokenizer.is_lossless,
        spoils_training=any(finding.spoils_training for finding in findings),
        special_tokens=dict(tokenizer.special.strings),
        scripts=text.scripts(),
        unknown=[*text.unknown.values()],
        findings=findings,
    )


def diff(inputs: Sequence[str], comparison: Comparison) -> Iterator[list[tuple[Line, int]]]:
    """The lines that two tokenizers cut differently, and those that cannot be read.

    Args:
        inputs: text to compare on; the standard input without one.
        comparison: adds up the rest.

    Returns:
        Each with the character where the first difference starts.
    """
    for lines in read_texts(inputs):
        different = comparison.add([line.text for line in lines])
        yield [
            (line, different.get(index, 0))
            for index, line in enumerate(lines)
            if index in different or line.error is not None
        ]


def decode(inputs: Sequence[str], tokenizer: Tokenizer, *, one_line: bool) -> Iterator[list[Line]]:
    """Text of every line of ids, in order.

    Args:
        inputs: files; the standard input without one.
        tokenizer: of the ids.
        one_line: a text of several lines is an error, as it would not be one line out.
    """
    for lines in read_texts(inputs):
        yield [decode_line(line, tokenizer, one_line=one_line) for line in lines]


def decode_line(line: Line, tokenizer: Tokenizer, *, one_line: bool) -> Line:
    """A line with the text of the ids that it holds, or with what is wrong with them."""
    words = line.text.split()
    if wrong := [word for word in words if not (word.isdecimal() and len(word) < MAX_DIGITS)]:
        return replace(line, text="", error=f"{wrong[0]!r} is not an id; ids are whole numbers")
    ids = [*map(int, words)]
    try:
        text = tokenizer.decode(ids)
    except InputError as problem:
        return replace(line, text="", error=str(problem))
    if one_line and "\n" in text:
        return replace(line, text="", error="the text has several lines; --json shows it")
    return replace(line, text=text, ids=ids)


def read_texts(inputs: Sequence[str]) -> Iterator[list[Line]]:
    """Texts of the lines as they arrive, or what is wrong with a line; of stdin without inputs."""
    stdin = cast(io.BufferedReader, sys.stdin.buffer)  # BinaryIO lacks read1
    files: list[Path | None] = [file for source in inputs for file in find_files(source)]
    for file in files or [None]:
        name = None if file is None else str(file)
        is_json = file is not None and text_suffix(file) in JSON_LINES
        number = 1
        for lines in stream_lines(stdin) if file is None else file_lines(file):
            yield [
                read_line(name, place, line, is_json) for place, line in enumerate(lines, number)
            ]
            number += len(lines)


def read_line(file: str | None, number: int, line: bytes, is_json: bool) -> Line:
    try:
        return Line(file, number, line_text(line, is_json=is_json))
    except ValueError as problem:
        return Line(file, number, error=str(problem))
