"""Dotted keys: those that there are, and those in which two recipes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from glmctl.recipe.schema import Recipe, Section


@dataclass(frozen=True)
class Difference:
    """A key whose value two recipes do not share; None where one lacks it."""

    key: str
    a: Any
    b: Any


def differences(a: Recipe, b: Recipe) -> list[Difference]:
    """What differs between two recipes, in the order of the grammar."""
    left, right = flatten(values_of(a)), flatten(values_of(b))
    pairs = ((key, left.get(key), right.get(key)) for key in left | right)
    return [Difference(key, one, other) for key, one, other in pairs if one != other]


def values_of(recipe: Recipe) -> dict[str, Any]:
    """Every value that a recipe has, as in its file."""
    return recipe.model_dump(mode="json", by_alias=True, exclude_none=True)


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one table of dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        key = f"{prefix}{name}"
        flat |= flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat


def all_keys(section: type[Section] = Recipe, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key that a recipe can have, with what it is for; lists and named tables are one key."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type(Section))), None)
        if inner is None or get_origin(field.annotation) in (tuple, dict):
            yield key, field.description or ""
        else:
            yield from all_keys(inner, f"{key}.")
