"""The command `glmctl tokenize`."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Context, Exit, Option

from glmctl.cli import options, render
from glmctl.cli.audit import audit_tokenizer, compare_tokenizers
from glmctl.cli.lines import answer, given_options
from glmctl.cli.options import value
from glmctl.errors import UsageError

Layout = Literal[
    "glmctl", "glm-english", "glm-english-task", "glm-chinese", "glm-chinese-10b",
    "chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414",
]  # fmt: skip
Algorithm = Literal["unigram", "bpe"]
OnError = Literal["stop", "skip"]
Kind = Literal["wordpiece", "byte_bpe", "sentencepiece", "tiktoken", "tokenizer_json"]
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
"""The modes, and the options that each of them has."""


def tokenize(
    context: Context,
    inputs: Annotated[
        list[str] | None,
        Argument(
            metavar="INPUT",
            help="Text or JSON Lines, files or folders; stdin without one. "
            "With --out and --train also Parquet, and data sets as hf:NAME@REVISION.",
        ),
    ] = None,
    tokenizer: options.Tokenizer = None,  # glmctl-default
    kind: Annotated[Kind | None, Option(help="Of the vocabulary; seen from the file.")] = None,
    special: Annotated[
        Layout | None, Option(help="Layout of the special tokens; the usual one unless given.")
    ] = None,
    decode: Annotated[bool, Option("--decode", help="From ids to text.")] = False,
    train: Annotated[bool, Option("--train", help="Learn a vocabulary into --out.")] = False,
    vocab_size: Annotated[int | None, value("N", "Of the new vocabulary.", 1)] = None,
    model_type: Annotated[
        Algorithm | None, Option(help="Algorithm of the new vocabulary; unigram unless given.")
    ] = None,
    out: Annotated[Path | None, value("DIR|FILE", "Write shards, or the new vocabulary.")] = None,
    processes: Annotated[int | None, value("N", "How many write shards; 1 by default.", 1)] = None,
    column: Annotated[str | None, value("NAME", "Of the text: its key or column.")] = None,
    split: Annotated[str | None, value("NAME", "Of a data set; train unless given.")] = None,
    config: Annotated[str | None, value("NAME", "Of a data set; else its default.")] = None,
    on_error: Annotated[
        OnError | None, Option(help="What a row without a text does; stop unless given.")
    ] = None,
    audit: Annotated[
        bool,
        Option("--audit", help="Find what would spoil training, in the vocabulary and over INPUT."),
    ] = False,
    diff: Annotated[
        tuple[str, str] | None, value("A B", "Show where two tokenizers cut the text differently.")
    ] = None,
    limit: Annotated[
        int | None, value("N", "Lines of --diff to show; 10, or all with --json.", 0)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Turn each line of text into ids, or the text into training shards or a vocabulary."""
    check_options(context)
    from glmctl.core.tokenizer.load import DEFAULT, find_tokenizer
    from glmctl.stages import tokenize as stage

    sources, stop_or_skip = inputs or [], on_error or "stop"
    schema = "TokenizedLine" if as_json else None
    if diff:
        compare_tokenizers(sources, diff, limit, as_json=as_json)
        return
    if train and vocab_size and out:
        corpora = stage.corpora_of(sources, config=config, split=split, column=column)
        rules = (vocab_size, model_type or "unigram", out, stop_or_skip)
        render.show(stage.train(corpora, *rules, render.bar), as_json=as_json)
        return
    found = find_tokenizer(tokenizer or DEFAULT, kind=kind, special=special)
    has_errors = False
    if audit:
        audit_tokenizer(sources, found, tokenizer or DEFAULT, as_json=as_json)
    elif out:
        corpora = stage.corpora_of(sources, config=config, split=split, column=column)
        shards = stage.write(corpora, found, out, processes or 1, stop_or_skip, render.bar)
        render.show(shards, as_json=as_json)
    elif decode:
        records = stage.decode(sources, found, one_line=not as_json)
        has_errors = answer(records, lambda it: render.say(it["text"]), schema)
    else:
        records = stage.encode(sources, found, with_pieces=as_json)
        has_errors = answer(records, lambda it: render.say(" ".join(map(str, it["ids"]))), schema)
    if has_errors:
        raise Exit(1)


def check_options(context: Context) -> None:
    """Refuse options that would do nothing."""
    given = given_options(context) - {"--inputs", "--as-json"}
    mode = next((mode for mode in GOES_WITH if mode in given), "encoding")
    others = sorted(given - GOES_WITH[mode] - {mode})
    problems = [f"{option} does not go with {mode}" for option in others]
    if mode == "--train" and not given >= {"--vocab-size", "--out"}:
        problems.append("--train needs --vocab-size N and --out FILE")
    if problems:
        raise UsageError("glmctl tokenize", *problems)
