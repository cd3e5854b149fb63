"""What a `Dialect` may be filled in with: the modules and keys that our models have."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from glmctl.core.checkpoint.dialects.dialect import Dialect, Format
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
