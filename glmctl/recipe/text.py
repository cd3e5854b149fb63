"""Recipe files as text that a user goes on with: copies, and the number of their grammar."""

import json
import os
import re
from pathlib import Path

from glmctl.errors import UsageError
from glmctl.recipe.find import find_parent, is_builtin, recipe_name
from glmctl.recipe.load import parse, table_at

GRAMMAR = 1
"""The newest number of the grammar; `migrate` lifts what is older once there is a second."""
EXTENDS = re.compile(r"""^([^#\n]*\bextends\s*=\s*)("[^"\n]*"|'[^'\n]*')""", re.MULTILINE)


def copy_text(path: Path, folder: Path) -> str:
    """A recipe as it must read in another folder: all of it, its parent named from there."""
    text = path.read_text(encoding="utf-8")
    parent = table_at(parse(path, str(path)), "recipe").get("extends")
    if parent is None:
        return text
    file = find_parent(path, parent, str(path)).resolve()
    name = recipe_name(file) if is_builtin(file) else os.path.relpath(file, folder.resolve())
    return EXTENDS.sub(lambda found: found[1] + json.dumps(name), text, count=1)


def check_grammar(path: Path) -> None:
    """Refuse a file whose grammar is not one of ours."""
    number = table_at(parse(path, str(path)), "recipe").get("schema", GRAMMAR)
    if type(number) is not int or number != GRAMMAR:
        raise UsageError(
            str(path),
            f"recipe.schema: should be {GRAMMAR}, the newest grammar of this version; found "
            f"{json.dumps(number)}; for a newer one install a newer glmctl",
        )
