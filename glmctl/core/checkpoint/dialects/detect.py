"""Which released format a folder has: first by its tensors, then by what config.json says."""

from collections.abc import Collection
from importlib import import_module
from pkgutil import iter_modules

from glmctl.core.checkpoint import dialects as package
from glmctl.core.checkpoint.dialects.check import mistakes
from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.errors import GlmctlError


def dialects() -> list[Dialect]:
    """Every `Dialect` that a file of this package holds.

    Raises:
        GlmctlError: one is filled in wrongly, or two have the same name.
    """
    held: dict[int, tuple[Dialect, str]] = {}
    for found in iter_modules(package.__path__, f"{package.__name__}."):
        module = import_module(found.name)
        for value in vars(module).values():
            # Others import it from the file that fills it in, and may come before that one.
            if isinstance(value, Dialect) and (
                id(value) not in held or value.components.__module__ == found.name
            ):
                held[id(value)] = value, str(module.__file__)
    files: dict[str, str] = {}
    for dialect, file in held.values():
        problems = [*mistakes(dialect)]
        if dialect.name in files:
            first = files[dialect.name]
            problems.append(f"the dialect in {first} has this name too; give each one of its own")
        if problems:
            raise GlmctlError(f"{file}, dialect {dialect.name!r}", *problems)
        files[dialect.name] = file
    return [dialect for dialect, _ in held.values()]


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
