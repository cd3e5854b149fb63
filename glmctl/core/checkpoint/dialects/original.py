"""Checkpoints of the original GLM code (THUDM/GLM): word tags, model-parallel shards, pickles."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glmctl.core.checkpoint.dialects.dialect import COMPUTED, SAME, Dialect, Values
from glmctl.core.checkpoint.dialects.hub_glm import HUB_GLM
from glmctl.core.checkpoint.pickles import read_pickle, tensors_in
from glmctl.core.checkpoint.tensor_files import LazyTensors
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import ModelConfig

TRACKERS = ("latest_checkpointed_iteration.txt", "latest")
SHARD = "mp_rank_*_model_states.pt"
TAG = "release"
"""Names the folder that is written; their code takes such weights for those of a new run."""


def components(values: Values) -> dict[str, Any]:
    """What their code computes; no file says its epsilon, so that in ours does not count here."""
    position = "learned_2d" if values["block_position_encoding"] else "learned_1d"
    if values["relative_encoding"]:
        position = "relative_xl"
    return {"position": position, "norm_eps": ModelConfig.model_fields["norm_eps"].default}


def values(config: ModelConfig) -> dict[str, Any]:
    return {
        "block_position_encoding": config.position != "learned_1d",
        "relative_encoding": config.position == "relative_xl",
    }


ORIGINAL = Dialect(
    name="the original GLM",
    model_type="",
    outer={
        **HUB_GLM.outer,
        "relative.content_bias": "transformer.r_w_bias",
        "relative.distance_bias": "transformer.r_r_bias",
    },
    layer=HUB_GLM.layer,
    inner={**HUB_GLM.inner, "attention.relative": ("attention.relative",)},
    sizes={
        **SAME,
        "max_positions": "max_sequence_length",
        "vocab_rows": "vocab_size",
        "norm_eps": "layernorm_epsilon",
    },
    components=components,
    written_as="original",
    values=values,
    lead="model.",
    heads={
        "pool_layer": "pool",
        "multichoice_head": "classes",
        "prompt_spell.spell_embeddings": "prompt.embedding",
        "prompt_spell.lstm_head": "prompt.lstm",
        "prompt_spell.mlp_head.0": "prompt.first",
        "prompt_spell.mlp_head.2": "prompt.second",
    },
)
OUTER = {theirs: ours for ours, theirs in ORIGINAL.outer.items()}
INNER = {theirs: ours for ours, (theirs,) in ORIGINAL.inner.items()}


def find_shards(path: Path) -> list[Path]:
    """The files of one checkpoint, in the order of their model-parallel rank; [] when it is none.

    It is a `.pt` file, a folder of shards, or a folder with a tracker file that names one.
    """
    if path.is_file():
        return [path] if path.suffix == ".pt" else []
    for tracker in TRACKERS:
        if (path / tracker).is_file():
            tag = (path / tracker).read_text(encoding="utf-8").strip()
            shards = sorted((path / tag).glob(SHARD))
            if not shards:
                raise InputError(
                    str(path / tracker), f"names the tag '{tag}', and {path / tag} holds no {SHARD}"
                )
            return shards
    return sorted(path.glob(SHARD))


def read_with_heads(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
    """The weights, and those of a task head or prompt encoder, under our names.

    Shards are merged tensor by tensor, each time one is asked for.
    """
    files = find_shards(path)
    contents = [_read_content(file) for file in files]
    shards = [content["module"] for content in contents]
    problems = [*_missing_ranks(files, contents), *_differences(files, shards)]
    makers = {}
    heads: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in shards[0].items():
        if head := ORIGINAL.our_head(name):
            heads[head] = tensor  # the same in every shard
        elif name.endswith(COMPUTED):
            continue
        elif (ours := our_name(name)) is None:
            unknown.append(name)
        elif not problems:
            makers[ours] = partial(_merge, ours, [shard[name] for shard in shards])
    if unknown:
        problems.append(
            f"{len(unknown)} tensors that a GLM does not have, first {unknown[0]!r}; "
            "use a checkpoint of the original code"
        )
    if problems:
        raise InputError(str(path), *problems)
    return LazyTensors(makers), heads


def _missing_ranks(files: Sequence[Path], contents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Shards that are not there, by what they say of their number and by their own numbers."""
    for file, content in zip(files, contents, strict=True):
        said = content.get("mp_world_size", len(files))
        if said != len(files):
            yield f"{file.name} is one of {said} shards (mp_world_size), and {len(files)} are here"
    names = [SHARD.replace("*", f"{rank:02d}") for rank in range(len(files))]
    if files[0].match(SHARD):
        yield from (f"shard {name} is missing" for name in {*names} - {file.name for file in files})


