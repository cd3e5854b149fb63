"""Filling the blanks of a stream of texts: one line in, one line out, in order."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from pydantic import ValidationError

from glmctl.core.data.text import stream_lines
from glmctl.core.decode.infill import Infilling, Prompt
from glmctl.core.open import Glm, load
from glmctl.core.train.precision import choose_device
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import toml_value
from glmctl.recipe.schema import DecodeConfig

DEFAULT = "glmctl-default"


@dataclass(frozen=True)
class LineResult:
    """What became of one line: filled, or the reason why not."""

    line: int
    filled: Infilling | None
    error: str | None


def run(
    batches: Iterable[Sequence[bytes]],
    *,
    model: str | None,
    device: str | None,
    config: DecodeConfig,
    choices: Sequence[str] | None,
) -> Iterator[LineResult]:
    """Fill every blank of every line; a bad line spoils no other.

    Args:
        batches: lines of UTF-8; those of a batch are filled together.
        model: what `load` opens; None: the default model of the package.
        device: cpu or cuda; None: cuda when there is one.
        config: how tokens are chosen.
        choices: fill each blank with the best of these instead.

    Yields:
        One result for each line, in order.
    """
    if choices is not None:
        refuse_choices(choices, config)
    chosen = choose_device(device).type
    # Half precision is an exception on CPUs, and slow there.
    glm = load(model or DEFAULT, device=chosen, dtype="float32" if chosen == "cpu" else None)
    glm.text_tokenizer()
    number = 0
    for batch in batches:
        lines = range(number + 1, number + 1 + len(batch))
        number += len(batch)
        yield from fill_lines(glm, dict(zip(lines, batch, strict=True)), config, choices)


def refuse_choices(choices: Sequence[str], config: DecodeConfig) -> None:
    """Stop before anything is loaded.

    Raises:
        UsageError: a choice is empty, or the settings ask for draws.
    """
    if not all(choices):
        raise UsageError(
            "--choices", f"one of {[*choices]} is empty; write words between the commas"
        )
    if config.temperature > 0:
        raise UsageError(
            "--choices", "takes the best of them and draws nothing; leave out --temperature"
        )


def fill_lines(
    glm: Glm, lines: Mapping[int, bytes], config: DecodeConfig, choices: Sequence[str] | None
) -> Iterator[LineResult]:
    """Fill the good lines together and say what is wrong with the others."""
    prompts: dict[int, Prompt] = {}
    errors: dict[int, str] = {}
    for number, line in lines.items():
        try:
            prompts[number] = glm.prompt(as_text(line), f"line {number}")
        except InputError as error:
            errors[number] = "; ".join(error.problems)
    filled: dict[int, Infilling] = {}
    if prompts:
        results = glm.fill([*prompts.values()], [*prompts], config, choices)
        filled = dict(zip(prompts, results, strict=True))
    for number in lines:
        yield LineResult(number, filled.get(number), errors.get(number))


def as_text(line: bytes) -> str:
    """The text of a line.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            "line", f"is not UTF-8 at byte {error.start}; convert it, for example with iconv"
        ) from error


def batches_of(texts: Sequence[str] | None, batch_size: int) -> Iterator[Sequence[bytes]]:
    """The texts of the command line, or the lines of the standard input when there are none.

    Lines are given as soon as they are there, so that who types gets each line answered.
    """
    if texts:
        sources: Iterable[list[bytes]] = [[os.fsencode(text) for text in texts]]
    else:
        sources = stream_lines(cast(io.BufferedReader, sys.stdin.buffer))
    for lines in sources:
        for start in range(0, len(lines), batch_size):
            yield [line.removesuffix(b"\r") for line in lines[start : start + batch_size]]


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
