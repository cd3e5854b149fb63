"""Text to ids and back, token shards, new vocabularies, and what is to be said about one."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from glmctl.core.data.documents import open_sources, read_documents
from glmctl.core.data.sharding import plan_shards, publish, write_shards
from glmctl.core.data.text import BrokenRows, Line, read_texts
from glmctl.core.tokenizer.audit import (
    Finding,
    ScriptUse,
    TextAudit,
    UnknownScript,
    audit_vocabulary,
)
from glmctl.core.tokenizer.base import Piece, Tokenizer
from glmctl.core.tokenizer.compare import Comparison
from glmctl.core.tokenizer.load import rows_of
from glmctl.core.tokenizer.sentencepiece import load_sentencepiece, train_sentencepiece
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import CorpusConfig, OnError

MAX_DIGITS = 10  # no id has more
Record = dict[str, Any]
Progress = Callable[[int | None, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class ShardsResult:
    folder: str
    num_documents: int
    num_tokens: int
    num_empty: int  # empty lines and texts, which are no documents
    num_broken: int  # rows without a text, left out; the manifest names the first few
    num_shards: int
    dtype: str
    tokenizer: str  # fingerprint


@dataclass(frozen=True)
class VocabularyResult:
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
    spoils_training: bool  # whether one of the findings does
    special_tokens: dict[str, int]
    scripts: list[ScriptUse]  # of the text; [] without one
    unknown: list[UnknownScript]
    findings: list[Finding]


def corpora_of(
    inputs: Sequence[str], *, config: str | None, split: str | None, column: str | None
) -> list[CorpusConfig]:
    """What a command line names: files, folders, built-in names, data sets as hf:NAME@REVISION."""
    if not inputs:
        raise UsageError("INPUT", "is missing; name files, folders or hf:NAME to read")
    if (config or split) and not any(source.startswith("hf:") for source in inputs):
        option = "--config" if config else "--split"
        raise UsageError(option, "goes with a data set only; name one as hf:NAME")
    corpora = []
    for source in inputs:
        place: dict[str, str | None] = {"path": source}
        if source.startswith("hf:"):
            dataset, _, revision = source.removeprefix("hf:").partition("@")
            place = {"dataset": dataset, "revision": revision or None}
            place |= {"config": config, "split": split}
        values = {"name": source, "column": column or "text", **place}
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
    """Write training shards, in which control strings stay text; what was interrupted continues."""
    plan = plan_shards(corpora, tokenizer, on_error=on_error)
    with progress(plan.num_bytes, "bytes") as advance:
        manifest = write_shards(plan, out, processes, advance)
    copied = ("num_documents", "num_tokens", "num_empty", "num_broken", "dtype", "tokenizer")
    return ShardsResult(
        folder=str(out),
        num_shards=len(manifest["shards"]),
        **{name: manifest[name] for name in copied},
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

    def documents() -> Iterator[str]:
        for source in sources:
            yield from read_documents(source, broken)
            advance(1)

    with progress(len(sources), "files") as advance:
        model = train_sentencepiece(documents(), vocab_size, model_type)
    out.parent.mkdir(parents=True, exist_ok=True)
    with publish(out) as stream:
        stream.write(model)
    broken.warn()
    return VocabularyResult(
        str(out), vocab_size, model_type, is_lossless=load_sentencepiece(out).is_lossless
    )


def encode(
    inputs: Sequence[str], tokenizer: Tokenizer, *, with_pieces: bool
) -> Iterator[list[Record]]:
    """Ids of every line, in order, as many lines at a time as have arrived.

    ``with_pieces`` adds the pieces and the characters that they cover.
    """
    for lines in read_texts(inputs):
        records = [line.record() for line in lines]
        rows = tokenizer.encode_batch([line.text for line in lines])
        for record, row in zip(records, rows, strict=True):
            if "error" not in record:
                record["ids"] = row.tolist()
                if with_pieces:
                    record |= columns(tokenizer.pieces(record["text"]))
        yield records


def columns(pieces: Sequence[Piece]) -> Record:
    return {
        "ids": [piece.id for piece in pieces],
        "pieces": [piece.text for piece in pieces],
        "offsets": [[piece.start, piece.stop] for piece in pieces],
    }


def audit(
    inputs: Sequence[str], tokenizer: Tokenizer, name: str, progress: Progress
) -> AuditResult:
    """Find out what would spoil training with a tokenizer, which the command line calls `name`.

    Text is looked at where it is given or piped in; else the vocabulary alone.
    """
    text = TextAudit(tokenizer)
    broken: Line | None = None
    num_broken = 0
    if inputs or not sys.stdin.isatty():
        with progress(None, "lines") as advance:
            for lines in read_texts(inputs):
                text.add([line.text for line in lines], [line.place for line in lines])
                wrong = [line for line in lines if line.error is not None]
                num_broken += len(wrong)
                broken = broken or next(iter(wrong), None)
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


def diff(
    inputs: Sequence[str], comparison: Comparison, limit: int | None
) -> Iterator[list[Record]]:
    """The lines that two tokenizers cut differently, with both cuts and where they begin to differ.

    Of these the first `limit`, of those that cannot be read all; the comparison adds up everything.
    """
    num_shown = 0
    for lines in read_texts(inputs):
        different = comparison.add([line.text for line in lines])
        records = [line.record() for line in lines if line.error is not None]
        for index, start in different.items():
            if limit is None or num_shown < limit:
                num_shown += 1
                a, b = comparison.pieces(lines[index].text)
                cuts = {"at": start, "a": columns(a), "b": columns(b)}
                records.append(lines[index].record() | cuts)
        yield sorted(records, key=itemgetter("line"))


def decode(
    inputs: Sequence[str], tokenizer: Tokenizer, *, one_line: bool
) -> Iterator[list[Record]]:
    """Text of every line of ids, in order.

    ``one_line``: a text of several lines is an error, as it would not be one line out.
    """
    for lines in read_texts(inputs):
        yield [decode_line(line, tokenizer, one_line=one_line) for line in lines]


def decode_line(line: Line, tokenizer: Tokenizer, *, one_line: bool) -> Record:
    """The text of the ids that a line holds, or what is wrong with them."""
    words = line.text.split()
    wrong = [word for word in words if not (word.isdecimal() and len(word) < MAX_DIGITS)]
    ids = [] if wrong else [*map(int, words)]
    text, problem = "", line.error
    if wrong:
        problem = f"{wrong[0]!r} is not an id; ids are whole numbers"
    else:
        try:
            text = tokenizer.decode(ids)
        except InputError as error:
            problem = str(error)
    if one_line and "\n" in text:
        problem = "the text has several lines; --json shows it"
    record = replace(line, text=text, error=problem).record()
    return record if problem is not None else record | {"ids": ids}
