"""Dotted keys: those that there are, and those in which two recipes differ."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from glmctl.recipe.schema import Recipe
from glmctl.recipe.section import Section


def differences(a: Section, b: Section) -> dict[str, tuple[Any, Any]]:
    """The keys whose value two recipes do not share, with both; None where one lacks it.

    A section that one of them lacks is one key.
    """
    left, right = settings_of(a), settings_of(b)
    of_one = left.keys() ^ right.keys()
    left, right = (
        {key: it[key] for key in it if key in of_one}
        | flatten({key: it[key] for key in it if key not in of_one})
        for it in (left, right)
    )
    pairs = {key: (left.get(key), right.get(key)) for key in left | right}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def values_of(recipe: Section) -> dict[str, Any]:
    """Every value that a recipe has, as in its file."""
    values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in values.items() if value != []}  # nothing published


def settings_of(recipe: Section) -> dict[str, Any]:
    """What a recipe asks for: its values but for those of the literature."""
    return {key: value for key, value in values_of(recipe).items() if key != "published"}


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one table of dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        key = f"{prefix}{name}"
        flat |= flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat


def section_in(kind: Any) -> type[Section] | None:
    """The section that an annotation means, alone or in a list or in a named table."""
    if isinstance(kind, type(Section)):
        return kind
    return next(filter(None, map(section_in, get_args(kind))), None)


def all_keys(section: type[Section] = Recipe, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key that a recipe can have, with what it is for; lists and named tables are one key."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = section_in(field.annotation)
        if inner is None or get_origin(field.annotation) in (tuple, dict):
            yield key, field.description or ""
        else:
            yield from all_keys(inner, f"{key}.")
