"""Writes a model in a released format, by the maps that read it run backwards.

What a format cannot hold is found by reading back what its config.json would say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError
from torch import Tensor

from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.dialects import original
from glmctl.core.checkpoint.dialects.dialect import Dialect
from glmctl.core.checkpoint.dialects.glm4 import GLM, GLM4
from glmctl.core.checkpoint.dialects.hub_glm import HUB_GLM
from glmctl.core.checkpoint.find import CONFIG_NAMES, Found
from glmctl.core.checkpoint.release import part_rows
from glmctl.core.checkpoint.tensor_files import LazyTensors, picked, write_tensor_files
from glmctl.core.checkpoint.translate import CONFIG_FILE
from glmctl.recipe.model import ModelConfig, RotaryConfig

Format = Literal["glmctl", "original", "hub-glm", "transformers"]
TRAINING_KEYS = {"init_std", "position_init", "dropout", "attention_dropout"}
"""Of `[model]`; a model that is not trained computes the same without them."""


def misfits(target: Format, found: Found) -> list[str]:
    """What of a model a format cannot hold; [] when it holds all that counts for a result."""
    if target == "glmctl":
        return []
    problems = []
    if found.quantize is not None:
        problems.append(f"its linears hold integers of {found.quantize.bits} bits")
    if found.objective is not None and not found.objective.second_position:
        problems.append("it does not count the place inside a span (objective.second_position)")
    heads = original.HEAD_NAMES if target == "original" else dialect_of(target, found.config).heads
    known = {theirs.rstrip(".") for theirs in heads.values()}
    for name in found.heads:
        if not any(name.startswith(f"{module}.") for module in known):
            problems.append(f"tensor {name} of a task or a prompt has no place there")
    try:
        theirs = computed_values(read_back(target, found.config))
    except ValidationError as error:
        return [*problems, *(issue["msg"] for issue in error.errors())]
    ours = computed_values(found.config)
    return problems + [
        f"{key} is {value!r}; there it is {theirs[key]!r}"
        for key, value in ours.items()
        if key in theirs and value != theirs[key]
    ]


def fitting_targets(found: Found) -> list[str]:
    """The formats that can hold a model."""
    return [target for target in get_args(Format) if not misfits(target, found)]


def read_back(target: Format, config: ModelConfig) -> ModelConfig:
    """The sizes and components that a folder of this format would be read to have."""
    if target == "original":
        return original.computed_by(config)
    dialect = dialect_of(target, config)
    values = config_json(dialect, config)
    sizes = {ours: values[theirs] for ours, theirs in dialect.sizes.items()}
    ties = values.get("tie_word_embeddings", True)
    return ModelConfig.model_validate(
        {**sizes, **dialect.components(values), "tie_embeddings": ties}
    )


def dialect_of(target: Format, config: ModelConfig) -> Dialect:
    if target == "hub-glm":
        return HUB_GLM
    return GLM4 if config.norm_placement == "sandwich" else GLM


def computed_values(config: ModelConfig) -> dict[str, Any]:
    """What the result of a model depends on, with no default left open."""
    values = config.model_dump(exclude=TRAINING_KEYS) | derived_sizes(config)
    if config.position.startswith("rotary"):
        rotary = (config.rotary or RotaryConfig()).model_dump()
        rotary["base"] *= rotary.pop("ratio")
        values |= {f"rotary.{key}": value for key, value in rotary.items()}
    del values["rotary"]
    return values


def derived_sizes(config: ModelConfig) -> dict[str, int]:
    return {
        "num_kv_heads": config.kv_heads,
        "head_size": config.head_width,
        "ffn_hidden_size": config.ffn_width,
    }


def config_json(dialect: Dialect, config: ModelConfig) -> dict[str, Any]:
    """What a config.json says of a model."""
    assert dialect.values is not None
    sizes = config.model_dump() | derived_sizes(config)
    named = {theirs: sizes[ours] for ours, theirs in dialect.sizes.items()}
    return {"model_type": dialect.model_type, **named, **dialect.values(config)}


def write_original(folder: Path, found: Found, degree: int) -> None:
    """Write a checkpoint of the original code with a config.json beside it."""
    sizes = found.config.model_dump()
    named = {theirs: sizes[ours] for theirs, ours in CONFIG_NAMES.items()}
    has_spans = found.config.position == "learned_2d"
    named |= {"vocab_size": sizes["vocab_rows"], "block_position_encoding": has_spans}
    named["relative_encoding"] = found.config.position == "relative_xl"
    durable.write_json(folder / CONFIG_FILE, named)
    original.write_shards(folder, found.tensors, found.heads, found.config, degree)


def write_release(folder: Path, target: Format, found: Found, token_ids: Mapping[str, Any]) -> None:
    """Write safetensors and a config.json.

    Args:
        folder: where.
        target: hub-glm or transformers.
        found: the model, which fits.
        token_ids: what config.json says of the special tokens.
    """
    dialect = dialect_of(target, found.config)
    dtype = str(found.tensors["word_embedding.weight"].dtype).removeprefix("torch.")
    values = config_json(dialect, found.config) | {"torch_dtype": dtype, **token_ids}
    durable.write_json(folder / CONFIG_FILE, values)
    lead = dialect.lead if found.heads else ""
    makers = {}
    for ours in found.tensors:
        names = dialect.their_names(ours)
        for number, name in enumerate(names):
            makers[lead + name] = partial(part_of, found, ours, number, len(names))
    theirs = {ours: name for name, ours in dialect.heads.items()}
    heads = {f"{theirs[name.split('.')[0]]}.{name.split('.', 1)[1]}": name for name in found.heads}
    write_tensor_files(folder, LazyTensors({**makers, **picked(found.heads, heads).makers}))


def part_of(found: Found, ours: str, number: int, num_parts: int) -> Tensor:
    """One of the tensors that stand one after another in one of ours."""
    tensor = found.tensors[ours]
    parts = tensor.split(part_rows(ours, len(tensor), num_parts, found.config))
    return parts[number]  # type: ignore[no-any-return]
