"""Which released format a folder has: first by its tensors, then by what config.json says."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pkgutil import iter_modules

from glmctl.core.checkpoint import dialects as package
from glmctl.core.checkpoint.dialects.dialect import Dialect, Values


def dialects() -> list[Dialect]:
    """Every `Dialect` that a file of this package holds."""
    files = iter_modules(package.__path__, f"{package.__name__}.")
    held = [value for file in files for value in vars(import_module(file.name)).values()]
    return [*{value.name: value for value in held if isinstance(value, Dialect)}.values()]


def detect(values: Values, names: Collection[str]) -> Dialect | str:
    """The dialect of a folder, or why it has none.

    Two formats call themselves `glm` and two `chatglm`, so the name of the word embedding decides
    among those of one model_type.
    """
    model_type, known = values.get("model_type"), dialects()
    for dialect in known:
        word = dialect.outer["word_embedding"] + ".weight"
        if model_type == dialect.model_type and (word in names or dialect.lead + word in names):
            return dialect
    return (
        f"model_type is {model_type!r}, and no tensor has the name of a word embedding of such a "
        f"model; known formats: {', '.join(dialect.name for dialect in known)}"
    )