def _differences(files: Sequence[Path], shards: Sequence[Mapping[str, Tensor]]) -> Iterator[str]:
    """Where a shard is not one of the same model as the first."""
    first, *others = [{name: tuple(it.shape) for name, it in shard.items()} for shard in shards]
    for file, shapes in zip(files[1:], others, strict=True):
        for name in sorted(first.keys() | shapes.keys()):
            ours, theirs = first.get(name, "missing"), shapes.get(name, "missing")
            if ours != theirs:
                yield f"tensor {name} is {ours} in {files[0].name} and {theirs} in {file.name}"


def our_name(theirs: str) -> str | None:
    """Our name of one of their tensors; None when a plain GLM has no such tensor."""
    lead, name, modules = "", theirs.removeprefix(ORIGINAL.lead), OUTER
    if layer := re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)", name):
        lead, name, modules = f"blocks.{layer[1]}.", layer[2], INNER
    if name in modules:
        return lead + modules[name]
    module, _, kind = name.rpartition(".")
    return f"{lead}{modules[module]}.{kind}" if module in modules else None


def _read_content(file: Path) -> dict[str, Any]:
    """One shard, whose part `module` holds tensors."""
    content = read_pickle(file)
    if not isinstance(content, dict) or not isinstance(content.get("module"), dict):
        raise InputError(str(file), "holds no 'module' part, so it is no GLM checkpoint")
    return content | {"module": tensors_in(file, content["module"])}


def _merge(name: str, parts: list[Tensor]) -> Tensor:
    """Join the model-parallel parts of one tensor (query, key and value each on their own)."""
    if len(parts) == 1:
        return parts[0]
    if ".query_key_value." in name:
        thirds = zip(*(part.chunk(3) for part in parts), strict=True)
        return torch.cat([torch.cat(third) for third in thirds])
    dim = _split_dim(name)
    return parts[0] if dim is None else torch.cat(parts, dim)


def _split_dim(name: str) -> int | None:
    """The side along which shards divide one of our tensors; None: each has the whole."""
    if name.endswith((".attention.output.weight", ".ffn.down.weight")):
        return 1
    parts = (".query_key_value.", ".attention.relative.", ".ffn.up.")
    is_split = name.startswith(("word_embedding", "relative.")) or any(p in name for p in parts)
    return 0 if is_split else None


def write_shards(
    folder: Path,
    tensors: Mapping[str, Tensor],
    lead: str,
    heads: Mapping[str, Tensor],
    config: ModelConfig,
    degree: int,
) -> None:
    """Write a checkpoint in as many model-parallel shards, one of them in memory at a time.

    `tensors` have our names, and get `lead` in front of theirs; `heads` have theirs.
    """
    rows = len(tensors["word_embedding.weight"])
    most = gcd(config.num_attention_heads, rows)
    if most % degree:
        raise UsageError(
            f"--model-parallel {degree}",
            f"divides not both {config.num_attention_heads} heads and {rows:,} vocabulary rows; "
            f"use {most} or a divisor of it",
        )
    (folder / TAG).mkdir()
    for rank in range(degree):
        module = {
            lead + ORIGINAL.their_names(name)[0]: _part(name, tensors[name], rank, degree)
            for name in tensors
        }
        state = {"module": module | dict(heads), "mp_world_size": degree, "iteration": 0}
        torch.save(state, folder / TAG / SHARD.replace("*", f"{rank:02d}"))
        del module, state
    for tracker in TRACKERS:
        (folder / tracker).write_text(TAG, encoding="utf-8")


def _part(name: str, tensor: Tensor, rank: int, degree: int) -> Tensor:
    """What one of the shards has of one of our tensors, in a storage of its own."""
    dim = _split_dim(name)
    if degree > 1 and ".query_key_value." in name:
        return torch.cat([third.chunk(degree)[rank] for third in tensor.chunk(3)])
    part = tensor if dim is None else tensor.chunk(degree, dim)[rank]
    part = part.detach().cpu().contiguous()
    is_alone = part.untyped_storage().nbytes() == part.nbytes
    return part if is_alone else part.clone()
