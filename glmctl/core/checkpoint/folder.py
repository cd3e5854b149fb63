"""A model folder: weights, sizes, tokenizer and provenance, in one place that can be moved.

It holds `model.safetensors`, `config.toml` (the `[model]` and `[tokenizer]` sections, and
`[quantize]` where linears hold integers), the files of the tokenizer and `manifest.json` (format
number, provenance, licence, abilities and a digest per tensor).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from torch import Tensor

from glmctl import __version__
from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.tensor_files import LazyTensors, picked
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import LayoutConfig, ModelConfig, TokenizerConfig
from glmctl.recipe.schema import ObjectiveConfig, QuantizationConfig
from glmctl.recipe.section import Section

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
HEADS = "heads."
"""In front of the names of tensors that belong to a task or a prompt and not to the model."""
REMEDY = "copy the model folder again, or save it anew"


class FolderConfig(Section):
    """The sections of `config.toml`."""

    model: ModelConfig
    tokenizer: TokenizerConfig | None = None
    objective: ObjectiveConfig | None = None
    """What the model was trained on: how its blanks are laid out."""
    quantize: QuantizationConfig | None = None
    """How the integers in the place of weights are read."""
    layout: LayoutConfig | None = None
    """How ids and positions are read."""


class ModelFolder(FolderConfig, arbitrary_types_allowed=True):
    """What was read from a model folder; the tensors are verified."""

    tensors: dict[str, Tensor]
    heads: dict[str, Tensor]
    manifest: dict[str, Any]


def is_model_folder(folder: Path) -> bool:
    return (folder / "config.toml").is_file() and (folder / WEIGHTS_FILE).is_file()


def write_model_folder(
    folder: Path,
    tensors: Mapping[str, Tensor],
    model: ModelConfig,
    tokenizer: Tokenizer | None,
    *,
    provenance: Mapping[str, Any],
    objective: ObjectiveConfig | None = None,
    quantize: QuantizationConfig | None = None,
    layout: LayoutConfig | None = None,
    license: str | None = None,
    abilities: Sequence[str] = (),
    heads: Mapping[str, Tensor] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Write a model folder whole or not at all; an older one in its place is replaced.

    Args:
        folder: where; empty, absent or a model folder.
        tensors: the weights by their names in `GLM`.
        model: the sizes, `vocab_rows` filled in.
        tokenizer: copies its files into the folder.
        provenance: where the weights come from.
        objective: what they were trained on, when that is known.
        quantize: how they are quantized.
        layout: how the code of a released model reads ids; None when ours does.
        license: of the weights and of their data.
        abilities: objectives the model was trained on.
        heads: weights of a task or a prompt that came with it.
        finish: is given the folder before it takes its place, to add to it or to refuse it.
    """
    refuse_other_files(folder)
    makers = picked(heads or {}, {HEADS + name: name for name in heads or {}}).makers
    stored = LazyTensors({**picked(tensors, {name: name for name in tensors}).makers, **makers})
    with durable.publish(folder) as scratch:
        section = None if tokenizer is None else tokenizer.save(scratch)
        config = FolderConfig(
            model=model, tokenizer=section, objective=objective, quantize=quantize, layout=layout
        )
        values = config.model_dump(mode="json", exclude_none=True)
        (scratch / "config.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
        manifest = {
            "format": FORMAT,
            "glmctl": __version__,
            "provenance": dict(provenance),
            "license": license,
            "abilities": list(abilities),
            "tokenizer": None if tokenizer is None else tokenizer.fingerprint,
            "digests": durable.write_tensors(scratch / WEIGHTS_FILE, stored),
        }
        durable.write_json(scratch / "manifest.json", manifest)
        if finish is not None:
            finish(scratch)
    return folder


def refuse_other_files(folder: Path) -> None:
    """Refuse a place for a model that holds something else."""
    if folder.exists() and any(folder.iterdir()) and not is_model_folder(folder):
        raise UsageError(str(folder), "holds files that are not a model; name another folder")


def read_model_folder(folder: Path) -> ModelFolder:
    """Read and verify a model folder."""
    path = folder / "config.toml"
    try:
        config = FolderConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {REMEDY}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(str(path), f"is damaged: {error}; {REMEDY}") from error
    path = folder / "manifest.json"
    manifest = durable.read_json(path, REMEDY)
    if manifest.get("format") != FORMAT:
        raise InputError(
            str(path),
            f"format is {manifest.get('format')}, this version reads {FORMAT}; "
            "use the version of glmctl that wrote it",
        )
    digests = manifest.get("digests")
    if not isinstance(digests, dict):
        raise InputError(str(path), f"holds no digests; {REMEDY}")
    stored = durable.read_tensors(folder / WEIGHTS_FILE, digests, REMEDY)
    heads = {name: tensor for name, tensor in stored.items() if name.startswith(HEADS)}
    return ModelFolder(
        **dict(config),
        tensors={name: tensor for name, tensor in stored.items() if name not in heads},
        heads={name.removeprefix(HEADS): tensor for name, tensor in heads.items()},
        manifest=manifest,
    )
