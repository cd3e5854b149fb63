"""Filling the blanks of a stream of texts: one line in, one line out, in order."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from pydantic import ValidationError

from glmctl.core.data.text import reject_surrogates, stream_lines
from glmctl.core.decode.explain import Explanation, explain
from glmctl.core.decode.infill import Infilling, Prompt, insert, open_rows
from glmctl.core.decode.script import ScriptWatch
from glmctl.core.decode.search import Fill
from glmctl.core.decode.stream import StreamedToken, stream_fills
from glmctl.core.open import load
from glmctl.core.train.precision import choose_device
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import toml_value
from glmctl.recipe.schema import DecodeConfig

DEFAULT = "glmctl-default"


# Batches that are read before the first of them is filled, where so many lines have arrived.
NUM_SORTED = 16


@dataclass(frozen=True)
class Variant:
    """The whole text with another of the best fills of its last blank."""

    text: str
    score: float


@dataclass(frozen=True)
class LineResult:
    """What became of one line: filled, or the reason why not."""

    line: int
    id: Any = None
    """What its record calls it."""
    filled: Infilling | None = None
    error: str | None = None
    variants: tuple[Variant, ...] = ()
    """Best first; empty unless several were asked for."""
    explanation: Explanation | None = None
    warning: str | None = None


@dataclass(frozen=True)
class LineToken:
    """A token of a line that is still being filled."""

    line: int
    token: StreamedToken


@dataclass(frozen=True)
class Line:
    """A line that was read: its text, or what is wrong with it."""

    id: Any = None
    text: str = ""
    error: str | None = None


class Filler:
    """A model and the settings by which it fills lines."""

    def __init__(
        self,
        model: str | None,
        device: str | None,
        config: DecodeConfig,
        choices: Sequence[str] | None = None,
        batch_size: int = 1,
        *,
        explains: bool = False,
    ) -> None:
        chosen = choose_device(device).type
        # Half precision is an exception on CPUs, and slow there.
        dtype = "float32" if chosen == "cpu" else None
        self.glm = load(model or DEFAULT, device=chosen, dtype=dtype)
        self.tokenizer = self.glm.text_tokenizer()
        self.config = config
        self.choices = choices
        self.batch_size = batch_size
        self.explains = explains
        self.watch = ScriptWatch(self.tokenizer)

    def fill(self, lines: Mapping[int, bytes]) -> Iterator[LineResult]:
        """Fill the good ones of some lines together and say what is wrong with the others."""
        read = {number: read_line(line) for number, line in lines.items()}
        prompts: dict[int, Prompt] = {}
        errors: dict[int, str] = {}
        for number, line in read.items():
            try:
                prompts[number] = self.prompt(line, number)
            except InputError as error:
                errors[number] = "; ".join(error.problems)
        fills: dict[int, list[Fill]] = {}
        if prompts:
            rows = self.glm.fill(
                [*prompts.values()], [*prompts], self.config, self.choices, self.batch_size
            )
            fills = dict(zip(prompts, rows, strict=True))
        for number, line in read.items():
            if number in errors:
                yield LineResult(number, line.id, error=errors[number])
            else:
                yield self.result(number, line, prompts[number], fills[number])

    def stream(self, lines: Mapping[int, bytes]) -> Iterator[LineResult | LineToken]:
        """Fill lines one after another and give each token as it is chosen."""
        for number, raw in lines.items():
            line = read_line(raw)
            try:
                prompt = self.prompt(line, number)
            except InputError as error:
                yield LineResult(number, line.id, error="; ".join(error.problems))
                continue
            (row,) = open_rows([prompt], self.config, [number])
            for token in stream_fills(self.glm.module, prompt, row, self.tokenizer, self.config):
                yield LineToken(number, token)
            yield self.result(number, line, prompt, row.fills)

    def prompt(self, line: Line, number: int) -> Prompt:
        """Part A of a line.

        Raises:
            InputError: it cannot be read, has no blank or is too long.
        """
        if line.error is not None:
            raise InputError(f"line {number}", line.error)
        return self.glm.prompt(line.text, f"line {number}")

    def result(self, number: int, line: Line, prompt: Prompt, fills: list[Fill]) -> LineResult:
        """What there is to say about a filled line."""
        variants = tuple(
            Variant(insert(prompt, [*fills[:-1], other], self.tokenizer).text, other.score)
            for other in fills[-1].ranked
        )
        return LineResult(
            number,
            line.id,
            insert(prompt, fills, self.tokenizer),
            None,
            variants,
            explain(prompt, fills, self.tokenizer) if self.explains else None,
            self.watch.warning(line.text),
        )


def run(
    windows: Iterable[Sequence[bytes]],
    *,
    model: str | None,
    device: str | None,
    config: DecodeConfig,
    choices: Sequence[str] | None,
    batch_size: int,
    explains: bool,
) -> Iterator[LineResult]:
    """Fill every blank of every line; a bad line spoils no other.

    Args:
        windows: lines of UTF-8, each a text or a JSON object with one; those of a window are
            sorted into batches by their length.
        model: what `load` opens; None: the default model of the package.
        device: cpu or cuda; None: cuda when there is one.
        config: how tokens are chosen.
        choices: fill each blank with the best of these instead.
        batch_size: lines filled together.
        explains: whether results come with their explanation.

    Yields:
        One result for each line, in order.
    """
    refuse_idle_options(config, choices, streams=False, explains=explains)
    filler = Filler(model, device, config, choices, batch_size, explains=explains)
    for lines in numbered(windows):
        yield from filler.fill(lines)


def stream(
    windows: Iterable[Sequence[bytes]],
    *,
    model: str | None,
    device: str | None,
    config: DecodeConfig,
    choices: Sequence[str] | None,
) -> Iterator[LineResult | LineToken]:
    """As `run`, one line after another; each token is given as it is chosen."""
    refuse_idle_options(config, choices, streams=True, explains=False)
    filler = Filler(model, device, config)
    for lines in numbered(windows):
        yield from filler.stream(lines)


def numbered(windows: Iterable[Sequence[bytes]]) -> Iterator[dict[int, bytes]]:
    """Lines by their number, from 1."""
    number = 0
    for lines in windows:
        yield dict(enumerate(lines, number + 1))
        number += len(lines)


def refuse_idle_options(
    config: DecodeConfig, choices: Sequence[str] | None, *, streams: bool, explains: bool
) -> None:
    """Stop before anything is loaded.

    Raises:
        UsageError: settings that would do nothing together, or an empty choice.
    """
    if choices is not None:
        if not all(choices):
            raise UsageError(
                "--choices", f"one of {[*choices]} is empty; write words between the commas"
            )
        if config.temperature > 0:
            raise UsageError(
                "--choices", "takes the best of them and draws nothing; leave out --temperature"
            )
        idle = {
            "--num-beams": config.num_beams > 1,
            "--no-repeat-ngram": config.no_repeat_ngram,
            "--min-new-tokens": config.min_new_tokens,
            "--stream": streams,
            "--explain": explains,
        }
        if names := [name for name, is_set in idle.items() if is_set]:
            raise UsageError("--choices", f"scores each one whole; leave out {', '.join(names)}")
    if streams and config.num_beams > 1:
        raise UsageError(
            "--stream",
            f"which of {config.num_beams} beams is the best is known only when all are done; "
            "leave out --stream or --num-beams",
        )


def read_line(line: bytes) -> Line:
    """The text of a line: that of a JSON object with the key `text`, else the line itself."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return Line(error=f"is not UTF-8 at byte {error.start}; convert it, for example with iconv")
    if not text.startswith("{"):
        return Line(text=text)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return Line(text=text)
    if "text" not in record:
        return Line(text=text)
    if not isinstance(record["text"], str):
        return Line(record.get("id"), error='has a "text" that is no string; quote it')
    try:
        reject_surrogates(record["text"])
    except ValueError as problem:
        return Line(record.get("id"), error=f"has {problem}; write the whole pair")
    return Line(record.get("id"), record["text"])


