"""Reads a released folder by its dialect: sizes from `config.json`, tensors under our names.

Everything that does not fit is named at once, with file, key, expected and found value. Tensors
are put together when they are asked for, from files that stay on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.core.checkpoint.tensor_files import LazyTensors, Stored
from glmctl.core.checkpoint.translate import CONFIG_FILE, prefix_shape, translate
from glmctl.errors import InputError
from glmctl.recipe.model import LayoutConfig, ModelConfig
from glmctl.recipe.schema import QuantizationConfig
from glmctl.recipe.shapes import Shape, parameter_shapes

SCALE = "_scale"
"""Ends the name of the scales of a weight that holds integers."""


@dataclass(frozen=True)
class Release:
    """A released model under our names."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    heads: Mapping[str, Tensor]
    """Of a task."""
    quantize: QuantizationConfig | None
    layout: LayoutConfig | None


def read_release(
    folder: Path, dialect: Dialect, values: Values, stored: Mapping[str, Stored]
) -> Release:
    """Read a folder.

    Args:
        folder: where it lies, for messages.
        dialect: its format.
        values: its config.json.
        stored: its tensors by their own names.

    Raises:
        InputError: naming everything that does not fit.
    """
    named = without_lead(dialect, stored)
    heads = {name for name in named if name.rpartition(".")[0] in dialect.heads}
    learned = {
        name: tensor
        for name, tensor in named.items()
        if name not in heads and not (dialect.ignored and re.search(dialect.ignored, name))
    }
    learned = with_prefix_table(dialect, learned)
    meaning = translate(folder, dialect, values, learned)
    reader = _Reader(dialect, meaning.config, meaning.bits, learned)
    for ours, shape in parameter_shapes(meaning.config).items():
        reader.take(ours, shape)
    reader.refuse_misfits(folder)
    return Release(
        meaning.config,
        LazyTensors(reader.makers),
        {head_name(dialect, name): named[name].tensor for name in heads},
        None if meaning.bits is None else QuantizationConfig.model_validate({"bits": meaning.bits}),
        meaning.layout,
    )


def without_lead(dialect: Dialect, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors without what a wrapper class has put in front of their names."""
    return {name.removeprefix(dialect.lead): tensor for name, tensor in stored.items()}


def with_prefix_table(dialect: Dialect, learned: dict[str, Stored]) -> dict[str, Stored]:
    """A learned prefix as one table, where two linears would make it of a smaller one."""
    table, *linears = (
        f"{dialect.prefix}.{part}"
        for part in (
            "embedding.weight",
            "trans.0.weight",
            "trans.0.bias",
            "trans.2.weight",
            "trans.2.bias",
        )
    )
    if not all(name in learned for name in (table, *linears)):
        return learned
    a, a_bias, b, b_bias = (learned[name].tensor for name in linears)
    inner = F.linear(learned[table].tensor, a, a_bias).tanh()
    made = Stored(F.linear(inner, b, b_bias), learned[table].file)
    return {name: found for name, found in learned.items() if name not in linears} | {table: made}


def head_name(dialect: Dialect, name: str) -> str:
    module, _, kind = name.rpartition(".")
    return f"{dialect.heads[module]}.{kind}"


class _Reader:
    """Finds for each of our parameters the tensors that it is made of, and notes what is wrong."""

    def __init__(
        self,
        dialect: Dialect,
        config: ModelConfig,
        bits: int | None,
        learned: Mapping[str, Stored],
    ) -> None:
        self.dialect = dialect
        self.config = config
        self.bits = bits
        self.learned = learned
        self.makers: dict[str, Callable[[], Tensor]] = {}
        self.used: set[str] = set()
        if config.tie_embeddings and "output_embedding" in dialect.outer:
            self.used.add(dialect.outer["output_embedding"] + ".weight")  # a copy
        self.misfits: dict[tuple[str, str], list[str]] = {}

    def take(self, ours: str, shape: Shape) -> None:
        """Find what makes one of our parameters."""
        if ours.endswith("attention.prefix"):
            name, layer = f"{self.dialect.prefix}.embedding.weight", int(ours.split(".")[1])
            if self.fits(name, prefix_shape(self.config)):
                table = self.learned[name].tensor
                self.makers[ours] = partial(layer_prefix, table, self.config, layer)
            return
        names = self.dialect.their_names(ours)
        rows = part_rows(ours, shape[0], len(names), self.config)
        shapes = [(count, *shape[1:]) for count in rows]
        if self.bits is not None and ours.startswith("blocks.") and len(shape) == 2:
            shapes = [(count, shape[1] * self.bits // 8) for count in rows]
            scales = [name + SCALE for name in names]
            self.join(ours + SCALE, scales, [(count,) for count in rows], torch.float16)
            self.join(ours, names, shapes, torch.int8)
        else:
            self.join(ours, names, shapes, None)

    def join(
        self,
        ours: str,
        names: list[str] | tuple[str, ...],
        shapes: list[Shape],
        dtype: torch.dtype | None,
    ) -> None:
        """Make ours of their tensors, one after another, once all of them fit."""
        fit = [self.fits(name, shape, dtype) for name, shape in zip(names, shapes, strict=True)]
        if not all(fit):
            return
        parts = [self.learned[name].tensor for name in names]
        module = ours.rpartition(".")[0].split(".", 2)[-1]
        if self.dialect.by_head and module == self.dialect.by_head:
            self.makers[ours] = partial(without_heads, parts[0], self.config)
        else:
            self.makers[ours] = partial(joined, parts)

    def fits(self, name: str, shape: Shape, dtype: torch.dtype | None = None) -> bool:
        """Whether the tensor is there and as expected; `dtype` None: any floating one."""
        self.used.add(name)
        stored = self.learned.get(name)
        if stored is None:
            self.note(name, "is missing")
            return False
        found = stored.tensor
        if tuple(found.shape) != shape:
            self.note(name, f"is {tuple(found.shape)}, and {CONFIG_FILE} asks for {shape}")
            return False
        if found.dtype != dtype if dtype is not None else not found.is_floating_point():
            kind = "a floating type" if dtype is None else dtype
            self.note(name, f"is {found.dtype}, and {kind} is expected")
            return False
        return True

    def note(self, name: str, problem: str) -> None:
        """Remember a misfit; the same one of several layers is told once."""
        self.misfits.setdefault((re.sub(r"\.\d+\.", ".*.", name), problem), []).append(name)

    def refuse_misfits(self, folder: Path) -> None:
        for name in self.learned.keys() - self.used:
            self.note(name, f"is unknown to {self.dialect.name}")
        if not self.misfits:
            return
        lines = []
        for (_, problem), names in sorted(self.misfits.items()):
            first = min(names)
            place = f" in {self.learned[first].file.name}" if first in self.learned else ""
            others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            lines.append(f"tensor {first}{place}{others} {problem}")
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
