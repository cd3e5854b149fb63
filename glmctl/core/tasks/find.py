"""Tasks by name or file: the suites of the package, and a user's own TOML."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glmctl.core.data.text import COMPRESSED
from glmctl.core.tasks.schema import TaskConfig
from glmctl.errors import UsageError
from glmctl.recipe.find import find_recipe, is_builtin, recipe_name
from glmctl.recipe.finetune import FinetuneRecipe, runs_of
from glmctl.recipe.kinds import EvalRecipe, load_any
from glmctl.recipe.load import (
    describe,
    merge,
    parse,
    read_files,
    require_stage,
    stage_of,
    table_at,
)

EXAMPLE = """[task] patterns = ["{text} It was [MASK]."] verbalizer = { 1 = "good", 0 = "bad" }"""
SETTINGS = ("train", "optimizer", "schedule")
BUILTIN = Path(__file__).with_name("builtin")


@dataclass(frozen=True)
class Suite:
    """Tasks of one file, and where their data is found."""

    name: str
    tasks: tuple[TaskConfig, ...]
    main: tuple[str, ...]
    """Names of the tasks that make up the suite; the others are asked for by name."""
    folder: str = ""
    """Where the data lies below a folder of data sets."""
    get: str = ""
    """Where the data can be had."""
    root: Path | None = None
    """Paths of files are relative to this; None: to the data."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Sections of a recipe for fine-tuning."""

    def choose(self, names: tuple[str, ...]) -> tuple[TaskConfig, ...]:
        """Tasks of these names.

        Raises:
            UsageError: there is no such task.
        """
        by_name = {task.name: task for task in self.tasks}
        what = f"task of {self.name}"
        problems = [f"{n}: {unknown(n, by_name, what)}" for n in names if n not in by_name]
        if problems:
            raise UsageError("--tasks", *problems)
        return tuple(by_name[name] for name in dict.fromkeys(names))


@cache
def builtin_suites() -> tuple[Suite, ...]:
    """All suites of the package."""
    return tuple(read_suite(file) for file in sorted(BUILTIN.glob("*.toml")))


def find_suite(name: str) -> tuple[Suite, tuple[str, ...]]:
    """What a name or file stands for: a suite, and which of its tasks.

    Raises:
        UsageError: nothing has this name, or the file is not as the schema says.
    """
    stage = stage_of(name)
    if name.endswith(".toml") or stage == "eval":
        tables = {} if stage is None else read_files(find_recipe(name), name).tables
        if stage is not None and not {"patterns", "kind"} & table_at(tables, "task").keys():
            require_stage(name, "eval")  # it states no task of its own
        suite = suite_of_recipe(name) if stage == "eval" else read_suite(Path(name), is_own=True)
        return suite, suite.main
    suites = builtin_suites()
    found = [(it, it.main) for it in suites if name == it.name]
    for suite in () if found else suites:
        names = {alias: task.name for task in suite.tasks for alias in aliases(suite, task)}
        found += [(suite, (names[name],))] if name in names else []
    if len(found) > 1:
        clear = " or ".join(f"{suite.name}/{name}" for suite, _ in found)
        raise UsageError(name, f"is a task of several suites; name {clear}")
    if found:
        return found[0]
    require_stage(name, "eval")
    if Path(name).is_dir():
        raise UsageError(name, f"is a folder; name a task before it: glmctl eval TASK {name}")
    known = [suite.name for suite in suites]
    known += [task.name for suite in suites for task in suite.tasks]
    raise UsageError(name, f"{unknown(name, known)}; a file of your own ends in .toml")


def suite_of_recipe(path_or_name: str) -> Suite:
    """The tasks of a recipe of stage eval.

    Raises:
        UsageError: naming every mistake, or tasks whose data lies in several places.
    """
    recipe, file = load_any(path_or_name), find_recipe(path_or_name)
    assert isinstance(recipe, EvalRecipe)
    pairs = [task_of_recipe(table, file) for table in recipe.tasks]
    suite, tasks = pairs[0][0], tuple(task for _, task in pairs)
    if strange := {it.name for it, _ in pairs if it.folder != suite.folder}:
        problem = f"has tasks of {suite.name} and of {', '.join(sorted(strange))}"
        raise UsageError(
            path_or_name, f"{problem}, which lie in several folders; write two recipes"
        )
    names = tuple(task.name for task in tasks)
    return replace(suite, name=recipe_name(path_or_name), tasks=tasks, main=names)