def windows_of(texts: Sequence[str] | None, batch_size: int) -> Iterator[Sequence[bytes]]:
    """The texts of the command line, or the lines of the standard input when there are none.

    Lines are given as soon as they are there, so that who types gets each line answered.
    """
    if texts:
        sources: Iterable[list[bytes]] = [[os.fsencode(text) for text in texts]]
    else:
        sources = stream_lines(cast(io.BufferedReader, sys.stdin.buffer))
    size = batch_size * NUM_SORTED
    for lines in sources:
        for start in range(0, len(lines), size):
            yield [line.removesuffix(b"\r") for line in lines[start : start + size]]


def decode_config(flags: Mapping[str, Any], overrides: Sequence[str]) -> DecodeConfig:
    """Decode settings of a command line.

    Args:
        flags: settings by their keys; None where the flag is not given.
        overrides: `decode.key=value` each, the value as in TOML.

    Raises:
        UsageError: naming every mistake.
    """
    values = {key: value for key, value in flags.items() if value is not None}
    problems = []
    for text in overrides:
        name, equals, value = text.partition("=")
        section, _, key = name.strip().partition(".")
        if not equals or section != "decode":
            problems.append(f"--set {text}: is not of the form decode.key=value")
        else:
            values[key] = toml_value(value.strip())
    try:
        config = DecodeConfig.model_validate(values, strict=True)
    except ValidationError as error:
        raise UsageError("decode", *problems, *map(describe, error.errors())) from None
    if problems:
        raise UsageError("decode", *problems)
    return config


def describe(issue: Mapping[str, Any]) -> str:
    """One line for one pydantic issue."""
    key = ".".join(("decode", *map(str, issue["loc"])))
    if issue["type"] == "extra_forbidden":
        known = [*DecodeConfig.model_fields]
        close = get_close_matches(key.removeprefix("decode."), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if issue["type"] == "value_error":
        return f"{key}.{issue['ctx']['error']}"
    return f"{key}: {issue['msg'].removeprefix('Input ')}; found {issue['input']!r}"
