"""GLM-4 as `transformers` has it: `glm` (GLM-4-9B) and `glm4` (GLM-4-0414)."""

from dataclasses import replace
from typing import Any

from glmctl.core.checkpoint.dialects.dialect import Dialect, Values
from glmctl.core.checkpoint.dialects.rotary import read_rotary, rotary_values
from glmctl.recipe.model import ModelConfig


def components(values: Values) -> dict[str, Any]:
    return {
        "position": "rotary",
        "rotary": read_rotary(values, fraction=0.5, interleaved=True),
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
    has_four_norms = config.norm_placement == "sandwich"
    return {
        "architectures": ["Glm4ForCausalLM" if has_four_norms else "GlmForCausalLM"],
        "attention_bias": config.qkv_bias,
        "hidden_act": "silu",
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        **rotary_values(config),
    }


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
    written_as="transformers",
    values=values,
    abilities=("causal",),
    fixed={"hidden_act": ("silu",)},
    splits_at_jumps=True,
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
