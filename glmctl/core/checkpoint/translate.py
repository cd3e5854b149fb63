"""From the `config.json` of a release to our `[model]` section, checked against its tensors."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.core.checkpoint.tensor_files import Stored
from glmctl.errors import GlmctlError, InputError
from glmctl.recipe.model import LayoutConfig, ModelConfig

CONFIG_FILE = "config.json"
INTEGER_KEY = "quantization_bit"


def translate(
    folder: Path, dialect: Dialect, values: Values, learned: Mapping[str, Stored]
) -> tuple[ModelConfig, int | None, LayoutConfig | None]:
    """Read a config.json: sizes, bits of the integers in the linears, how ids are read.

    Every key that is missing, wrong, not read, or contradicted by a tensor is named at once; null
    is as good as missing.
    """
    values = {key: value for key, value in values.items() if value is not None}
    given = dict(dialect.defaults) | {
        ours: values[theirs] for ours, theirs in dialect.sizes.items() if theirs in values
    }
    problems = [*_unread(dialect, values), *_contradictions(dialect, given, learned)]
    bits = values.get(INTEGER_KEY) or None
    problems += _wrong_bits(bits, learned)
    model = layout = None
    try:
        parts = given | dialect.components(values) | _output(dialect, values, learned)
        prefix = learned.get(f"{dialect.prefix}.embedding.weight")
        if prefix is not None:
            parts["num_prefix_tokens"] = len(prefix.tensor)
        model = config_of(dialect, parts)
        ids = {ours: values.get(key, usual) for ours, (key, usual) in dialect.start.items()}
        if ids or dialect.splits_at_jumps:
            layout = LayoutConfig(**ids, splits_at_jumps=dialect.splits_at_jumps)
    except ValidationError as error:
        problems += _invalid(dialect, error)
    except (TypeError, ValueError) as error:
        problems.append(str(error))
    if problems or model is None:
        raise InputError(str(folder / CONFIG_FILE), *problems)
    return model, bits, layout


def config_of(dialect: Dialect, parts: Mapping[str, Any]) -> ModelConfig:
    """Our sizes and components; a key that we do not have is a mistake of the dialect."""
    try:
        return ModelConfig.model_validate(parts)
    except ValidationError as error:
        unknown = [
            f"components gives {'.'.join(map(str, issue['loc']))!r}, a key that [model] has not"
            for issue in error.errors()
            if issue["type"] == "extra_forbidden"
        ]
        if unknown:
            raise GlmctlError(f"dialect {dialect.name!r}", *unknown) from error
        raise


def _unread(dialect: Dialect, values: Values) -> Iterator[str]:
    for key, allowed in dialect.fixed.items():
        if key in values and values[key] not in allowed:
            known = " or ".join(map(repr, allowed))
            yield f"{key} is {values[key]!r}; of {dialect.name} only {known} is read"


def _contradictions(
    dialect: Dialect, given: Mapping[str, Any], learned: Mapping[str, Stored]
) -> Iterator[str]:
    """Where the main sizes are not those of the tensors, which would misfit one and all."""
    pattern = re.compile(re.escape(dialect.layer).replace(r"\{\}", r"(\d+)"))
    numbers = {int(match[1]) for name in learned if (match := pattern.match(name))}
    embedding = learned.get(dialect.outer["word_embedding"] + ".weight")
    found = {"num_layers": (max(numbers) + 1 if numbers else 0, f"{dialect.layer.format('*')}*")}
    if embedding is not None and embedding.tensor.dim() == 2:
        place = f"{dialect.outer['word_embedding']}.weight in {embedding.file.name}"
        rows, width = embedding.tensor.shape
        found |= {"vocab_rows": (rows, place), "hidden_size": (width, place)}
    for ours, (number, place) in found.items():
        if ours in given and given[ours] != number:
            yield f"{dialect.sizes[ours]} is {given[ours]!r}, and {place} has {number}"


def _wrong_bits(bits: Any, learned: Mapping[str, Stored]) -> Iterator[str]:
    has_integers = any(stored.tensor.dtype == torch.int8 for stored in learned.values())
    if has_integers and bits not in (8, 4):
        yield f"{INTEGER_KEY} is {bits!r}, and tensors hold integers; expected 8 or 4"
    elif bits is not None and not has_integers:
        yield f"{INTEGER_KEY} is {bits!r}, and no tensor holds integers; expected none"


def _output(dialect: Dialect, values: Values, learned: Mapping[str, Stored]) -> dict[str, bool]:
    """Whether the word embedding is the output layer; a copy of it that was saved too, is it."""
    if "output_embedding" not in dialect.outer:
        return {"tie_embeddings": True}
    is_tied = values.get("tie_word_embeddings", dialect.ties)
    output = learned.get(dialect.outer["output_embedding"] + ".weight")
    words = learned.get(dialect.outer["word_embedding"] + ".weight")
    if is_tied and output is not None and words is not None:
        is_tied = torch.equal(output.tensor, words.tensor)
    return {"tie_embeddings": is_tied}


def _invalid(dialect: Dialect, error: ValidationError) -> Iterator[str]:
    """What is wrong with the values, by the names that they have in the file."""
    for issue in error.errors():
        ours = str(issue["loc"][0]) if issue["loc"] else ""
        key = dialect.sizes.get(ours) or dialect.start.get(ours, (ours, 0))[0]
        if issue["type"] == "missing":
            yield f"{key} is missing"
        elif issue["type"] == "value_error":
            yield str(issue["ctx"]["error"])
        else:
            yield f"{key} is {issue['input']!r}: {issue['msg']}"