def aliases(suite: Suite, task: TaskConfig) -> tuple[str, str]:
    """Names of a task: its own, and one that says its suite."""
    return task.name, f"{suite.name}/{task.name}"


def is_task(name: str) -> bool:
    """Whether it is a task, a suite, or the file of one, and no recipe."""
    if name.endswith(".toml"):
        return Path(name).is_file() and "recipe" not in parse(Path(name), name)
    names = ((it.name, *chain(*(aliases(it, t) for t in it.tasks))) for it in builtin_suites())
    return name in chain(*names)


def check_recipe(path_or_name: str) -> None:
    """Check a recipe with the tasks that it names, or the file of a task.

    Raises:
        UsageError: with every mistake, one line each.
    """
    path = Path(path_or_name)
    if path.is_file():
        tables = parse(path, path_or_name)
        if "task" in tables and "recipe" not in tables:
            read_suite(path, is_own=True)
            return
    recipe = load_any(path_or_name)
    if isinstance(recipe, FinetuneRecipe):
        for run in runs_of(recipe, path_or_name):
            task_of_recipe(run.recipe.task, find_recipe(path_or_name))
    elif isinstance(recipe, EvalRecipe):
        if recipe.recipe.stage == "eval":
            suite_of_recipe(path_or_name)
    elif recipe.task is not None:
        task_of_recipe(recipe.task, path)


def task_of_recipe(table: Mapping[str, Any], file: Path) -> tuple[Suite, TaskConfig]:
    """What `[task]` in a recipe stands for: a built-in task with what differs, or a whole one.

    Raises:
        UsageError: naming every mistake.
    """
    problems: list[str] = []
    if "patterns" in table or "name" not in table:
        task = read_task(dict(table), file.stem, problems)
        root = None if is_builtin(file) else file.parent
        suite = None if task is None else Suite(task.name, (task,), (task.name,), root=root)
    else:
        suite, names = find_suite(table["name"])
        if len(names) > 1:
            problem = f"{table['name']!r} holds several tasks; name one: {', '.join(names)}"
            raise UsageError(str(file), f"task.name: {problem}")
        (known,) = suite.choose(names)
        whole = known.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        merge(whole, {key: value for key, value in table.items() if key != "name"})
        task = read_task(whole, known.name, problems)
    if suite is None or task is None:
        raise UsageError(str(file), *(f"task.{problem}" for problem in problems))
    return suite, task


def places_of(
    suite: Suite, task: TaskConfig, split: str, data: Path | None, *, is_single: bool
) -> Iterator[Path]:
    """Where the file of a task may lie, the best place first; as it is compressed there."""
    named = task.files.get(split)
    if data is not None and is_single and (data.suffix or data.is_file()):
        yield data
    elif named is None:
        return
    elif data is not None:
        yield packed(data / named)
        yield packed(data / suite.folder / named)
        ends = range(1, len(Path(named).parts)) if is_single else ()
        inner = (data.joinpath(*Path(named).parts[start:]) for start in ends)
        yield from (packed(place) for place in inner if parts_at(packed(place), named))
    elif suite.root is not None:
        yield packed(suite.root / named)
    else:
        yield packed(home() / "data" / suite.folder / named)


def packed(place: Path) -> Path:
    """The path with the suffix of a compression, where only such files are there."""
    names = (place.with_name(place.name + end) for end in ("", *COMPRESSED))
    return next((name for name in names if any(place.parent.glob(name.name))), place)


