"""The released formats that are known, and which of them a folder has.

A format is told first by its tensors, then by what config.json says.
"""

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

from glmctl.core.checkpoint import dialects as package
from glmctl.core.checkpoint.dialects.dialect import Dialect, Format, Values
from glmctl.errors import GlmctlError
from glmctl.recipe.model import LayoutConfig, ModelConfig
from glmctl.recipe.shapes import parameter_shapes

FIELDS = ModelConfig.model_fields
NEEDED = [key for key in FIELDS if FIELDS[key].is_required() or key == "vocab_rows"]
"""Sizes that every format states."""
PARAMETERS = [
    name
    for position in ("learned_2d", "relative_xl")
    for name in parameter_shapes(
        ModelConfig.model_validate(
            dict.fromkeys(NEEDED, 1)
            | {"position": position, "norm_placement": "sandwich", "tie_embeddings": False}
        )
    )
]
"""Of a model that has all that a model can have."""
INNER = dict.fromkeys(
    name.removeprefix("blocks.0.").rpartition(".")[0]
    for name in PARAMETERS
    if name.startswith("blocks.")
)
OUTER = dict.fromkeys(
    key
    for name in PARAMETERS
    if not name.startswith("blocks.")
    for key in (name.rpartition(".")[0], name)
)
WRITTEN = [word for word in get_args(Format) if word != "glmctl"]


def dialects() -> list[Dialect]:
    """Every `Dialect` that a file of this package holds, each right and with its own name."""
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


def mistakes(dialect: Dialect) -> Iterator[str]:
    """What is filled in wrongly, by the name of its field."""
    tables: dict[str, tuple[Mapping[str, Any], Collection[str]]] = {
        "outer": (dialect.outer, OUTER),
        "inner": (dialect.inner, INNER),
        "sizes": (dialect.sizes, FIELDS),
        "defaults": (dialect.defaults, FIELDS),
        "start": (dialect.start, LayoutConfig.model_fields),
    }
    for table, (filled, ours) in tables.items():
        for key in filled:
            if key not in ours:
                yield f"{table} has the key {key!r}; ours are {', '.join(ours)}"
    yield from (f"sizes lacks {key!r}" for key in NEEDED if key not in dialect.sizes)
    if "word_embedding" not in dialect.outer:
        yield "outer lacks 'word_embedding', by which folders are told apart"
    for table, names in (("outer", dialect.outer), ("sizes", dialect.sizes)):
        for key, name in names.items():
            if not isinstance(name, str):
                yield f"{table}[{key!r}] is {name!r}; expected one name"
    for key, parts in dialect.inner.items():
        if not isinstance(parts, tuple) or not parts:
            yield f"inner[{key!r}] is {parts!r}; expected a tuple of names"
    if dialect.written_as not in (None, *WRITTEN):
        yield f"written_as is {dialect.written_as!r}; expected None or {' or '.join(WRITTEN)}"
