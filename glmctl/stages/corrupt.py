"""Corrupting a stream of texts, and undoing it: one line in, one record out, in order.

A record is what ``--json`` prints: an example with its line, or the line and its error.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from glmctl.core.data.text import Line, read_source, read_texts
from glmctl.core.objective.arrays import IntArray
from glmctl.core.objective.blank_infilling import OBJECTIVES, Examples, restore
from glmctl.core.objective.corruption import Corruption
from glmctl.core.objective.draws import sample_keys
from glmctl.core.objective.statistics import SpanCounter, SpanStatistics
from glmctl.core.objective.words import find_words
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import DEFAULT, find_tokenizer, load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import ObjectiveConfig, Recipe, TrainConfig

Objective = Literal["token", "sentence", "document", "mix", "mlm"]
Record: TypeAlias = dict[str, Any]

WEIGHTS = ("token_weight", "sentence_weight", "document_weight", "single_span_weight")
MIX = {"token_weight": 0.5, "sentence_weight": 0.3, "document_weight": 0.2}
NO_LIMIT = np.iinfo(np.int32).max
"""Without a recipe no model limits the length; the options that look at it are off."""
BATCH_SIZE = 64
LARGEST_SEED = 2**63 - 1
NO_PLACE = "the spans drawn find no place in the text; it is too short"


@dataclass(frozen=True)
class Setting:
    tokenizer: Tokenizer
    corruption: Corruption
    seed: int
    sequence_length: int  # tokens of the longest text, [CLS] and the end token included


def make_setting(
    recipe: Recipe | None = None,
    tokenizer: str | None = None,
    objective: Objective | None = None,
    seed: int | None = None,
    whole_words: bool = False,
) -> Setting:
    """Put together what the recipe and the command line say; the command line wins.

    The objective ``mix`` with a recipe is the mix of the recipe. The texts are epoch 0 of a run.
    """
    config = ObjectiveConfig() if recipe is None else recipe.objective
    if objective is not None and (objective != "mix" or recipe is None):
        kind = "mlm" if objective == "mlm" else "blank_infilling"
        one = {f"{'token' if objective == 'mlm' else objective}_weight": 1.0}
        weights = dict.fromkeys(WEIGHTS, 0.0) | (MIX if objective == "mix" else one)
        config = config.model_copy(update={"kind": kind, **weights})
    if whole_words:
        config = config.model_copy(update={"whole_words": True})
    if config.short_sequence_probability > 0:
        raise UsageError(
            "objective.short_sequence_probability",
            f"{config.short_sequence_probability} cuts a line into several examples, and here "
            "one line is one example; add --set objective.short_sequence_probability=0.0",
        )
    if seed is None:
        seed = TrainConfig.model_fields["seed"].default if recipe is None else recipe.train.seed
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
    """Corrupt texts by a recipe; gives the records of ``glmctl corrupt --json``.

    Text i is sample i of epoch 0; the seed is that of the recipe unless given.
    """
    setting = make_setting(None if recipe is None else load_recipe(recipe), seed=seed)
    return corrupt_lines({i: Line(None, i, text) for i, text in enumerate(texts, 1)}, setting)


def corrupt_source(
    inputs: Sequence[str], setting: Setting, *, jsonl: bool
) -> Iterator[list[Record]]:
    """Corrupt every line of files or of stdin, as many as arrive together; all JSON if `jsonl`."""
    return (corrupt_lines(lines, setting) for lines in read_lines(inputs, jsonl=jsonl))


def count_source(
    inputs: Sequence[str], setting: Setting, on_failure: Callable[[Record], None], *, jsonl: bool
) -> SpanStatistics:
    """Count the spans that :func:`corrupt_source` hides; tells of lines that it cannot corrupt."""
    counter = SpanCounter(setting.corruption)
    for lines in read_lines(inputs, jsonl=jsonl):
        for failure in corrupt_lines(lines, setting, counter):
            counter.num_failed += 1
            on_failure(failure)
    return counter.result()


def corrupt_lines(
    lines: Mapping[int, Line], setting: Setting, counter: SpanCounter | None = None
) -> list[Record]:
    """Corrupt some lines together, given by their number; the record of each.

    Given a counter, which takes the examples, the records are those of lines that failed.
    """
    special = setting.tokenizer.special
    rows = setting.tokenizer.encode_batch([line.text for line in lines.values()], special=False)
    records: dict[int, Record] = {}
    samples: dict[int, IntArray] = {}
    labels = {number: labels_of(line) for number, line in lines.items()}
    for (number, line), ids in zip(lines.items(), rows, strict=True):
        if problem := what_is_wrong(line, len(ids), setting):
            records[number] = {"error": problem}
        else:
            samples[number] = np.concatenate([[special.cls], ids, [special.eos]])
    # The released sampler draws for a batch: a batch of one keeps a line free of its neighbours.
    size = 1 if setting.corruption.config.draw_mode == "batch" else BATCH_SIZE
    for start in range(0, len(samples), size):
        numbers = [*samples][start : start + size]
        places = [0 if "seed" in labels[n] else n - 1 for n in numbers]
        seeds = [labels[number].get("seed", setting.seed) for number in numbers]
        tokens = np.concatenate([samples[number] for number in numbers])
        lengths = np.array([len(samples[number]) for number in numbers])
        keys = sample_keys(np.array(seeds), 0, np.array(places))
        examples = setting.corruption(tokens, lengths, keys)
        if len(examples.lengths) < len(numbers):  # the released sampler left its one sample out
            records |= {number: {"error": NO_PLACE} for number in numbers}
        elif counter is not None:
            counter.add(tokens, lengths, examples)
        else:
            records |= zip(numbers, as_records(examples, setting.tokenizer), strict=True)
    return [{"line": n, **labels[n], **records[n]} for n in lines if n in records]


def labels_of(line: Line) -> Record:
    """``id``, which the output repeats, and ``seed``, from which the text then draws alone."""
    return {key: line.values[key] for key in ("id", "seed") if line.values.get(key) is not None}


def what_is_wrong(line: Line, num_tokens: int, setting: Setting) -> str | None:
    """Why a line, whose text has so many tokens, is no sample."""
    if line.error is not None:
        return f"is {line.error}"
    seed = labels_of(line).get("seed", 0)
    if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
        whole = f"a whole number from 0 to {LARGEST_SEED}"
        return f"has the seed {json.dumps(seed)}; a seed is {whole}"
    if num_tokens == 0:
        return "is empty; there is nothing to hide"
    if num_tokens + 2 > setting.sequence_length:
        return (
            f"is {num_tokens + 2:,} tokens long, [CLS] and the end included, and "
            f"data.sequence_length is {setting.sequence_length:,}; split the line or raise it"
        )
    return None


def as_records(examples: Examples, tokenizer: Tokenizer) -> Iterator[Record]:
    """Examples one by one, as plain lists."""
    stop = 0
    for number, length in enumerate(examples.lengths.tolist()):
        here = slice(stop, stop := stop + length)
        yield {
            "objective": OBJECTIVES[examples.objective[number]],
            "input_ids": examples.input_ids[here].tolist(),
            "target_ids": examples.target_ids[here].tolist(),
            "loss_mask": examples.loss_mask[here].tolist(),
            "position_ids": examples.position_ids[:, here].tolist(),
            "part_a_length": int(examples.part_a_lengths[number]),
            "spans": examples.spans[examples.spans[:, 0] == number, 1:].tolist(),
            "tokenizer": tokenizer.fingerprint,
        }


class Example(BaseModel):
    """The part of a record from which the text comes back."""

    model_config = ConfigDict(strict=True)

    target_ids: list[int]
    part_a_length: int
    spans: list[tuple[int, int]]
    tokenizer: str
    id: Any = None
    seed: int | None = None


def undo_source(
    inputs: Sequence[str], tokenizer: Tokenizer, *, one_line: bool
) -> Iterator[list[Record]]:
    """Restore the text of every record of some files, or of the standard input.

    ``one_line``: a text of several lines is an error, as it would not be one line out.
    """
    numbers = count(1)
    for _, _, lines in read_source(inputs):
        yield [{"line": next(numbers), **undo_line(line, tokenizer, one_line)} for line in lines]


def undo_line(line: bytes, tokenizer: Tokenizer, one_line: bool) -> Record:
    """Ids and text of one record, or what is wrong with it."""
    try:
        example = Example.model_validate_json(line)
        ids = restore(example.target_ids, example.part_a_length, example.spans)
    except ValueError as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            issue = error.errors()[0]
            place = ".".join(map(str, issue["loc"]))
            problem = f"{place}: {issue['msg']}" if place else issue["msg"]
            if issue["type"] == "missing" and "error" in issue["input"]:  # it failed, and says why
                problem = f"its line {issue['input']['error']}"
        return {"error": f"is not an example of glmctl corrupt --json; {problem}"}
    if example.tokenizer != tokenizer.fingerprint:
        return {"error": "was made with another tokenizer; name it with --tokenizer"}
    begins, ends = ids[:1] == [tokenizer.special.cls], ids[-1:] == [tokenizer.special.eos]
    ids = ids[begins : len(ids) - ends]
    try:
        text = tokenizer.decode(ids)
    except InputError as error:
        return {"error": f"holds {error}"}
    if one_line and "\n" in text:
        return {"error": "the text has several lines; --json shows it"}
    labels = example.model_dump(include={"id", "seed"}, exclude_none=True)
    return {**labels, "ids": ids, "text": text}


def read_lines(inputs: Sequence[str], *, jsonl: bool) -> Iterator[dict[int, Line]]:
    """The lines, numbered through all files, as they arrive."""
    first = 1
    for lines in read_texts(inputs, jsonl=jsonl):
        yield dict(enumerate(lines, first))
        first += len(lines)