def parts_at(place: Path, named: str) -> dict[str, Path]:
    """The files of a task that are at a place, by the part that each one holds.

    Args:
        place: of one file, or with a * for those of all parts.
        named: the file as the task names it; what its * stands for is the part, else "".
    """
    before, star, after = Path(named).name.partition("*")
    files = [it for it in sorted(place.parent.glob(place.name)) if it.is_file()]
    if not star:
        return {"": files[0]} if files else {}
    names = {file: file.name if file.suffix not in COMPRESSED else file.stem for file in files}
    return {it.removeprefix(before).removesuffix(after): file for file, it in names.items()}


def home() -> Path:
    """Where glmctl keeps what is fetched."""
    share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("GLMCTL_HOME") or Path(share) / "glmctl")


def own_suite(file: str, columns: str, label: str, pattern: str, verbalizer: str) -> Suite:
    """A task of the user's own, from a command line.

    Args:
        file: with the rows; the task is called by it.
        columns: those with text, as `a,b`; empty: all.
        label: column of the label.
        pattern: with a blank.
        verbalizer: words of the labels, as `1=good,0=bad`.

    Raises:
        UsageError: naming every mistake.
    """
    name = file.partition(".")[0]
    pairs = [pair.partition("=") for pair in verbalizer.split(",")]
    problems = [f"{pair!r} is not LABEL=WORD" for pair, equals, _ in pairs if not equals]
    labels = Counter(label.strip() for label, _, _ in pairs)
    problems += [f"{label!r} has two words; one is enough" for label in labels - Counter({*labels})]
    fields = filter(None, map(str.strip, columns.split(",")))
    table = {
        "fields": {field: field for field in fields},
        "label": label,
        "patterns": [pattern],
        "verbalizer": {label.strip(): word for label, _, word in pairs},
    }
    task = None if problems else read_task(table, name, problems)
    if task is None:
        raise UsageError("task", *problems)
    return Suite(name, (task,), (name,))


def unknown(name: str, known: Any, what: str = "task") -> str:
    close = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"no such {what}; {hint}glmctl eval --list shows all"


def read_suite(file: Path, *, is_own: bool = False) -> Suite:
    """The tasks of a file: one table `task`, or an array of them.

    Raises:
        UsageError: naming every mistake.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(str(file), f"not TOML: {error}; correct the file there") from None
    listed = tables.get("task")
    listed = [listed] if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        raise UsageError(str(file), f"has no table [task]; write one, as {EXAMPLE}")
    problems = [] if "recipe" in tables else [*strange_tables(tables)]
    tables_of_tasks = (filled(table, listed) for table in listed)
    tasks = [*filter(None, (read_task(it, file.stem, problems) for it in tables_of_tasks))]
    if problems:
        raise UsageError(str(file), *problems)
    about = tables.get("suite", {})
    names = tuple(task.name for task in tasks)
    return Suite(
        file.stem,
        tuple(tasks),
        tuple(about.get("tasks", names)),
        about.get("folder", ""),
        about.get("get", ""),
        file.parent if is_own else None,
        {name: tables[name] for name in SETTINGS if name in tables},
    )


def strange_tables(tables: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the tables of a file that is no recipe."""
    known = ("task", "suite", *SETTINGS)
    for name in tables:
        if name in FinetuneRecipe.model_fields and name not in known:
            yield (
                f"{name}: is read in a recipe only; make the file one with [recipe] "
                'stage = "finetune" and source = "what it is"'
            )
        elif name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            yield f"{name}: unknown table; {hint}"


def filled(table: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A table over the one of the file that it is like."""
    bases = [other for other in others if other.get("name") == table.get("like", "")]
    whole: dict[str, Any] = deepcopy(dict(*bases))
    merge(whole, {key: value for key, value in table.items() if key != "like"})
    return whole


def read_task(table: dict[str, Any], name: str, problems: list[str]) -> TaskConfig | None:
    """One task, called by its file unless it has a name; its mistakes go to the others."""
    table.setdefault("name", name)
    try:
        return TaskConfig.model_validate(table)
    except ValidationError as error:
        found = (line for issue in error.errors() for line in describe(issue, TaskConfig))
        problems += [f"{table['name']}: {line}" for line in found]
        return None
