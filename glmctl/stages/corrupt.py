"""Corrupting a stream of texts, and undoing it: one line in, one record out, in order.

A record is what ``--json`` prints: an example with its line, or the line and its error.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from glmctl.core.objective.draws import IntArray, UInt64Array, sample_keys
from glmctl.core.objective.explanation import Explanation, lay_out_explanation
from glmctl.core.objective.mask import blank_infilling_mask
from glmctl.core.objective.readable import Reader
from glmctl.core.objective.restore import restore
from glmctl.core.objective.statistics import SpanCounter, SpanStatistics
from glmctl.core.objective.words import find_words
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import DEFAULT, find_tokenizer, load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.checks import words_are_drawn_by_sample
from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import ObjectiveConfig, Recipe, TrainConfig

Objective = Literal["token", "sentence", "document", "mix", "mlm"]
Record: TypeAlias = dict[str, Any]

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
LARGEST_SEED = 2**63 - 1
MOST_EXPLAINED = 4096
"""Tokens of an example whose attention is drawn; the square of it is held in memory."""
NO_PLACE = "the spans drawn find no place in the text; it is too short"


@dataclass(frozen=True)
class Line:
    """A text, or what is wrong with it, and what its JSON object says of it."""

    text: str | InputError
    labels: Record = field(default_factory=dict)
    """``id``, which the output repeats, and ``seed``, from which this text then draws alone."""


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
    whole_words: bool = False,
) -> Setting:
    """Put together what the recipe and the command line say; the command line wins.

    Args:
        recipe: objective, tokenizer, seed and the longest text.
        tokenizer: a name, file or folder.
        objective: ``mix`` with a recipe is the mix of the recipe.
        seed: of the run whose epoch 0 the texts are.
        whole_words: no span cuts a word, also where the recipe does not say so.

    Raises:
        UsageError: the recipe cannot be honoured line by line.
    """
    config = ObjectiveConfig() if recipe is None else recipe.objective
    if objective is not None and (objective != "mix" or recipe is None):
        config = config.model_copy(update={**NO_OBJECTIVE, **OBJECTIVE_KEYS[objective]})
    if whole_words:
        config = config.model_copy(update={"whole_words": True})
        if problem := words_are_drawn_by_sample(config):
            raise UsageError("[objective]", problem)
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
    words = find_words(found) if config.whole_words else None
    return Setting(
        tokenizer=found,
        corruption=Corruption(config, found.special, found.sentence_ends(), max_positions, words),
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
    return corrupt_lines([Line(text) for text in texts], 0, setting)


def corrupt_source(source: str | None, setting: Setting, *, jsonl: bool) -> Iterator[list[Record]]:
    """Corrupt every line of a source, as many together as have arrived.

    Args:
        source: a file, a folder or a built-in name; None: the standard input.
        setting: how.
        jsonl: the lines are JSON objects, whatever the name of the source.
    """
    for lines, first, is_json in read_lines(source, jsonl=jsonl):
        yield corrupt_lines([read(line, is_json=is_json) for line in lines], first, setting)


def corrupt_lines(lines: Sequence[Line], first: int, setting: Setting) -> list[Record]:
    """Corrupt some lines together; there are ``first`` lines before them."""
    samples, results = make_samples(lines, first, setting)
    for numbers, _, _, examples in corrupt_samples(samples, setting):
        if len(examples.lengths) < len(numbers):  # the released sampler left its one sample out
            results |= {number: {"error": NO_PLACE} for number in numbers}
            continue
        for number, record in zip(numbers, as_lists(examples), strict=True):
            results[number] = {**record, "tokenizer": setting.tokenizer.fingerprint}
    return [
        {"line": number, **line.labels, **results[number]}
        for number, line in enumerate(lines, first + 1)
    ]


def count_source(
    source: str | None, setting: Setting, on_failure: Callable[[Record], None], *, jsonl: bool
) -> SpanStatistics:
    """Count the spans of a whole source, as :func:`corrupt_source` hides them.

    Args:
        source: a file, a folder or a built-in name; None: the standard input.
        setting: how the lines are corrupted.
        on_failure: called with the record of each line that cannot be.
        jsonl: the lines are JSON objects, whatever the name of the source.
    """
    counter = SpanCounter(setting.corruption)
    for lines, first, is_json in read_lines(source, jsonl=jsonl):
        found = [read(line, is_json=is_json) for line in lines]
        samples, failures = make_samples(found, first, setting)
        for numbers, tokens, lengths, examples in corrupt_samples(samples, setting):
            if len(examples.lengths) < len(numbers):
                failures |= {number: {"error": NO_PLACE} for number in numbers}
            else:
                counter.add(tokens, lengths, examples)
        counter.num_failed += len(failures)
        for number in sorted(failures):
            on_failure({"line": number, **failures[number]})
    return counter.result()


def make_samples(
    lines: Sequence[Line], first: int, setting: Setting
) -> tuple[dict[int, tuple[IntArray, UInt64Array]], dict[int, Record]]:
    """By the number of the line: its sample and what it draws from; what is wrong with it."""
    samples: dict[int, tuple[IntArray, UInt64Array]] = {}
    failures: dict[int, Record] = {}
    plain = [line.text if isinstance(line.text, str) else "" for line in lines]
    rows = setting.tokenizer.encode_batch(plain, special=False)
    keys = sample_keys(setting.seed, 0, np.arange(first, first + len(lines)))
    for number, (line, ids) in enumerate(zip(lines, rows, strict=True)):
        try:
            sample = make_sample(line.text, ids, setting)
        except InputError as error:
            failures[first + number + 1] = {"error": "; ".join(error.problems)}
            continue
        seed = line.labels.get("seed")
        key = keys[number : number + 1] if seed is None else sample_keys(seed, 0, 0)
        samples[first + number + 1] = sample, key
    return samples, failures


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
    samples: Mapping[int, tuple[IntArray, UInt64Array]], setting: Setting
) -> Iterator[tuple[list[int], IntArray, IntArray, Examples]]:
    """Corrupt samples some at a time: their lines, tokens [L], lengths [n] and examples."""
    # The released sampler draws for a batch: a batch of one keeps a line free of its neighbours.
    size = 1 if setting.corruption.config.draw_mode == "batch" else BATCH_SIZE
    for start in range(0, len(samples), size):
        numbers = [*samples][start : start + size]
        rows = [samples[number][0] for number in numbers]
        keys = np.concatenate([samples[number][1] for number in numbers])
        tokens, lengths = np.concatenate(rows), np.array([len(row) for row in rows])
        yield numbers, tokens, lengths, setting.corruption(tokens, lengths, keys)


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


def explain(record: Record, reader: Reader, limit: int) -> Explanation:
    """Show who sees whom in an example.

    Args:
        record: the example.
        reader: of its tokenizer.
        limit: the most tokens that are shown.

    Raises:
        InputError: it is too long.
    """
    length = len(record["input_ids"])
    if length > MOST_EXPLAINED:
        raise InputError(
            "line",
            f"gives {length:,} tokens, too many to draw; cut it to {MOST_EXPLAINED:,} or less "
            "(cut -c 1-2000), or leave out --explain",
        )
    mask = blank_infilling_mask(np.array([record["part_a_length"]]), length)[0]
    return lay_out_explanation(record, reader, mask, limit)


class Example(BaseModel):
    """The part of a record from which the text comes back."""

    model_config = ConfigDict(strict=True)

    target_ids: list[int]
    part_a_length: int
    spans: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    tokenizer: str
    id: Any = None
    seed: int | None = None


def undo_source(
    source: str | None, tokenizer: Tokenizer, *, one_line: bool
) -> Iterator[list[Record]]:
    """Restore the text of every record of a source, as many together as have arrived.

    Args:
        source: a file of records; None: the standard input.
        tokenizer: the one that they were made with.
        one_line: a text of several lines is an error, as it would not be one line out.
    """
    for lines, first, _ in read_lines(source, jsonl=True):
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
        problem = first_problem(error)
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
    labels = {"id": example.id, "seed": example.seed}
    given = {key: value for key, value in labels.items() if value is not None}
    return {**given, "ids": ids, "text": text}


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a record; that of a failure says why itself."""
    issue = error.errors()[0]
    if issue["type"] == "missing" and "error" in issue["input"]:
        return f"its line {issue['input']['error']}"
    place = ".".join(map(str, issue["loc"]))
    return f"{place}: {issue['msg']}" if place else issue["msg"]


def read(line: bytes, *, is_json: bool) -> Line:
    """What a line holds."""
    try:
        text = line_text(line, is_json=is_json)
    except ValueError as error:
        return Line(InputError("line", f"is {error}"))
    if not is_json or (b'"id"' not in line and b'"seed"' not in line):
        return Line(text)
    values = json.loads(line)
    labels = {key: values[key] for key in ("id", "seed") if values.get(key) is not None}
    seed = labels.get("seed", 0)
    if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
        del labels["seed"]
        problem = (
            f"has the seed {json.dumps(seed)}; a seed is a whole number from 0 to {LARGEST_SEED}"
        )
        return Line(InputError("line", problem), labels)
    return Line(text, labels)


def read_lines(source: str | None, *, jsonl: bool) -> Iterator[tuple[list[bytes], int, bool]]:
    """Lines as they arrive, the number of lines before them, and whether they are JSON."""
    first = 0
    if source is None:
        for lines in stream_lines(cast(io.BufferedReader, sys.stdin.buffer)):
            yield lines, first, jsonl
            first += len(lines)
        return
    for file in find_files(source):
        is_json = jsonl or text_suffix(file) in JSON_LINES
        for lines in file_lines(file):
            yield lines, first, is_json
            first += len(lines)
