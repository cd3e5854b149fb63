"""TOML, `extends`, `--set` and a layout -> Recipe, with every mistake named at once."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import tomli_w
from pydantic import ValidationError

from glmctl.errors import UsageError
from glmctl.recipe.find import (
    builtin_recipes,
    find_parent,
    find_recipe,
    is_builtin,
    recipe_name,
)
from glmctl.recipe.keys import all_keys, flatten, section_in, values_of
from glmctl.recipe.schema import Recipe, Stage
from glmctl.recipe.section import Section

MAX_PARENTS = 3  # two among the recipes of the package, and a recipe of the user over them
OWN_CLAIMS = ("experiments", "certainty", "needs")  # true of the file that makes them alone
VARIABLE = r"\$\{(\w+)\}"
Tables = dict[str, Any]
Root = TypeVar("Root", bound=Section)


class Origin(NamedTuple):
    """Where a value was stated."""

    kind: Literal["file", "parent", "set", "layout", "default"]
    place: str | None = None
    """The file or the option; a default has none."""


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Draft:
    """The tables of a recipe before they are checked, and who stated what."""

    tables: Tables = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    """By dotted key."""

    def lay(self, change: Tables, origin: Origin) -> None:
        """Put tables over those that are there."""
        merge(self.tables, change)
        self.origins.update(dict.fromkeys(flatten(change), origin))


def load_recipe(
    path_or_name: str,
    overrides: Sequence[str] = (),
    *,
    gpus: int | None = None,
    topology: str | None = None,
) -> Recipe:
    """Read a recipe and check all of it.

    Args:
        path_or_name: a file, or the name of a built-in recipe.
        overrides: ``section.key=value`` each, the value as in TOML.
        gpus: lay the experiment over one node of this many GPUs instead.
        topology: lay it over this one of its profiles instead.

    Raises:
        UsageError: with every mistake, one line each.
    """
    return trace_recipe(Recipe, path_or_name, overrides, gpus=gpus, topology=topology)[0]


def trace_recipe(
    kind: type[Root],
    path_or_name: str,
    overrides: Sequence[str] = (),
    *,
    gpus: int | None = None,
    topology: str | None = None,
) -> tuple[Root, dict[str, Origin]]:
    """As `load_recipe`, and by dotted key who stated what; the other keys have their default."""
    draft = read_files(find_recipe(path_or_name), path_or_name)
    problems = [override(draft, text) for text in overrides]
    problems.append(choose_layout(draft, gpus, topology))
    return checked(kind, draft, path_or_name, problems), draft.origins


def make_recipe(tables: Tables, place: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of the tables that a command has put together, which the overrides change."""
    draft = Draft(tables)
    return checked(Recipe, draft, place, [override(draft, text) for text in overrides])


def checked(kind: type[Root], draft: Draft, place: str, problems: Sequence[str | None]) -> Root:
    """What a draft describes, in which these problems are known.

    Raises:
        UsageError: with every mistake, one line each.
    """
    lines = [problem for problem in problems if problem]
    try:
        found = kind.model_validate_json(json.dumps(draft.tables, default=str), strict=True)
    except ValidationError as error:
        lines += mistakes(kind, draft.tables, error)
    if lines:
        raise UsageError(place, *lines)
    return found


def to_toml(recipe: Section) -> str:
    """The recipe with every value it has, as a file that loads to the same recipe."""
    return tomli_w.dumps(values_of(recipe))


def expand_path(path: str, key: str) -> Path:
    """Put the values of ``${VAR}`` into a path that is about to be opened.

    Args:
        path: as the recipe states it.
        key: where it stands in the recipe, as ``data.probe``.
    """
    if unset := unset_variables(path):
        problem = f"{path!r} needs the environment variable {unset[0]}, which is not set"
        raise UsageError(key, f"{problem}; export {unset[0]}=PATH first")
    return Path(re.sub(VARIABLE, lambda found: os.environ[found.group(1)], path))


def unset_variables(path: str) -> list[str]:
    """Names of the ``${VAR}`` in a path that the environment does not have."""
    return [name for name in re.findall(VARIABLE, path) if name not in os.environ]


