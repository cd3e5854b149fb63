"""Text to ids and back, token shards, new vocabularies, and what is to be said about one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from glmctl.core.data.documents import Source, open_sources, read_documents
from glmctl.core.data.sharding import ShardPlan, plan_shards, publish, warn_of, write_shards
from glmctl.core.data.text import (
    JSON_LINES,
    BrokenRows,
    file_lines,
    find_files,
    line_text,
    stream_lines,
    text_suffix,
)
from glmctl.core.tokenizer.audit import Finding, SpecialToken, audit_vocabulary, special_tokens
from glmctl.core.tokenizer.base import Piece, Tokenizer
from glmctl.core.tokenizer.compare import Comparison, Disagreement
from glmctl.core.tokenizer.coverage import Coverage, ScriptUse, TextUse, UnknownScript
from glmctl.core.tokenizer.load import rows_of
from glmctl.core.tokenizer.sentencepiece import load_sentencepiece, train_sentencepiece
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import CorpusConfig, OnError

Progress = Callable[[int | None, str], AbstractContextManager[Callable[[int], None]]]


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
    findings: list[Finding]
    special_tokens: list[SpecialToken]
    text: TextUse | None
    """None without text; then there are no scripts either."""
    scripts: list[ScriptUse]
    unknown: list[UnknownScript]


@dataclass(frozen=True)
class DiffSide:
    """One of two tokenizers over a text."""

    tokenizer: str
    num_tokens: int
    tokens_per_line: float
    characters_per_token: float
    num_unknown: int


@dataclass(frozen=True)
class DiffResult:
    """Two tokenizers over a text."""

    num_lines: int
    """Empty ones are not counted."""
    num_different: int
    different_share: float
    a: DiffSide
    b: DiffSide


def corpora_of(
    inputs: Sequence[str], *, config: str | None, split: str | None, column: str | None
) -> list[CorpusConfig]:
    """What a command line names: files, folders, built-in names, and data sets as hf:NAME@REVISION.

    Raises:
        UsageError: there is nothing, or an option that goes with data sets only.
    """
    if not inputs:
        raise UsageError("INPUT", "is missing; name files, folders or hf:NAME to read")
    names = [source.removeprefix("hf:") for source in inputs if source.startswith("hf:")]
    if not names and (config or split):
        option = "--config" if config else "--split"
        raise UsageError(option, "goes with a data set only; name one as hf:NAME")
    corpora = []
    for source in inputs:
        corpus = CorpusConfig(name=source, path=source, column=column or "text")
        if source.startswith("hf:"):
            dataset, _, revision = source.removeprefix("hf:").partition("@")
            values = {"dataset": dataset, "revision": revision or None, "path": None}
            corpus = corpus.model_copy(update=values | {"config": config, "split": split})
        corpora.append(corpus)
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
    plan: ShardPlan = plan_shards(corpora, tokenizer.config, on_error=on_error)
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
    publish(out, model)
    warn_of(broken.count, [": ".join(row.describe()) for row in broken.first])
    return VocabularyResult(
        str(out), vocab_size, model_type, is_lossless=load_sentencepiece(out).is_lossless
    )


def all_documents(
    sources: Sequence[Source], broken: BrokenRows, advance: Callable[[int], None]
) -> Iterator[str]:
    """The documents of all sources; every one that is read counts."""
    for source in sources:
        yield from read_documents(source, broken)
        advance(1)


def encode(
    inputs: Sequence[str], tokenizer: Tokenizer, *, with_pieces: bool
) -> Iterator[list[LineResult]]:
    """Ids of every line, in order, as many lines at a time as have arrived."""
    for lines in read_texts(inputs):
        rows = tokenizer.encode_batch([line.text for line in lines])
        yield [
            replace(
                line,
                ids=row.tolist(),
                pieces=tokenizer.pieces(line.text) if with_pieces else None,
            )
            for line, row in zip(lines, rows, strict=True)
        ]


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
    coverage = Coverage(tokenizer)
    first_broken: LineResult | None = None
    num_broken = 0
    if inputs or not sys.stdin.isatty():
        with progress(None, "lines") as advance:
            for lines in read_texts(inputs):
                coverage.add([line.text for line in lines], [line.place for line in lines])
                broken = [line for line in lines if line.error is not None]
                num_broken += len(broken)
                first_broken = first_broken or next(iter(broken), None)
                advance(len(lines))
    findings = audit_vocabulary(tokenizer, rows_of(name))
    if first_broken is not None:
        findings.append(unreadable(num_broken, first_broken))
    findings += coverage.findings()
    return AuditResult(
        tokenizer=name,
        kind=tokenizer.config.kind,
        special=tokenizer.config.special,
        size=tokenizer.size,
        is_lossless=tokenizer.is_lossless,
        spoils_training=any(finding.spoils_training for finding in findings),
        findings=findings,
        special_tokens=special_tokens(tokenizer),
        text=coverage.text_use() if coverage.lines else None,
        scripts=coverage.scripts(),
        unknown=coverage.unknown_scripts(),
    )


def unreadable(count: int, first: LineResult) -> Finding:
    """The finding of lines that hold no text."""
    return Finding(
        "unreadable_lines",
        f"lines that cannot be read: {count:,}; the first is {first.error}",
        first.place,
        "repair the lines, or make shards with --on-error skip",
        spoils_training=True,
    )


def diff(
    inputs: Sequence[str], comparison: Comparison, limit: int | None
) -> Iterator[list[tuple[LineResult, Disagreement | None]]]:
    """The lines that two tokenizers cut differently, and those that cannot be read.

    Args:
        inputs: text to compare on; the standard input without one.
        comparison: adds up the rest.
        limit: of the lines that differ, how many to give; None: all.
    """
    num_given = 0
    for lines in read_texts(inputs):
        different = comparison.add([line.text for line in lines])
        wanted = set(different if limit is None else different[: limit - num_given])
        num_given += len(wanted)
        yield [
            (line, comparison.disagreement(line.text) if index in wanted else None)
            for index, line in enumerate(lines)
            if index in wanted or line.error is not None
        ]


def diff_result(comparison: Comparison, names: Sequence[str]) -> DiffResult:
    """The totals of a comparison of tokenizers with these names."""
    num_lines = comparison.num_lines
    a, b = [
        DiffSide(
            tokenizer=name,
            num_tokens=num_tokens,
            tokens_per_line=num_tokens / max(num_lines, 1),
            characters_per_token=comparison.num_characters / max(num_tokens, 1),
            num_unknown=num_unknown,
        )
        for name, num_tokens, num_unknown in zip(
            names, comparison.num_tokens, comparison.num_unknown, strict=True
        )
    ]
    share = comparison.num_different / max(num_lines, 1)
    return DiffResult(num_lines, comparison.num_different, share, a, b)


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


def read_texts(inputs: Sequence[str]) -> Iterator[list[LineResult]]:
    """Texts of the lines as they arrive, or what is wrong with a line."""
    for lines, first, file in read_lines(inputs):
        is_json = file is not None and text_suffix(file) in JSON_LINES
        name = None if file is None else str(file)
        found = [text_or_error(line, is_json=is_json) for line in lines]
        yield [
            LineResult(name, number, text=text, error=error)
            for number, (text, error) in enumerate(found, start=first)
        ]


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
