"""Reads a released folder by its dialect: sizes from `config.json`, tensors under our names.

Everything that does not fit is named at once, with file, key, expected and found value; a key that
is null is as good as missing. Tensors are put together when they are asked for, from files that
stay on the disk.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.checkpoint.dialects.dialect import COMPUTED, Dialect, Values
from glmctl.core.checkpoint.folder import Found
from glmctl.core.checkpoint.tensor_files import LazyTensors, Stored
from glmctl.errors import GlmctlError, InputError
from glmctl.recipe.model import LayoutConfig, ModelConfig
from glmctl.recipe.schema import QuantizationConfig
from glmctl.recipe.shapes import Shape, parameter_shapes

CONFIG_FILE = "config.json"
INTEGER_KEY = "quantization_bit"
SCALE = "_scale"
"""Ends the name of the scales of a weight that holds integers."""


def read_release(
    folder: Path, dialect: Dialect, values: Values, stored: Mapping[str, Stored]
) -> Found:
    """Read a folder of which config.json and tensors are given, by their own names."""
    named = {name.removeprefix(dialect.lead): tensor for name, tensor in stored.items()}
    heads = {name: ours for name in named if (ours := dialect.our_head(name))}
    learned = {
        name: tensor
        for name, tensor in named.items()
        if name not in heads and not name.endswith(COMPUTED)
    }
    learned = with_prefix_table(dialect, learned)
    values = {key: value for key, value in values.items() if value is not None}
    config, layout = read_config(folder, dialect, values, learned)
    bits = values.get(INTEGER_KEY) or None
    reader = _Reader(dialect, config, bits, learned)
    for ours, shape in parameter_shapes(config).items():
        reader.take(ours, shape)
    reader.refuse_misfits(folder)
    return Found(
        config,
        LazyTensors(reader.makers),
        None,
        quantize=None if bits is None else QuantizationConfig.model_validate({"bits": bits}),
        layout=layout,
        heads={ours: named[theirs].tensor for theirs, ours in heads.items()},
    )


def with_prefix_table(dialect: Dialect, learned: dict[str, Stored]) -> dict[str, Stored]:
    """A learned prefix as one table, where two linears would make it of a smaller one."""
    table = f"{dialect.prefix}.embedding.weight"
    parts = ("0.weight", "0.bias", "2.weight", "2.bias")
    linears = [f"{dialect.prefix}.trans.{part}" for part in parts]
    if not all(name in learned for name in (table, *linears)):
        return learned
    a, a_bias, b, b_bias = (learned[name].tensor for name in linears)
    inner = F.linear(learned[table].tensor, a, a_bias).tanh()
    made = Stored(F.linear(inner, b, b_bias), learned[table].file)
    return {name: found for name, found in learned.items() if name not in linears} | {table: made}


def read_config(
    folder: Path, dialect: Dialect, values: Values, learned: Mapping[str, Stored]
) -> tuple[ModelConfig, LayoutConfig | None]:
    """The sizes, and how ids are read, checked against the tensors."""
    given = dict(dialect.defaults) | {
        ours: values[theirs] for ours, theirs in dialect.sizes.items() if theirs in values
    }
    problems = [*_misfits(dialect, values, given, learned)]
    model = layout = None
    try:
        parts = given | dialect.components(values)
        parts["tie_embeddings"] = _is_tied(dialect, values, learned)
        if prefix := learned.get(f"{dialect.prefix}.embedding.weight"):
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
    return model, layout


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


def _misfits(
    dialect: Dialect, values: Values, given: Mapping[str, Any], learned: Mapping[str, Stored]
) -> Iterator[str]:
    """Values that are not read, and main sizes and bits that are not those of the tensors."""
    for key, allowed in dialect.fixed.items():
        if key in values and values[key] not in allowed:
            known = " or ".join(map(repr, allowed))
            yield f"{key} is {values[key]!r}; of {dialect.name} only {known} is read"
    pattern = re.compile(re.escape(dialect.layer).replace(r"\{\}", r"(\d+)"))
    numbers = {int(match[1]) for name in learned if (match := pattern.match(name))}
    found = {"num_layers": (max(numbers, default=-1) + 1, f"{dialect.layer.format('*')}*")}
    name = dialect.outer["word_embedding"] + ".weight"
    if name in learned and learned[name].tensor.dim() == 2:
        place = f"{name} in {learned[name].file.name}"
        rows, width = learned[name].tensor.shape
        found |= {"vocab_rows": (rows, place), "hidden_size": (width, place)}
    for ours, (number, place) in found.items():
        if ours in given and given[ours] != number:
            yield f"{dialect.sizes[ours]} is {given[ours]!r}, and {place} has {number}"
    bits = values.get(INTEGER_KEY) or None
    has_integers = any(stored.tensor.dtype == torch.int8 for stored in learned.values())
    expected = (8, 4) if has_integers else (None,)
    if bits not in expected:
        held = "tensors hold integers" if has_integers else "no tensor holds integers"
        yield f"{INTEGER_KEY} is {bits!r}, and {held}; expected {' or '.join(map(str, expected))}"


def _is_tied(dialect: Dialect, values: Values, learned: Mapping[str, Stored]) -> Any:
    """Whether the word embedding is the output layer; a copy of it that was saved too, is it."""
    if "output_embedding" not in dialect.outer:
        return True
    is_tied = values.get("tie_word_embeddings", dialect.ties)
    output = learned.get(dialect.outer["output_embedding"] + ".weight")
    words = learned.get(dialect.outer["word_embedding"] + ".weight")
    if is_tied and output is not None and words is not None:
        is_tied = torch.equal(output.tensor, words.tensor)
    return is_tied


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


@dataclass
class _Reader:
    """Finds for each of our parameters the tensors that it is made of, and notes what is wrong."""

    dialect: Dialect
    config: ModelConfig
    bits: int | None
    learned: Mapping[str, Stored]
    makers: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    misfits: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def take(self, ours: str, shape: Shape) -> None:
        """Find what makes one of our parameters."""
        config = self.config
        if ours.endswith("attention.prefix"):
            columns = config.num_layers * 2 * config.kv_heads * config.head_width
            name, layer = f"{self.dialect.prefix}.embedding.weight", int(ours.split(".")[1])
            table = self.find(name, (config.num_prefix_tokens, columns), None)
            if table is not None:
                self.makers[ours] = partial(layer_prefix, table, config, layer)
            return
        names = self.dialect.their_names(ours)
        rows = part_rows(ours, shape[0], len(names), config)
        if self.bits is not None and ours.startswith("blocks.") and len(shape) == 2:
            scales = [name + SCALE for name in names]
            self.join(ours + SCALE, scales, [(count,) for count in rows], torch.float16)
            columns = shape[1] * self.bits // 8
            self.join(ours, names, [(count, columns) for count in rows], torch.int8)
        else:
            self.join(ours, names, [(count, *shape[1:]) for count in rows], None)

    def join(
        self, ours: str, names: Sequence[str], shapes: list[Shape], dtype: torch.dtype | None
    ) -> None:
        """Make ours of their tensors, one after another, once all of them fit."""
        found = [self.find(name, shape, dtype) for name, shape in zip(names, shapes, strict=True)]
        parts = [tensor for tensor in found if tensor is not None]
        if len(parts) < len(names):
            return
        if self.dialect.by_head and f".{self.dialect.by_head}." in ours:
            self.makers[ours] = partial(without_heads, parts[0], self.config)
        else:
            self.makers[ours] = partial(joined, parts)

    def find(self, name: str, shape: Shape, dtype: torch.dtype | None) -> Tensor | None:
        """A tensor of theirs, when it is as expected; `dtype` None: any floating one."""
        self.used.add(name)
        tensor = self.learned[name].tensor if name in self.learned else None
        if tensor is None:
            problem = "is missing"
        elif tuple(tensor.shape) != shape:
            problem = f"is {tuple(tensor.shape)}, and {CONFIG_FILE} asks for {shape}"
        elif not tensor.is_floating_point() if dtype is None else tensor.dtype != dtype:
            problem = f"is {tensor.dtype}, and {dtype or 'a floating type'} is expected"
        else:
            return tensor
        self.note(name, problem)
        return None

    def note(self, name: str, problem: str) -> None:
        """Remember a misfit; the same one of several layers is told once."""
        self.misfits.setdefault((re.sub(r"\.\d+\.", ".*.", name), problem), []).append(name)

    def refuse_misfits(self, folder: Path) -> None:
        if self.config.tie_embeddings and "output_embedding" in self.dialect.outer:
            self.used.add(self.dialect.outer["output_embedding"] + ".weight")  # a copy
        for name in self.learned.keys() - self.used:
            self.note(name, f"is unknown to {self.dialect.name}")
        lines = []
        for (_, problem), names in sorted(self.misfits.items()):
            first = min(names)
            place = f" in {self.learned[first].file.name}" if first in self.learned else ""
            others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            lines.append(f"tensor {first}{place}{others} {problem}")
        if lines:
            raise InputError(str(folder), *lines)


def joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def part_rows(ours: str, rows: int, num_parts: int, config: ModelConfig) -> list[int]:
    """Rows of each of their tensors that stand one after another in one of ours."""
    if num_parts > 1 and ".query_key_value." in ours:
        keys = config.kv_heads * config.head_width
        return [config.num_attention_heads * config.head_width, keys, keys]
    return [rows // num_parts] * num_parts  # gate and value of a feed-forward part are alike


def without_heads(rows: Tensor, config: ModelConfig) -> Tensor:
    """Query, key and value of all heads one after another, which stood together in each head."""
    by_head: Tensor = rows.unflatten(0, (config.num_attention_heads, 3, -1))
    return by_head.transpose(0, 1).flatten(0, 2)


def layer_prefix(table: Tensor, config: ModelConfig, layer: int) -> Tensor:
    """Keys and values of one layer from the table of all, [P, L x 2 x G x D] -> [2, G, P, D]."""
    sizes = (config.num_layers, 2, config.kv_heads, config.head_width)
    by_layer: Tensor = table.unflatten(1, sizes)  # [P, L, 2, G, D]
    return by_layer[:, layer].permute(1, 2, 0, 3).contiguous()
