"""Records -> examples with the fields that a task names.

A row that cannot be read spoils no other: it is kept as a problem with its file and line.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from glmctl.core.data.text import reject_surrogates
from glmctl.core.tasks.cleaning import cleaned
from glmctl.core.tasks.formats import Record, records
from glmctl.core.tasks.schema import (
    NUMBER_LIKE,
    PART,
    FieldConfig,
    ListedChoices,
    MarkedWord,
    TaskConfig,
)
from glmctl.errors import InputError

# Quotes and dashes as the released models saw them in training.
TYPEWRITER = str.maketrans(
    {"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2013": "-"}
)
Kind = tuple[type, ...]
TEXT, NUMBER, LIST, TEXTS = (str, int, float), (int,), (list,), (list, str)
ANYTHING = (object,)
NUM_NAMED = 5  # problems
NAMES: Mapping[Kind, str] = {
    TEXT: "text",
    NUMBER: "whole number",
    LIST: "list",
    TEXTS: "list or text",
}


@dataclass(frozen=True)
class Example:
    """One thing that is asked, and the right answer."""

    place: str
    """File and line."""
    id: tuple[Any, ...]
    group: tuple[Any, ...]
    """Equal for examples of one question."""
    fields: Mapping[str, str]
    choices: tuple[str, ...]
    """Candidates that the record lists."""
    golds: tuple[str, ...]
    """Right labels or, where answers are texts, right answers."""
    part: str = ""
    """The part of the whole that it counts for."""
    shots: tuple[Example, ...] = ()
    """Worked examples that may stand before it."""


@dataclass(frozen=True)
class Rows:
    """The examples of a file, and what is wrong with its other rows."""

    examples: tuple[Example, ...]
    problems: tuple[str, ...]


def read_parts(
    files: Mapping[str, Path],
    task: TaskConfig,
    limit: int | None = None,
    *,
    shots: Mapping[str, Path] | None = None,
    is_new: bool = False,
) -> Rows:
    """Read the files of a task.

    Args:
        files: by the part that each holds; of a task in one file it has no name.
        task: says where the fields stand.
        limit: so many questions, of each part about as many; None: all.
        shots: files with worked examples, by part, or one without a name for all parts.
        is_new: their rows have no right answers yet.

    Raises:
        InputError: a file cannot be read, or not one of its rows, or a part lacks its examples.
    """
    examples: list[Example] = []
    problems: list[str] = []
    for number, (part, file) in enumerate(files.items()):
        share = None if limit is None else -(-(limit - number) // len(files))
        if share == 0:
            break
        rows = read_examples(file, task, share, part=part, is_new=is_new)
        worked: tuple[Example, ...] = ()
        if shots is not None:
            source = shots.get(part) or shots.get("")
            if source is None:
                problem = f"there are no worked examples for {part!r}; add their file to the others"
                raise InputError(str(file), problem)
            worked = read_examples(source, task, task.num_shots, part=part).examples
        examples += (replace(example, shots=worked) for example in rows.examples)
        problems += rows.problems
    return Rows(tuple(examples), tuple(problems))


def read_examples(
    file: Path,
    task: TaskConfig,
    limit: int | None = None,
    *,
    part: str = "",
    is_new: bool = False,
) -> Rows:
    """Read a file of a task.

    Args:
        file: in any format that tasks are read from.
        task: says where the fields stand.
        limit: so many questions; None: all.
        part: of the whole that the file holds.
        is_new: its rows have no right answers yet.

    Raises:
        InputError: the file cannot be read, or not one of its rows.
    """
    examples: list[Example] = []
    problems: list[str] = []
    groups: set[tuple[Any, ...]] = set()
    for number, record in records(file, task.format, columns=task.columns, quoted=task.quoted):
        place = f"{file}:{number}"
        try:
            if isinstance(record, ValueError):
                raise record
            whole = {**record, PART: part} if part else record
            found = [*examples_of(whole, task, place, number, is_new=is_new)]
        except (ValueError, RecursionError) as problem:
            problems.append(f"{place}: {problem}")
            continue
        for example in found:
            if example.group not in groups and len(groups) == limit:
                return Rows(tuple(examples), tuple(problems))
            groups.add(example.group)
            examples.append(example)
    if not examples:
        raise InputError(str(file), *named(problems) or ["is empty; it should hold examples"])
    return Rows(tuple(examples), tuple(problems))


def named(problems: Sequence[str]) -> list[str]:
    """The first few problems; what is wrong with many rows is said once."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        place, _, text = problem.partition(": ")
        places.setdefault(text, []).append(place)
    lines = [
        f"{first}" + f" and {len(others):,} more" * bool(others) + f": {text}"
        for text, (first, *others) in places.items()
    ]
    rest = len(lines) - NUM_NAMED
    return lines[:NUM_NAMED] + [f"{rest:,} more problems"] * (rest > 0)


