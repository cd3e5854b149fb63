"""Writes a model in a released format, by the maps that read it run backwards.

What a format cannot hold is found by reading back what its config.json would say.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from torch import Tensor

from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.dialects import original
from glmctl.core.checkpoint.dialects.detect import dialects
from glmctl.core.checkpoint.dialects.dialect import Dialect, Format
from glmctl.core.checkpoint.folder import Found
from glmctl.core.checkpoint.release import CONFIG_FILE, config_of, part_rows
from glmctl.core.checkpoint.tensor_files import LazyTensors, picked, write_tensor_files
from glmctl.errors import InputError
from glmctl.recipe.model import ModelConfig, RotaryConfig

TRAINING_KEYS = {"init_std", "position_init", "dropout", "attention_dropout"}
"""Of `[model]`; a model that is not trained computes the same without them."""


def misfits(target: Format, found: Found) -> list[str]:
    """What of a model a format cannot hold; [] when it holds all that counts for a result."""
    if target == "glmctl":
        return []
    problems = []
    if found.quantize is not None:
        problems.append(
            f"quantize.bits is {found.quantize.bits}; {target} holds weights in floating types only"
        )
    if found.objective is not None and not found.objective.second_position:
        problems.append(
            f"objective.second_position is False; {target} holds models that count the place "
            "inside a span only"
        )
    return problems + [
        problem for dialect in nearest(target, found) for problem in differences(dialect, found)
    ]


def refuse_misfits(target: Format, found: Found, place: str) -> None:
    """Name each key of a model that a format cannot hold, and the formats that can."""
    if problems := misfits(target, found):
        fitting = [f"--to {other}" for other in get_args(Format) if not misfits(other, found)]
        raise InputError(place, *problems, f"the model can be written with {' or '.join(fitting)}")


def nearest(target: Format, found: Found) -> list[Dialect]:
    """Of the formats that are written under one name, those with the fewest differences."""
    written = [dialect for dialect in dialects() if dialect.written_as == target]
    counts = [len(differences(dialect, found)) for dialect in written]
    return [dialect for dialect, n in zip(written, counts, strict=True) if n == min(counts)]


def differences(dialect: Dialect, found: Found) -> list[str]:
    """What of a model a folder of a format would not be read to have."""
    modules = dialect.heads.values()
    known = f"{dialect.name} holds {', '.join(modules) or 'none'}"
    problems = [
        f"tensor {name} is of a task or a prompt; of those, {known}"
        for name in found.heads
        if name.rpartition(".")[0] not in modules
    ]
    values = config_json(dialect, found.config)
    parts = {ours: values[theirs] for ours, theirs in dialect.sizes.items()}
    parts["tie_embeddings"] = values.get("tie_word_embeddings", True)
    try:
        back = computed_values(config_of(dialect, parts | dialect.components(values)))
    except ValidationError as error:
        reasons = [issue["msg"] for issue in error.errors()]
        return [f"{dialect.name} holds no such model: {reason}" for reason in reasons] + problems
    except ValueError as error:
        return [f"{dialect.name} holds no such model: {error}", *problems]
    return [
        f"{key} is {value!r}; {dialect.name} has {back[key]!r}"
        for key, value in computed_values(found.config).items()
        if key in back and value != back[key]
    ] + problems


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
    sizes = config.model_dump() | derived_sizes(config)
    named = {theirs: sizes[ours] for ours, theirs in dialect.sizes.items()}
    kind = {"model_type": dialect.model_type} if dialect.model_type else {}
    return kind | named | dialect.values(config)


def write_release(
    folder: Path, target: Format, found: Found, degree: int, token_ids: Mapping[str, Any]
) -> None:
    """Write tensors and a config.json of a released format, which can hold the model.

    `degree` is the number of model-parallel shards of the original; `token_ids` is what a
    config.json says of the special tokens, where it says anything of them.
    """
    dialect = nearest(target, found)[0]
    values = config_json(dialect, found.config)
    heads = picked(found.heads, {dialect.their_head(name): name for name in found.heads})
    has_wrapper = any(not name.startswith("prompt.") for name in found.heads)
    lead = dialect.lead if has_wrapper else ""
    if target == "original":
        durable.write_json(folder / CONFIG_FILE, values)
        original.write_shards(folder, found.tensors, lead, heads, found.config, degree)
        return
    dtype = str(found.tensors["word_embedding.weight"].dtype).removeprefix("torch.")
    durable.write_json(folder / CONFIG_FILE, values | {"torch_dtype": dtype, **token_ids})
    makers = dict(heads.makers)
    for ours in found.tensors:
        names = dialect.their_names(ours)
        for number, name in enumerate(names):
            makers[lead + name] = partial(part_of, found, ours, number, len(names))
    write_tensor_files(folder, LazyTensors(makers))


def part_of(found: Found, ours: str, number: int, num_parts: int) -> Tensor:
    """One of the tensors that stand one after another in one of ours."""
    tensor = found.tensors[ours]
    parts = tensor.split(part_rows(ours, len(tensor), num_parts, found.config))
    return parts[number]  # type: ignore[no-any-return]