def read_files(path: Path, place: str) -> Draft:
    """A file over the files that it extends: tables merge, everything else is replaced."""
    chain: list[tuple[Tables, Origin]] = []
    file: Path | None = path
    while file is not None:
        if len(chain) > MAX_PARENTS:
            raise UsageError(
                place,
                f"recipe.extends: {file} is one parent too many, the most are {MAX_PARENTS}; "
                "merge two of the files",
            )
        tables = parse(file, place)
        head = table_at(tables, "recipe")
        parent = head.pop("extends", None)
        if chain:
            tables.pop("published", None)
            for key in OWN_CLAIMS:
                head.pop(key, None)
        name = f"{recipe_name(file)}.toml" if is_builtin(file) else str(file)
        chain.append((tables, Origin("parent" if chain else "file", name)))
        file = None if parent is None else find_parent(file, parent, place)
    draft = Draft()
    for tables, origin in reversed(chain):
        draft.lay(tables, origin)
    return draft


def stage_of(name: str) -> str | None:
    """The stage of a recipe; None: there is no recipe of this name."""
    path = Path(name)
    if path.is_file() and path.suffix == ".toml":
        if "recipe" not in parse(path, name):
            return None
    elif name.removesuffix(".toml") not in map(recipe_name, builtin_recipes()):
        return None
    head = table_at(read_files(find_recipe(name), name).tables, "recipe")
    return str(head.get("stage", "pretrain"))


def require_stage(name: str, *wanted: str) -> None:
    """Refuse a recipe that another command runs, or none.

    Raises:
        UsageError: naming that command, or what a record lacks.
    """
    stage = stage_of(name)
    if stage not in get_args(Stage) or (stage in wanted and stage != "record"):
        return  # what is no stage is a mistake like others
    if stage == "record":
        tables = read_files(find_recipe(name), name).tables
        if stage in wanted and "model" in tables:
            return  # it has a plan
        needs = table_at(tables, "recipe").get("needs")
        raise UsageError(name, f"is a record, which nothing runs; that would need {needs}")
    raise UsageError(name, f"is a recipe of stage {stage!r}; run: glmctl {stage} {name}")


def table_at(tables: Any, *keys: str) -> Tables:
    """The table inside others; an empty one where there is none."""
    for key in keys:
        tables = tables.get(key)
        if not isinstance(tables, dict):
            return {}
    found: Tables = tables
    return found


def parse(path: Path, place: str) -> Tables:
    """The tables of one file; a mistake in the TOML names line and column."""
    name = place if str(path) == place else f"{place} ({path})"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(name, f"not TOML: {error}; correct the file there") from None
    except UnicodeDecodeError as error:
        raise UsageError(name, f"not UTF-8 at byte {error.start}; save it as UTF-8") from None


def merge(base: Tables, change: Mapping[str, Any]) -> None:
    """Lay one table over another, in place."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def override(draft: Draft, text: str) -> str | None:
    """Carry out one ``--set``; gives the problem when that cannot be done."""
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        return f"--set {text}: is not of the form section.key=value"
    try:
        change = toml_value(value.strip())
    except tomllib.TOMLDecodeError:
        return f"--set {text}: {value.strip()!r} is not a TOML value; close the quote or bracket"
    for key in reversed(keys):
        change = {key: change}
    draft.lay(change, Origin("set", "--set"))
    return None


def toml_value(text: str) -> Any:
    """A value as TOML reads it; a word that TOML does not know is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if text[:1] in tuple("\"'[{"):
            raise
        return text


def choose_layout(draft: Draft, gpus: int | None, topology: str | None) -> str | None:
    """Change the topology, and the micro batch where the profile has its own; gives the problem."""
    if gpus is not None and topology is not None:
        return f"--gpus {gpus}: does not go with --topology {topology}; choose one of them"
    layout: Tables = {"note": None}  # it speaks of the layout of the source
    if gpus is not None:
        option = f"--gpus {gpus}"
        layout |= {"nodes": 1, "gpus_per_node": gpus}
    elif topology is not None:
        option = f"--topology {topology}"
        profiles = table_at(draft.tables, "topology", "profiles")
        if topology not in profiles:
            return f"{option}: no such profile; known: {', '.join(profiles) or 'none'}"
        layout |= table_at(profiles, topology)
    else:
        return None
    change = {"topology": layout}
    if "micro_batch_size" in layout:
        change["train"] = {"micro_batch_size": layout.pop("micro_batch_size")}
    draft.lay(change, Origin("layout", option))
    return None


