"""Corrupting a stream of texts, and undoing it: one line in, one record out, in order.

A record is what ``--json`` prints: an example with its line, or the line and its error.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glmctl.core.data.text import (
    JSON_LINES,
    file_lines,
    find_files,
    line_text,
    stream_lines,
    text_suffix,
)
from glmctl.core.objective.blank_infilling import OBJECTIVES, Examples
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import IntArray, sample_keys
from glmctl.core.objective.restore import restore
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import DEFAULT, find_tokenizer, load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import ObjectiveConfig, Recipe, TrainConfig

Objective = Literal["token", "sentence", "document", "mix", "mlm"]
Record: TypeAlias = dict[str, Any]
Part: TypeAlias = list[tuple[str, bool]]
"""Stretches of text, each with whether it names a blank."""

OBJECTIVE_KEYS: Mapping[Objective, Mapping[str, Any]] = {
    "token": {"token_weight": 1.0},
    "sentence": {"sentence_weight": 1.0},
    "document": {"document_weight": 1.0},
    "mix": {"token_weight": 0.5, "sentence_weight": 0.3, "document_weight": 0.2},
    "mlm": {"token_weight": 1.0, "kind": "mlm"},
}
NO_OBJECTIVE = {
    "kind": "blank_infilling",
    "token_weight": 0.0,
    "sentence_weight": 0.0,
    "document_weight": 0.0,
    "single_span_weight": 0.0,
}
NO_LIMIT = np.iinfo(np.int32).max
"""Without a recipe no model limits the length; the options that look at it are off."""
BATCH_SIZE = 64


@dataclass(frozen=True)
class Setting:
    """How texts are corrupted."""

    tokenizer: Tokenizer
    corruption: Corruption
    seed: int
    sequence_length: int
    """Tokens of the longest text, [CLS] and the end token included."""


def make_setting(
    recipe: Recipe | None = None,
    tokenizer: str | None = None,
    objective: Objective | None = None,
    seed: int | None = None,
) -> Setting:
    """Put together what the recipe and the command line say; the command line wins.

    Args:
        recipe: objective, tokenizer, seed and the longest text.
        tokenizer: a name, file or folder.
        objective: ``mix`` with a recipe is the mix of the recipe.
        seed: of the run whose epoch 0 the texts are.

    Raises:
        UsageError: the recipe cannot be honoured line by line.
    """
    config = ObjectiveConfig() if recipe is None else recipe.objective
    if objective is not None and (objective != "mix" or recipe is None):
        config = config.model_copy(update={**NO_OBJECTIVE, **OBJECTIVE_KEYS[objective]})
    if config.short_sequence_probability > 0:
        raise UsageError(
            "objective.short_sequence_probability",
            f"{config.short_sequence_probability} cuts a line into several examples, and here "
            "one line is one example; add --set objective.short_sequence_probability=0.0",
        )
    default_seed: int = TrainConfig.model_fields["seed"].default
    if seed is None:
        seed = default_seed if recipe is None else recipe.train.seed
    max_positions = NO_LIMIT if recipe is None else recipe.model.max_positions
    found = choose_tokenizer(recipe, tokenizer)
    return Setting(
        tokenizer=found,
        corruption=Corruption(config, found.special, found.sentence_ends(), max_positions),
        seed=seed,
        sequence_length=NO_LIMIT if recipe is None else recipe.data.sequence_length,
    )


def choose_tokenizer(recipe: Recipe | None, name: str | None) -> Tokenizer:
    """The tokenizer that is named, else that of the recipe, else our own."""
    if name is None and recipe is not None:
        return load_tokenizer(recipe.tokenizer)
    return find_tokenizer(name or DEFAULT)


def corrupt_texts(
    texts: Sequence[str], recipe: str | None = None, seed: int | None = None
) -> list[Record]:
    """Corrupt texts; gives the records of ``glmctl corrupt --json``.

    Args:
        texts: text i is sample i of epoch 0.
        recipe: name or file of a recipe.
        seed: that of the recipe unless given.
    """
    setting = make_setting(None if recipe is None else load_recipe(recipe), seed=seed)
    return corrupt_lines(texts, 0, setting)


def corrupt_source(source: str | None, setting: Setting) -> Iterator[list[Record]]:
    """Corrupt every line of a source, as many together as have arrived.

    Args:
        source: a file, a folder or a built-in name; None: the standard input.
        setting: how.
    """
    for lines, first, is_json in read_lines(source):
        yield corrupt_lines([read(line, is_json=is_json) for line in lines], first, setting)


def corrupt_lines(texts: Sequence[str | InputError], first: int, setting: Setting) -> list[Record]:
    """Corrupt some lines together.

    Args:
        texts: of each line its text, or what is wrong with it.
        first: number of lines before these.
        setting: how.
    """
    results: dict[int, Record] = {}
    samples: dict[int, IntArray] = {}
    plain = [text if isinstance(text, str) else "" for text in texts]
    rows = setting.tokenizer.encode_batch(plain, special=False)
    for line, (text, ids) in enumerate(zip(texts, rows, strict=True), first + 1):
        try:
            samples[line] = make_sample(text, ids, setting)
        except InputError as error:
            results[line] = {"error": "; ".join(error.problems)}
    # The released sampler draws for a batch: a batch of one keeps a line free of its neighbours.
    size = 1 if setting.corruption.config.draw_mode == "batch" else BATCH_SIZE
    numbers = [*samples]
    for start in range(0, len(numbers), size):
        batch = numbers[start : start + size]
        records = corrupt_samples([samples[line] for line in batch], batch, setting)
        results |= zip(batch, records, strict=True)
    return [{"line": line, **results[line]} for line in sorted(results)]


def make_sample(text: str | InputError, ids: IntArray, setting: Setting) -> IntArray:
    """[CLS], the text as ordinary characters, and the end token.

    Raises:
        InputError: the line cannot be corrupted.
    """
    if isinstance(text, InputError):
        raise text
    if len(ids) == 0:
        raise InputError("line", "is empty; there is nothing to hide")
    special, length = setting.tokenizer.special, len(ids) + 2
    if length > setting.sequence_length:
        raise InputError(
            "line",
            f"is {length:,} tokens long, [CLS] and the end included, and data.sequence_length "
            f"is {setting.sequence_length:,}; split the line or raise it",
        )
    return np.concatenate([[special.cls], ids, [special.eos]])


def corrupt_samples(
    samples: Sequence[IntArray], lines: Sequence[int], setting: Setting
) -> list[Record]:
    """The record of each sample; line n is sample n - 1 of the epoch."""
    keys = sample_keys(setting.seed, 0, np.array(lines) - 1)
    lengths = np.array([len(sample) for sample in samples])
    examples = setting.corruption(np.concatenate(samples), lengths, keys)
    if len(examples.lengths) < len(samples):  # the released sampler left its one sample out
        return [{"error": "the spans drawn find no place in the text; it is too short"}]
    fingerprint = setting.tokenizer.fingerprint
    return [{**record, "tokenizer": fingerprint} for record in as_lists(examples)]


def as_lists(examples: Examples) -> list[Record]:
    """Examples one by one, as plain lists."""
    spans: list[list[list[int]]] = [[] for _ in examples.lengths]
    for sample, start, stop in examples.spans.tolist():
        spans[sample].append([start, stop])
    records, stop = [], 0
    for number, length in enumerate(examples.lengths.tolist()):
        here = slice(stop, stop := stop + length)
        records.append(
            {
                "objective": OBJECTIVES[examples.objective[number]],
                "input_ids": examples.input_ids[here].tolist(),
                "target_ids": examples.target_ids[here].tolist(),
                "loss_mask": examples.loss_mask[here].tolist(),
                "position_ids": examples.position_ids[:, here].tolist(),
                "part_a_length": int(examples.part_a_lengths[number]),
                "spans": spans[number],
            }
        )
    return records


def describe(record: Record, tokenizer: Tokenizer) -> tuple[Part, Part]:
    """Part A with numbered blanks, and Part B: what stood in which blank, in its order.

    [CLS] and the end token are left out.
    """
    ids, hidden_ids = record["input_ids"], record["target_ids"]
    in_place = record["objective"] == "mlm"
    part_a: Part = []
    names: dict[int, str] = {}
    source = place = 0
    for number, (start, stop) in enumerate(sorted(record["spans"]), 1):
        mask = place + start - source
        name = tokenizer.token_text(ids[mask])
        names[start] = f"{name[:-1]} {number}{name[-1]}"
        part_a += [(text_of(ids[place:mask], tokenizer), False), (names[start], True)]
        source, place = stop, mask + (stop - start if in_place else 1)
    part_a.append((text_of(ids[place : record["part_a_length"]], tokenizer), False))

    part_b: Part = []
    place = record["part_a_length"]
    for start, stop in record["spans"]:
        first = start if in_place else place
        hidden = text_of(hidden_ids[first : first + stop - start], tokenizer)
        part_b += [("|", False), (names[start], True), (hidden, False)]
        place += stop - start + 1
    return spaced(part_a), spaced(part_b[1:])


def text_of(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """What a reader sees of a stretch of tokens."""
    unseen = (tokenizer.special.cls, tokenizer.special.eos)
    shown = [token_id for token_id in ids if token_id not in unseen]
    return tokenizer.decode(shown).replace("\n", " ").strip()


def spaced(part: Part) -> Part:
    """The same with a space between any two that hold something."""
    shown = [(text, is_blank) for text, is_blank in part if text]
    return [item for pair in shown for item in ((" ", False), pair)][1:]


class Example(BaseModel):
    """The part of a record from which the text comes back."""

    model_config = ConfigDict(strict=True)

    target_ids: list[int]
    part_a_length: int
    spans: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    tokenizer: str


def undo_source(
    source: str | None, tokenizer: Tokenizer, *, one_line: bool
) -> Iterator[list[Record]]:
    """Restore the text of every record of a source, as many together as have arrived.

    Args:
        source: a file of records; None: the standard input.
        tokenizer: the one that they were made with.
        one_line: a text of several lines is an error, as it would not be one line out.
    """
    for lines, first, _ in read_lines(source):
        records = []
        for number, line in enumerate(lines, first + 1):
            try:
                records.append({"line": number, **undo_line(line, tokenizer, one_line)})
            except InputError as error:
                records.append({"line": number, "error": "; ".join(error.problems)})
        yield records


def undo_line(line: bytes, tokenizer: Tokenizer, one_line: bool) -> Record:
    """Ids and text of one record.

    Raises:
        InputError: it holds no example, or another tokenizer made it.
    """
    try:
        example = Example.model_validate_json(line)
        ids = restore(
            example.target_ids,
            example.part_a_length,
            [(start, stop) for start, stop in example.spans],
        )
    except ValidationError as error:
        problem = explain(error)
        raise InputError("line", f"is not an example of glmctl corrupt --json; {problem}") from None
    except ValueError as error:
        raise InputError("line", f"is not an example of glmctl corrupt --json; {error}") from None
    if example.tokenizer != tokenizer.fingerprint:
        raise InputError("line", "was made with another tokenizer; name it with --tokenizer")
    if ids and ids[0] == tokenizer.special.cls:
        ids = ids[1:]
    if ids and ids[-1] == tokenizer.special.eos:
        ids = ids[:-1]
    try:
        text = tokenizer.decode(ids)
    except InputError as error:
        raise InputError("line", f"holds {error}") from None
    if one_line and "\n" in text:
        raise InputError("line", "the text has several lines; --json shows it")
    return {"ids": ids, "text": text}


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with a record; that of a failure says why itself."""
    issue = error.errors()[0]
    if issue["type"] == "missing" and "error" in issue["input"]:
        return f"its line {issue['input']['error']}"
    place = ".".join(map(str, issue["loc"]))
    return f"{place}: {issue['msg']}" if place else issue["msg"]


def read(line: bytes, *, is_json: bool) -> str | InputError:
    """Text of a line, or what is wrong with it."""
    try:
        return line_text(line, is_json=is_json)
    except ValueError as error:
        return InputError("line", f"is {error}")


def read_lines(source: str | None) -> Iterator[tuple[list[bytes], int, bool]]:
    """Lines as they arrive, the number of lines before them, and whether they are JSON."""
    first = 0
    if source is None:
        for lines in stream_lines(cast(io.BufferedReader, sys.stdin.buffer)):
            yield lines, first, False
            first += len(lines)
        return
    for file in find_files(source):
        for lines in file_lines(file):
            yield lines, first, text_suffix(file) in JSON_LINES
            first += len(lines)
