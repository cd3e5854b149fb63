"""Checkpoints of the original GLM code (THUDM/GLM): word tags, model-parallel shards, pickles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from glmctl.core.checkpoint.pickles import read_pickle, tensors_in
from glmctl.errors import InputError

TRACKERS = ("latest_checkpointed_iteration.txt", "latest")
SHARD = "mp_rank_*_model_states.pt"

# Their name -> ours. Query, key and value stand one after another in both.
NAMES = {
    "word_embeddings.weight": "word_embedding.weight",
    "transformer.position_embeddings.weight": "position_embedding.weight",
    "transformer.block_position_embeddings.weight": "span_position_embedding.weight",
    "transformer.r_w_bias": "relative.content_bias",
    "transformer.r_r_bias": "relative.distance_bias",
    "transformer.final_layernorm.": "final_norm.",
}
LAYER_NAMES = {
    "input_layernorm.": "attention_norm.",
    "attention.query_key_value.": "attention.query_key_value.",
    "attention.relative.": "attention.relative.",
    "attention.dense.": "attention.output.",
    "post_attention_layernorm.": "ffn_norm.",
    "mlp.dense_h_to_4h.": "ffn.up.",
    "mlp.dense_4h_to_h.": "ffn.down.",
}
# Distances are computed, not stored, here.
DERIVED = "transformer.position_embeddings.inv_freq"


def find_shards(path: Path) -> list[Path]:
    """The files of one checkpoint, in the order of their model-parallel rank.

    Args:
        path: a `.pt` file, a folder of shards, or a folder with a tracker file that names one.

    Returns:
        The files; empty when this is no checkpoint of the original code.
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint under our names, model-parallel shards merged.

    Raises:
        InputError: a file is damaged, holds more than data, or holds tensors that are unknown.
    """
    shards = [_read_module(file) for file in find_shards(path)]
    tensors: dict[str, Tensor] = {}
    unknown = []
    for name in shards[0]:
        ours = our_name(name)
        if name == DERIVED:
            continue
        if ours is None:
            unknown.append(name)
            continue
        tensors[ours] = _merge(ours, [shard[name] for shard in shards])
    if unknown:
        raise InputError(
            str(path),
            f"{len(unknown)} tensors that a GLM does not have, first {unknown[0]!r}; "
            "task heads and prompt encoders are not read by this version",
        )
    return tensors


def our_name(name: str) -> str | None:
    """Our name of one of their tensors; None when a plain GLM has no such tensor."""
    layer = re.fullmatch(r"transformer\.layers\.(\d+)\.(.+\.)(weight|bias)", name)
    if layer and layer[2] in LAYER_NAMES:
        return f"blocks.{layer[1]}.{LAYER_NAMES[layer[2]]}{layer[3]}"
    for theirs, ours in NAMES.items():
        if name == theirs or (theirs.endswith(".") and name.startswith(theirs)):
            return ours + name[len(theirs) :]
    return None


def _read_module(file: Path) -> Mapping[str, Tensor]:
    """The `module` part of one shard, read without executing anything."""
    content = read_pickle(file)
    if not isinstance(content, dict) or not isinstance(content.get("module"), dict):
        raise InputError(str(file), "holds no 'module' part, so it is no GLM checkpoint")
    return tensors_in(file, content["module"])


def _merge(name: str, parts: list[Tensor]) -> Tensor:
    """Join the model-parallel parts of one tensor (query, key and value each on their own)."""
    if len(parts) == 1:
        return parts[0]
    if ".query_key_value." in name:
        thirds = zip(*(part.chunk(3) for part in parts), strict=True)
        return torch.cat([torch.cat(third) for third in thirds])
    if name.startswith(("word_embedding", "relative.")) or ".ffn.up." in name:
        return torch.cat(parts)
    if ".attention.relative." in name:
        return torch.cat(parts)
    if name.endswith((".attention.output.weight", ".ffn.down.weight")):
        return torch.cat(parts, 1)
    return parts[0]