def mistakes(kind: type[Section], tables: Tables, error: ValidationError) -> list[str]:
    """Everything that is wrong, also what pydantic does not look at after a wrong type."""
    issues = error.errors()
    lines = [line for issue in issues for line in describe(issue, kind)]
    return lines + [line for line in contradictions(kind, tables, issues) if line not in lines]


def describe(issue: Mapping[str, Any], root: type[Section] = Recipe) -> Iterator[str]:
    """Lines for one pydantic issue: ``section.key: what is wrong with it``."""
    kind, found = issue["type"], issue["input"]
    loc = [part for part in issue["loc"] if "[" not in str(part)]  # one of several forms
    key = ".".join(map(str, loc))
    section = section_at(root, loc[:-1])
    known = [field.alias or name for name, field in section.model_fields.items()]
    if kind == "extra_forbidden":
        inner = {it.rpartition(".")[2]: it for it, _ in all_keys(section)}
        places = {**inner, **{it: it for it in known}}
        tries = ((known, 0.75), (inner, 0.75), (known, 0.6))
        close = [
            it for names, least in tries for it in get_close_matches(str(loc[-1]), names, 1, least)
        ]
        hint = f"did you mean '{places[close[0]]}'?" if close else f"known keys: {', '.join(known)}"
        yield f"{key}: unknown key; {hint}"
    elif kind == "string_type" and loc[-1] == "str":
        return  # the other form says what is wrong
    elif kind == "missing":
        what = section.model_fields[str(loc[-1])].description
        remedy = f"state it ({what.rstrip('.')})" if what else "this section is needed"
        yield f"{key}: missing; {remedy}"
    elif kind == "too_short":
        if not found:  # else it is short of items that are wrong, which is said already
            yield f"{key}: should have at least {issue['ctx']['min_length']} item; found none"
    elif kind == "value_error":
        for line in str(issue["ctx"]["error"]).splitlines():
            yield f"{key}.{line}" if key else line
    else:
        expected = issue["msg"].removeprefix("Input ").replace("an object", "a table")
        twins = [it for it in known if it != loc[-1] and it.rstrip("s") == str(loc[-1]).rstrip("s")]
        hint = f"; did you mean '{twins[0]}'?" if twins else ""
        yield f"{key}: {expected}; found {json.dumps(found, default=str)}{hint}"


def section_at(section: type[Section], loc: Sequence[int | str]) -> type[Section]:
    """The class that describes the table at a place; steps into lists and named tables stay."""
    for part in loc:
        field = section.model_fields.get(str(part))
        section = (field and section_in(field.annotation)) or section
    return section


def contradictions(
    kind: type[Section], tables: Tables, issues: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What the checks say about the values that have the right type.

    pydantic checks agreement only when every type is right; here the values with an issue are
    absent and a check that asks for one of them is left out.
    """
    wrong = {tuple(issue["loc"][:2]) for issue in issues if issue["type"] != "value_error"}
    parts: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        section: Any = info.annotation
        if not isinstance(section, type(Section)):
            parts[name] = tables.get(name)  # checks only ask whether it is there
        elif (name,) not in wrong:
            part = section.model_construct(**tables.get(name, {}))
            for _, key in (place for place in wrong if len(place) == 2 and place[0] == name):
                part.__dict__.pop(key, None)  # no default in the place of a wrong value
            yield from (f"{name}.{line}" for line in findings(part))
            parts[name] = part
    yield from findings(kind.model_construct(**parts))


def findings(section: Section) -> Iterator[str]:
    for check in section.checks:
        with suppress(AttributeError):  # needs a value that is wrong or missing, reported already
            yield from [*check(section)]