def typewritten(value: Any) -> Any:
    """A record with the punctuation of a typewriter in all its texts."""
    if isinstance(value, str):
        return value.translate(TYPEWRITER)
    if isinstance(value, list):
        return [*map(typewritten, value)]
    return {k: typewritten(v) for k, v in value.items()} if isinstance(value, dict) else value


def examples_of(
    record: Record, task: TaskConfig, place: str, number: int, *, is_new: bool = False
) -> Iterator[Example]:
    """The examples of a record, one or those that it is unfolded to; a new one has no golds.

    Raises:
        ValueError: what is wrong with the record.
    """
    if any(text_at(record, path) != text for path, text in task.only.items()):
        return
    unfolded = [typewritten(record) if task.plain_punctuation else record]
    for name, path in task.unfold.items():
        unfolded = [{**row, name: item} for row in unfolded for item in value_at(row, path, LIST)]
    for name, texts in task.each.items():
        unfolded = [{**row, name: text} for row in unfolded for text in texts]
    for row in unfolded:
        own = tuple(value_at(row, path) for path in task.id) or (number,)
        part = (text_at(row, PART),) if PART in row else ()
        fields = task.fields or {it: it for it, value in row.items() if isinstance(value, TEXT)}
        yield Example(
            place,
            (*part, *own),
            (*part, *own[: task.group_by or len(own)]),
            {name: field_text(row, where) for name, where in fields.items()},
            () if task.listed_choices is None else candidates(row, task.listed_choices),
            () if is_new else golds_of(row, task),
            "".join(part) if task.part is None else text_at(row, task.part),
        )


def value_at(record: Any, path: str, kind: Kind = TEXT) -> Any:
    """What stands at a path.

    Raises:
        ValueError: nothing does, or something of another kind.
    """
    value = record
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            keys = ", ".join(value) if isinstance(value, dict) else "none"
            raise ValueError(f"has no {path!r}; keys there: {keys}; name the right one in the task")
        value = value[key]
    if not isinstance(value, kind):
        raise ValueError(f"its {path!r} is no {NAMES[kind]} but {json.dumps(value)[:30]}; mend it")
    reject_surrogates(str(value))
    return value


def text_at(record: Any, path: str) -> str:
    return str(value_at(record, path))


def golds_of(row: Record, task: TaskConfig) -> tuple[str, ...]:
    """Right labels, or right answers."""
    if task.kind in ("infill", "text", "association"):
        return ()
    return (right_label(row, task),) if task.golds is None else candidates(row, task.golds)


def right_label(row: Record, task: TaskConfig) -> str:
    """The right label as the task writes it.

    Raises:
        ValueError: the task has no such label.
    """
    value = value_at(row, task.label) if task.right is None else task.right
    label = str(value).lower() if isinstance(value, bool) else str(value).strip()
    names = task.label_names
    if task.scale:
        low, high = float(names[0]), float(names[-1])
        if not (NUMBER_LIKE.fullmatch(label) and low <= float(label) <= high):
            raise ValueError(f"{label!r} is no number from {names[0]} to {names[-1]}; correct it")
        return label
    if names and label not in names:
        is_number = all(map(NUMBER_LIKE.fullmatch, (label, *names)))
        between = is_number and float(names[0]) < float(label) < float(names[-1])
        remedy = "correct it or the task" + ", or set scale = true" * between
        raise ValueError(f"label {label!r} is none of {', '.join(names)}; {remedy}")
    return label


