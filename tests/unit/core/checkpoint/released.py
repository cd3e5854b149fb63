"""Small folders in the released formats, written out by hand: names, shapes and config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

GLM_LAYER = {
    "input_layernorm.weight": (8,),
    "input_layernorm.bias": (8,),
    "attention.query_key_value.weight": (24, 8),
    "attention.query_key_value.bias": (24,),
    "attention.dense.weight": (8, 8),
    "attention.dense.bias": (8,),
    "post_attention_layernorm.weight": (8,),
    "post_attention_layernorm.bias": (8,),
    "mlp.dense_h_to_4h.weight": (32, 8),
    "mlp.dense_h_to_4h.bias": (32,),
    "mlp.dense_4h_to_h.weight": (8, 32),
    "mlp.dense_4h_to_h.bias": (8,),
}
HUB_GLM = {
    "word_embeddings.weight": (16, 8),
    "transformer.position_embeddings.weight": (13, 8),
    "transformer.block_position_embeddings.weight": (13, 8),
    **{
        f"transformer.layers.{i}.{name}": shape for i in (0, 1) for name, shape in GLM_LAYER.items()
    },
    "transformer.final_layernorm.weight": (8,),
    "transformer.final_layernorm.bias": (8,),
}
HUB_GLM_CONFIG = {
    "model_type": "glm", "architectures": ["GLMModel"], "num_layers": 2, "hidden_size": 8,
    "num_attention_heads": 2, "max_sequence_length": 12, "vocab_size": 16,
    "block_position_encoding": True, "relative_encoding": False, "output_dropout_prob": 0.1,
    "attention_dropout_prob": 0.1,
}  # fmt: skip
CHATGLM = {
    "transformer.word_embeddings.weight": (16, 8),
    **{
        f"transformer.layers.{i}.{name}": shape for i in (0, 1) for name, shape in GLM_LAYER.items()
    },
    **{f"transformer.layers.{i}.attention.rotary_emb.inv_freq": (1,) for i in (0, 1)},
    "transformer.final_layernorm.weight": (8,),
    "transformer.final_layernorm.bias": (8,),
    "lm_head.weight": (16, 8),
}
CHATGLM_CONFIG = {
    "model_type": "chatglm", "architectures": ["ChatGLMModel"], "num_layers": 2, "hidden_size": 8,
    "num_attention_heads": 2, "inner_hidden_size": 32, "max_sequence_length": 12,
    "vocab_size": 16, "layernorm_epsilon": 1e-5, "position_encoding_2d": True,
    "bos_token_id": 15, "eos_token_id": 14, "mask_token_id": 13, "gmask_token_id": 12,
}  # fmt: skip
CHATGLM2_LAYER = {
    "input_layernorm.weight": (8,),
    "self_attention.query_key_value.weight": (16, 8),
    "self_attention.query_key_value.bias": (16,),
    "self_attention.dense.weight": (8, 8),
    "post_attention_layernorm.weight": (8,),
    "mlp.dense_h_to_4h.weight": (20, 8),
    "mlp.dense_4h_to_h.weight": (8, 10),
}
CHATGLM2 = {
    "transformer.embedding.word_embeddings.weight": (16, 8),
    "transformer.rotary_pos_emb.inv_freq": (1,),
    **{
        f"transformer.encoder.layers.{i}.{name}": shape
        for i in (0, 1)
        for name, shape in CHATGLM2_LAYER.items()
    },
    "transformer.encoder.final_layernorm.weight": (8,),
    "transformer.output_layer.weight": (16, 8),
}
CHATGLM2_CONFIG = {
    "model_type": "chatglm", "num_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
    "kv_channels": 4, "multi_query_attention": True, "multi_query_group_num": 1,
    "ffn_hidden_size": 10, "seq_length": 64, "padded_vocab_size": 16, "layernorm_epsilon": 1e-5,
    "add_qkv_bias": True, "add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True,
    "hidden_dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip


def tensors_of(shapes: Mapping[str, tuple[int, ...]], seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    kind: str = "safetensors",
    num_shards: int = 1,
) -> Path:
    """Write a folder; several shards get an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    stem, suffix = ("model", ".safetensors") if kind == "safetensors" else ("pytorch_model", ".bin")
    save = save_file if kind == "safetensors" else torch.save
    if num_shards == 1:
        save(dict(tensors), folder / f"{stem}{suffix}")
        return folder
    index = {}
    for number in range(num_shards):
        file = f"{stem}-{number + 1:05d}-of-{num_shards:05d}{suffix}"
        part = {name: tensor for name, tensor in [*tensors.items()][number::num_shards]}
        save(part, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": index}))
    return folder
