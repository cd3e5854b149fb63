"""The command `glmctl tokenize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option

from glmctl.cli import options, render
from glmctl.cli.audit import audit_tokenizer, compare_tokenizers
from glmctl.errors import UsageError

if TYPE_CHECKING:
    from glmctl.stages.tokenize import LineResult

Inputs = Annotated[
    list[str] | None,
    Argument(
        metavar="INPUT",
        help="Text or JSON Lines, files or folders; stdin without one. "
        "With --out and --train also Parquet, and data sets as hf:NAME@REVISION.",
    ),
]
Kind = Annotated[
    Literal["wordpiece", "byte_bpe", "sentencepiece"] | None,
    Option("--kind", help="Kind of the vocabulary; seen from the file unless given."),
]
Special = Annotated[
    Literal["glmctl", "glm-english", "glm-english-task", "glm-chinese", "glm-chinese-10b"] | None,
    Option("--special", help="Layout of the special tokens; the usual one unless given."),
]
Decode = Annotated[bool, Option("--decode", help="From ids to text.")]
Train = Annotated[bool, Option("--train", help="Learn a vocabulary; --out names its file.")]
VocabSize = Annotated[
    int | None, Option("--vocab-size", min=1, metavar="N", help="Of the new vocabulary.")
]
ModelType = Annotated[
    Literal["unigram", "bpe"] | None,
    Option("--model-type", help="Algorithm of the new vocabulary; unigram unless given."),
]
Out = Annotated[
    Path | None,
    Option("--out", metavar="DIR|FILE", help="Write training shards, or the new vocabulary."),
]
Processes = Annotated[
    int | None,
    Option(
        "--processes", min=1, metavar="N", help="How many write shards at once; 1 unless given."
    ),
]


Column = Annotated[
    str | None,
    Option("--column", metavar="NAME", help="Key or column of the text; text unless given."),
]
Split = Annotated[
    str | None,
    Option("--split", metavar="NAME", help="Of a data set; train unless given."),
]
Config = Annotated[
    str | None,
    Option("--config", metavar="NAME", help="Of a data set; its default unless given."),
]
OnError = Annotated[
    Literal["stop", "skip"] | None,
    Option("--on-error", help="What a row without a text does; stop unless given."),
]


Audit = Annotated[
    bool,
    Option("--audit", help="Find what would spoil training, in the vocabulary and over INPUT."),
]
Diff = Annotated[
    tuple[str, str] | None,
    Option("--diff", metavar="A B", help="Show where two tokenizers cut the text differently."),
]
Limit = Annotated[
    int | None,
    Option("--limit", min=0, metavar="N", help="Lines of --diff to show; 10, or all with --json."),
]


SOURCES = {"--column", "--split", "--config", "--on-error"}
VOCABULARY = {"--tokenizer", "--kind", "--special"}
GOES_WITH = {
    "--train": SOURCES | {"--out", "--vocab-size", "--model-type"},
    "--decode": VOCABULARY,
    "--audit": VOCABULARY,
    "--diff": {"--limit"},
    "--out": SOURCES | VOCABULARY | {"--processes"},
    "encoding": VOCABULARY,
}


def tokenize(
    inputs: Inputs = None,
    tokenizer: options.Tokenizer = None,  # glmctl-default
    kind: Kind = None,
    special: Special = None,
    decode: Decode = False,
    train: Train = False,
    vocab_size: VocabSize = None,
    model_type: ModelType = None,
    out: Out = None,
    processes: Processes = None,
    column: Column = None,
    split: Split = None,
    config: Config = None,
    on_error: OnError = None,
    audit: Audit = False,
    diff: Diff = None,
    limit: Limit = None,
    as_json: options.Json = False,
) -> None:
    """Turn each line of text into ids, or the text into training shards or a vocabulary."""
    given = {
        "--tokenizer": tokenizer,
        "--kind": kind,
        "--special": special,
        "--decode": decode,
        "--train": train,
        "--vocab-size": vocab_size,
        "--model-type": model_type,
        "--out": out,
        "--processes": processes,
        "--column": column,
        "--split": split,
        "--config": config,
        "--on-error": on_error,
        "--audit": audit,
        "--diff": diff,
        "--limit": limit is not None,
    }
    check_options({name for name, value in given.items() if value})
    from glmctl.core.tokenizer.load import DEFAULT, find_tokenizer
    from glmctl.stages import tokenize as stage

    sources = inputs or []
    if train and vocab_size and out:
        algorithm = model_type or "unigram"
        corpora = stage.corpora_of(sources, config=config, split=split, column=column)
        learned = stage.train(corpora, vocab_size, algorithm, out, on_error or "stop", render.bar)
        render.show(learned, as_json=as_json)
        return
    if diff:
        compare_tokenizers(sources, diff, limit, as_json=as_json)
        return
    found = find_tokenizer(tokenizer or DEFAULT, kind=kind, special=special)
    if audit:
        audit_tokenizer(sources, found, tokenizer or DEFAULT, as_json=as_json)
        return
    if out:
        corpora = stage.corpora_of(sources, config=config, split=split, column=column)
        shards = stage.write(corpora, found, out, processes or 1, on_error or "stop", render.bar)
        render.show(shards, as_json=as_json)
        return
    batches = (
        stage.decode(sources, found, one_line=not as_json)
        if decode
        else stage.encode(sources, found, with_pieces=as_json)
    )
    has_errors = False
    for lines in batches:
        for line in lines:
            has_errors |= line.error is not None
            if as_json:
                render.emit("TokenizedLine", record_of(line))
            else:
                print_line(line, decode=decode)
        render.flush()
    if has_errors:
        raise Exit(1)


def check_options(given: set[str]) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: naming each.
    """
    mode = next((mode for mode in GOES_WITH if mode in given), "encoding")
    problems = [
        f"{option} does not go with {mode}" for option in sorted(given - GOES_WITH[mode] - {mode})
    ]
    if mode == "--train" and not given >= {"--vocab-size", "--out"}:
        problems.append("--train needs --vocab-size N and --out FILE")
    if problems:
        raise UsageError("glmctl tokenize", *problems)


def print_line(line: LineResult, *, decode: bool) -> None:
    """One line in, one line out: an empty one in place of what failed."""
    if line.error is not None:
        render.complain(f"{line.place}: {line.error}")
    render.say(line.text if decode else " ".join(map(str, line.ids)))


def record_of(line: LineResult) -> dict[str, Any]:
    """A line as JSON; the pieces and the characters that they cover when there are any."""
    record: dict[str, Any] = {"file": line.file, "line": line.line}
    if line.error is not None:
        return {**record, "error": line.error}
    record |= {"text": line.text, "ids": line.ids}
    if line.pieces is not None:
        record["pieces"] = [piece.text for piece in line.pieces]
        record["offsets"] = [[piece.start, piece.stop] for piece in line.pieces]
    return record
