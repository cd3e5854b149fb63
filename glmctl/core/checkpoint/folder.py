"""A model that is not built yet, and the folder of ours that holds one.

A model folder can be moved. It holds `model.safetensors`, `config.toml` (the `[model]` and
`[tokenizer]` sections, and `[quantize]` where linears hold integers), the files of the tokenizer
and `manifest.json` (format number, provenance, licence, abilities and a digest per tensor).
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from torch import Tensor

from glmctl import __version__
from glmctl.core.checkpoint import durable
from glmctl.core.checkpoint.tensor_files import LazyTensors, picked
from glmctl.core.tokenizer.base import Tokenizer
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import LayoutConfig, ModelConfig, TokenizerConfig
from glmctl.recipe.schema import AdapterConfig, ObjectiveConfig, QuantizationConfig
from glmctl.recipe.section import Section

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
HEADS = "heads."
"""In front of the names of tensors that belong to a task or a prompt and not to the model."""
REMEDY = "copy the model folder again, or save it anew"


@dataclass(frozen=True)
class Found:
    """What a model is built from."""

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    tokenizer: Tokenizer | None
    objective: ObjectiveConfig | None = None  # it was trained on, when that is known
    license: str | None = None  # of the weights and of their data
    quantize: QuantizationConfig | None = None  # how its linears hold integers, when they do
    layout: LayoutConfig | None = None  # how its own code reads ids and positions
    heads: Mapping[str, Tensor] = field(default_factory=dict)  # of a task, or of a prompt
    source: str | None = None  # hf:ORG/NAME@COMMIT of a model of the hub
    abilities: tuple[str, ...] = ()  # objectives it was trained on, as its manifest says
    provenance: Mapping[str, Any] = field(default_factory=dict)  # where the weights come from
    adapter: AdapterConfig | None = None  # where the vectors of its prompt stand
    unread_tokenizer: tuple[str, ...] = ()  # files beside a release, of a family that is not read


class FolderConfig(Section):
    """The sections of `config.toml`."""

    model: ModelConfig
    tokenizer: TokenizerConfig | None = None
    objective: ObjectiveConfig | None = None
    quantize: QuantizationConfig | None = None
    layout: LayoutConfig | None = None
    adapter: AdapterConfig | None = None


def is_model_folder(folder: Path) -> bool:
    return (folder / "config.toml").is_file() and (folder / WEIGHTS_FILE).is_file()


def write_model_folder(
    folder: Path, found: Found, finish: Callable[[Path], None] | None = None
) -> Path:
    """Write a model folder whole or not at all; an older one in its place is replaced.

    Args:
        folder: where; empty, absent or a model folder.
        found: the model, `vocab_rows` filled in.
        finish: is given the folder before it takes its place, to add to it or to refuse it.
    """
    refuse_other_files(folder)
    own = picked(found.tensors, {name: name for name in found.tensors})
    heads = picked(found.heads, {HEADS + name: name for name in found.heads})
    stored, tokenizer = LazyTensors({**own.makers, **heads.makers}), found.tokenizer
    with durable.publish(folder) as scratch:
        config = FolderConfig(
            model=found.config,
            tokenizer=None if tokenizer is None else tokenizer.save(scratch),
            objective=found.objective,
            quantize=found.quantize,
            layout=found.layout,
            adapter=found.adapter,
        )
        values = config.model_dump(mode="json", exclude_none=True)
        (scratch / "config.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
        manifest = {
            "format": FORMAT,
            "glmctl": __version__,
            "provenance": dict(found.provenance),
            "license": found.license,
            "abilities": list(found.abilities),
            "tokenizer": None if tokenizer is None else tokenizer.fingerprint,
            "digests": durable.write_tensors(scratch / WEIGHTS_FILE, stored),
        }
        durable.write_json(scratch / durable.MANIFEST_FILE, manifest)
        if finish is not None:
            finish(scratch)
    return folder


def refuse_other_files(folder: Path) -> None:
    """Refuse a place for a model that holds something else."""
    if folder.exists() and any(folder.iterdir()) and not is_model_folder(folder):
        raise UsageError(str(folder), "holds files that are not a model; name another folder")


def read_model_folder(folder: Path) -> Found:
    """Read and verify a model folder."""
    path = folder / "config.toml"
    try:
        config = FolderConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(str(path), f"is missing; {REMEDY}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(str(path), f"is damaged: {error}; {REMEDY}") from error
    path = folder / durable.MANIFEST_FILE
    manifest = durable.read_json(path, REMEDY)
    if manifest.get("format") != FORMAT:
        raise InputError(
            str(path),
            f"format is {manifest.get('format')}, this version reads {FORMAT}; "
            "use the version of glmctl that wrote it",
        )
    stored = durable.read_proved(folder / WEIGHTS_FILE, manifest, REMEDY)
    tokenizer = None if config.tokenizer is None else load_tokenizer(config.tokenizer, folder)
    if tokenizer is not None and tokenizer.fingerprint != manifest.get("tokenizer"):
        raise InputError(
            str(folder),
            f"the tokenizer is damaged: expected digest {manifest.get('tokenizer')}, found "
            f"{tokenizer.fingerprint}; {REMEDY}",
        )
    heads = {name for name in stored if name.startswith(HEADS)}
    return Found(
        config.model,
        {name: tensor for name, tensor in stored.items() if name not in heads},
        tokenizer,
        config.objective,
        manifest.get("license"),
        config.quantize,
        config.layout,
        heads={name.removeprefix(HEADS): stored[name] for name in heads},
        abilities=tuple(manifest.get("abilities", ())),
        provenance=manifest.get("provenance", {}),
        adapter=config.adapter,
    )