def field_text(row: Record, where: str | FieldConfig) -> str:
    """The text of a field.

    Raises:
        ValueError: it is not there, or not what the task says.
    """
    if isinstance(where, str):
        return text_at(row, where)
    text = written(row, where)
    if where.map and text not in where.map:
        raise ValueError(f"its {where.path!r} is {text!r}, not one of {', '.join(where.map)}")
    text = where.map.get(text, text)
    if where.clean is not None:
        text = cleaned(text, where.clean)
    for old, new in where.replace.items():
        text = text.replace(old, new)
    for mark in (where.before, where.after):
        if mark is not None and mark not in text:
            raise ValueError(f"its {where.path!r} does not hold {mark!r}")
    if where.regex is not None:
        found = re.search(where.regex, text, re.DOTALL)
        if found is None:
            raise ValueError(f"its {where.path!r} does not match {where.regex!r}")
        text = found[1]
    if where.before is not None:
        text = text.partition(where.before)[0].rstrip()
    if where.after is not None:
        text = text.partition(where.after)[2]
    if any(mark.unit == "character" for mark in where.marks):
        return marked_at(text, row, where.marks)
    for word in where.marks:
        text = marked(text, row, word)
    return text


def written(row: Record, where: FieldConfig) -> str:
    """What a record says there.

    Raises:
        ValueError: nothing that the task expects.
    """
    if where.default is not None and value_at(row, where.path, ANYTHING) is None:
        return where.default
    if where.join is None:
        return text_at(row, where.path)
    return where.join.join(map(str, value_at(row, where.path, LIST)))


def marked_at(text: str, row: Record, marks: Sequence[MarkedWord]) -> str:
    """The text with words between signs, each where its first character is said to stand.

    Raises:
        ValueError: one does not stand there.
    """
    places = [(value_at(row, mark.index, NUMBER), mark) for mark in marks]
    for index, mark in sorted(places, key=itemgetter(0), reverse=True):
        word = text_at(row, mark.word)
        if index < 0 or not text.startswith(word, index):
            problem = f"character {index} of its text does not begin {word!r}"
            raise ValueError(f"{problem}; correct {mark.index!r}")
        signed = f"{mark.sign}{word}{mark.sign}"
        text = text[:index] + signed + text[index + len(word) :]
    return text


def marked(text: str, row: Record, mark: MarkedWord) -> str:
    """The text with one of its words between signs.

    The number of the word may be one off, and the word may go on, as "it," for "it"; the rest
    then becomes a word of its own, as in the released code.

    Raises:
        ValueError: the word does not stand there.
    """
    words, word, sign = text.split(), text_at(row, mark.word), mark.sign
    index = value_at(row, mark.index, NUMBER)
    near = [place for place in (index, index - 1, index + 1) if 0 <= place < len(words)]
    for place in near:
        if words[place] == word:
            return " ".join([*words[:place], f"{sign}{word}{sign}", *words[place + 1 :]])
    for place in near[:1]:
        if words[place].startswith(word):
            rest = words[place].removeprefix(word)
            return " ".join([*words[:place], f"{sign}{word}{sign}", rest, *words[place + 1 :]])
    raise ValueError(f"word {index} of its text is not {word!r}; correct {mark.index!r}")


def candidates(row: Record, where: ListedChoices) -> tuple[str, ...]:
    """Texts of a list in its order, spans sorted and once; or the one text at its path.

    Raises:
        ValueError: there is no such list, or its items are not as the task says.
    """
    if where.optional and where.path not in row:
        return ()
    items = value_at(row, where.path, TEXTS)
    items = items if isinstance(items, list) else [items]
    for key, path in where.equal.items():
        items = [item for item in items if text_at(item, key) == text_at(row, path)]
    if (by := where.sort) is not None:
        items = sorted(items, key=lambda item: text_at(item, by))
    if where.letters:
        return tuple(string.ascii_uppercase[: len(items)])
    if where.span_of is not None:
        text = text_at(row, where.span_of)
        spans = ((value_at(it, end, NUMBER) for end in ("start", "end")) for it in items)
        return tuple(sorted({text[start : end + 1] for start, end in spans}))
    texts = (str(item) if where.key is None else text_at(item, where.key) for item in items)
    if where.clean is not None:
        texts = (cleaned(text, where.clean) for text in texts)
    kept = [*texts] or ([] if where.empty is None else [where.empty])
    if where.join is not None:
        return (where.join.join(kept),)
    return tuple(kept)
