"""The parts of a pattern: filled with the fields of a row, and shortened to the room there is."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glmctl.core.tasks.frame import Ids
from glmctl.core.tasks.schema import FIELD


@dataclass(frozen=True)
class Unit:
    """Tokens of one part of a pattern."""

    ids: Ids
    can_shrink: bool = False
    is_second: bool = False
    """Of the second side of the pattern."""


def shorten(units: Sequence[Unit], excess: int, at_start: bool = False) -> list[Ids]:
    """Take so many tokens off the end, or the start, of what may be shortened.

    Raises:
        ValueError: there is not so much.
    """
    kept = [len(unit.ids) for unit in units]
    open_units = {
        side: [n for n, unit in enumerate(units) if unit.can_shrink and unit.is_second == side]
        for side in (False, True)
    }
    room = {side: sum(kept[n] for n in numbers) for side, numbers in open_units.items()}
    if excess > sum(room.values()):
        over = excess - sum(room.values())
        raise ValueError(
            f"is {over:,} tokens too long even without what may be shortened; shorten the row"
        )
    for _ in range(excess):
        side = room[True] >= room[False]
        last = next(n for n in reversed(open_units[side]) if kept[n])
        kept[last] -= 1
        room[side] -= 1
    return [
        unit.ids[len(unit.ids) - length :] if at_start else unit.ids[:length]
        for unit, length in zip(units, kept, strict=True)
    ]


def fill(text: str, fields: Mapping[str, str]) -> str:
    """A part of a pattern with its fields.

    Raises:
        ValueError: the row has no such field.
    """
    parts = FIELD.split(text)  # text, name, changes, text, ...
    filled = parts[0]
    for name, changes, following in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name not in fields:
            raise ValueError(f"has no {name!r}; there are {', '.join(fields)}; correct the pattern")
        filled += changed(fields[name], changes or "") + following
    return filled


def changed(text: str, changes: str) -> str:
    """The text after the changes that a pattern names."""
    for change in changes.split(","):
        if change == "strip":
            text = text.rstrip(string.punctuation)
        elif change == "lowerfirst":
            text = text[:1].lower() + text[1:]
    return text
