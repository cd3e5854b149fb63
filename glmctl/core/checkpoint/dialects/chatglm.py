"""ChatGLM-6B, the first version: query, key and value head by head, residual of the normed input.

The residual factor is that of 28 layers whatever their number, as its code has it.
"""

from typing import Any

from glmctl.core.checkpoint.dialects.dialect import SAME, Dialect, Values
from glmctl.core.checkpoint.dialects.hub_glm import HUB_GLM


def components(values: Values) -> dict[str, Any]:
    has_spans = values.get("position_encoding_2d", True)
    return {
        "position": "rotary_2d" if has_spans else "rotary",
        "rotary": {"half_precision_frequencies": True},
        "norm_placement": "deep",
        "residual_scale": (2 * 28) ** 0.5,
        "residual_from": "normalised",
        "attention": "prefix",
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }


CHATGLM = Dialect(
    name="ChatGLM-6B",
    model_type="chatglm",
    outer={
        "word_embedding": "transformer.word_embeddings",
        "final_norm": "transformer.final_layernorm",
        "output_embedding": "lm_head",
    },
    layer="transformer.layers.{}.",
    inner=HUB_GLM.inner,
    sizes={
        **SAME,
        "ffn_hidden_size": "inner_hidden_size",
        "max_positions": "max_sequence_length",
        "vocab_rows": "vocab_size",
        "norm_eps": "layernorm_epsilon",
    },
    components=components,
    abilities=("token", "prefix", "chat"),
    ties=True,
    by_head="attention.query_key_value",
    prefix="transformer.prefix_encoder",
    start={
        "sop": ("bos_token_id", 150004),
        "mask": ("mask_token_id", 150000),
        "gmask": ("gmask_token_id", 150001),
    },
)
