"""ChatGLM2, ChatGLM3 and GLM-4 in the layout of their own code."""

from typing import Any

from glmctl.core.checkpoint.dialects.dialect import SAME, Dialect, Values
from glmctl.core.checkpoint.dialects.hub_glm import HUB_GLM


def components(values: Values) -> dict[str, Any]:
    has_groups = values.get("multi_query_attention", False)
    is_after_norm = values.get("apply_residual_connection_post_layernorm", False)
    # ChatGLM2-32K divides the places by its ratio, its successors multiply the base by theirs.
    divides = "chatglm2" in str(values.get("_name_or_path", "")).lower()
    ratio = {"scaling" if divides else "ratio": values.get("rope_ratio", 1.0)}
    residual = {
        "norm_placement": "deep", "residual_scale": 1.0, "residual_from": "normalised",
    }  # fmt: skip
    return {
        "num_kv_heads": values.get("multi_query_group_num") if has_groups else None,
        "position": "rotary",
        "rotary": {"fraction": 0.5, "interleaved": True, **ratio},
        "norm": "rms" if values.get("rmsnorm", True) else "layer",
        "ffn": "swiglu",
        "attention": "causal",
        "qkv_bias": values.get("add_qkv_bias", False) or values.get("add_bias_linear", False),
        "linear_bias": values.get("add_bias_linear", False),
        **(residual if is_after_norm else {}),
    }


CHATGLM2 = Dialect(
    name="ChatGLM2, ChatGLM3 or GLM-4",
    model_type="chatglm",
    outer={
        "word_embedding": "transformer.embedding.word_embeddings",
        "final_norm": "transformer.encoder.final_layernorm",
        "output_embedding": "transformer.output_layer",
    },
    layer="transformer.encoder.layers.{}.",
    inner={
        **HUB_GLM.inner,
        "attention.query_key_value": ("self_attention.query_key_value",),
        "attention.output": ("self_attention.dense",),
    },
    sizes={
        **SAME,
        "head_size": "kv_channels",
        "ffn_hidden_size": "ffn_hidden_size",
        "max_positions": "seq_length",
        "vocab_rows": "padded_vocab_size",
        "norm_eps": "layernorm_epsilon",
        "dropout": "hidden_dropout",
        "attention_dropout": "attention_dropout",
    },
    components=components,
    abilities=("causal",),
    defaults={"dropout": 0.0, "attention_dropout": 0.0},
    fixed={"post_layer_norm": (True,)},
    prefix="transformer.prefix_encoder",
)
