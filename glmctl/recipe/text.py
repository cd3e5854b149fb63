"""Recipe files as text that a user goes on with: copies, and the number of their grammar."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from glmctl.errors import UsageError
from glmctl.recipe.find import builtin_folder, find_parent, recipe_name
from glmctl.recipe.load import parse

GRAMMAR = 1
"""The newest number of the grammar; `migrate` lifts what is older once there is a second."""
EXTENDS = re.compile(r"""^([^#\n]*\bextends\s*=\s*)("[^"\n]*"|'[^'\n]*')""", re.MULTILINE)


def copy_text(path: Path, folder: Path) -> str:
    """A recipe as it must read in another folder: all of it, its parent named from there."""
    text = path.read_text(encoding="utf-8")
    parent = parse(path, str(path)).get("recipe", {}).get("extends")
    if parent is None:
        return text
    file = find_parent(path, parent, str(path)).resolve()
    is_builtin = file.is_relative_to(builtin_folder())
    name = recipe_name(file) if is_builtin else os.path.relpath(file, folder.resolve())
    return EXTENDS.sub(lambda found: found[1] + json.dumps(name), text, count=1)


def check_grammar(path: Path) -> None:
    """Refuse a file whose grammar is not one of ours.

    Raises:
        UsageError: it is newer, or no number at all.
    """
    number = parse(path, str(path)).get("recipe", {}).get("schema", GRAMMAR)
    if type(number) is int and number > GRAMMAR:
        remedy = f"the newest that this version knows is {GRAMMAR}; install a newer glmctl"
        raise UsageError(str(path), f"recipe.schema: {number} is a newer grammar; {remedy}")
    if type(number) is not int or number < 1:
        raise UsageError(
            str(path), f"recipe.schema: should be {GRAMMAR}; found {json.dumps(number)}"
        )
