"""Recipe files as text that a user goes on with."""

import json
import os
import re
from pathlib import Path

from glmctl.recipe.find import find_parent, is_builtin, recipe_name
from glmctl.recipe.load import parse, table_at

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
