"""GLM-4 as `transformers` has it: `glm` (GLM-4-9B) and `glm4` (GLM-4-0414)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.recipe.model import ModelConfig, RotaryConfig

ROTARY = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_positions",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
}


def components(values: Values) -> dict[str, Any]:
    """Version 5 keeps the positions in a table, version 4 beside the other keys."""
    rotary = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rotary, dict):
        raise ValueError(f"rope_parameters is {rotary!r}; expected a table")
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind not in ("default", "yarn"):
        raise ValueError(f"rope_type is {kind!r}; only 'default' and 'yarn' are read")
    unread = rotary.keys() - YARN.keys() - ROTARY if kind == "yarn" else ()
    if unread:
        raise ValueError(f"{', '.join(sorted(unread))} of rope_type 'yarn' is not read")
    yarn = {ours: rotary[theirs] for theirs, ours in YARN.items() if theirs in rotary}
    yarn.setdefault("original_positions", values.get("max_position_embeddings"))
    both = {**values, **rotary}
    return {
        "position": "rotary",
        "rotary": {
            "base": both.get("rope_theta", 10_000.0),
            "fraction": both.get("partial_rotary_factor", 0.5),
            "interleaved": True,
            "yarn": yarn if kind == "yarn" else None,
        },
        "norm": "rms",
        "ffn": "swiglu",
        "attention": "causal",
        "qkv_bias": values.get("attention_bias", True),
        "linear_bias": False,
        "dropout": 0.0,
    }


def sandwich(values: Values) -> dict[str, Any]:
    return {**components(values), "norm_placement": "sandwich"}


def values(config: ModelConfig) -> dict[str, Any]:
    """In the form of version 4, which version 5 reads too."""
    rotary = config.rotary or RotaryConfig()
    has_four_norms = config.norm_placement == "sandwich"
    known = {
        "architectures": ["Glm4ForCausalLM" if has_four_norms else "GlmForCausalLM"],
        "attention_bias": config.qkv_bias,
        "hidden_act": "silu",
        "initializer_range": config.init_std,
        "partial_rotary_factor": rotary.fraction,
        "rope_theta": rotary.base * rotary.ratio,
        "tie_word_embeddings": config.tie_embeddings,
    }
    if rotary.yarn is not None:
        given = rotary.yarn.model_dump(exclude_none=True)
        yarn = {theirs: given[ours] for theirs, ours in YARN.items() if ours in given}
        known["rope_scaling"] = {"rope_type": "yarn", **yarn}
    return known


GLM = Dialect(
    name="transformers' glm",
    model_type="glm",
    outer={
        "word_embedding": "model.embed_tokens",
        "final_norm": "model.norm",
        "output_embedding": "lm_head",
    },
    layer="model.layers.{}.",
    inner={
        "attention_norm": ("input_layernorm",),
        "attention.query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.output": ("self_attn.o_proj",),
        "ffn_norm": ("post_attention_layernorm",),
        "ffn.up": ("mlp.gate_up_proj",),
        "ffn.down": ("mlp.down_proj",),
    },
    sizes={
        "num_layers": "num_hidden_layers",
        "hidden_size": "hidden_size",
        "num_attention_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "head_size": "head_dim",
        "ffn_hidden_size": "intermediate_size",
        "max_positions": "max_position_embeddings",
        "vocab_rows": "vocab_size",
        "norm_eps": "rms_norm_eps",
        "attention_dropout": "attention_dropout",
    },
    defaults={
        "num_kv_heads": 2,
        "head_size": 128,
        "norm_eps": 1.5625e-07,
        "attention_dropout": 0.0,
    },
    components=components,
    values=values,
    fixed={"hidden_act": ("silu",)},
    splits_at_jumps=True,
    ignored=r"rotary_emb\.inv_freq$",
)
GLM4 = replace(
    GLM,
    name="transformers' glm4",
    model_type="glm4",
    inner={
        **GLM.inner,
        "attention_out_norm": ("post_self_attn_layernorm",),
        "ffn_out_norm": ("post_mlp_layernorm",),
    },
    components=sandwich,
)
