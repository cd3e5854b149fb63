"""GLM of the hub (`glm-large`, `glm-10b`, `glm-10b-chinese`): the original with an exact GELU."""

from typing import Any

from glmctl.core.checkpoint.dialects.dialect import SAME, Dialect, Values
from glmctl.recipe.model import ModelConfig


def components(values: Values) -> dict[str, Any]:
    return {"ffn": "gelu_erf", "position": "learned_2d", "attention": "prefix"}


def values(config: ModelConfig) -> dict[str, Any]:
    """Names code that the reader puts beside: without it, `transformers` takes this for GLM-4."""
    return {
        "architectures": ["GLMModel"],
        "auto_map": {
            "AutoConfig": "configuration_glm.GLMConfig",
            "AutoModel": "modeling_glm.GLMModel",
            "AutoModelForSeq2SeqLM": "modeling_glm.GLMForConditionalGeneration",
        },
        "relative_encoding": False,
        "block_position_encoding": True,
        "embedding_dropout_prob": config.dropout,
        "initializer_range": config.init_std,
        "output_predict": True,  # else their code gives hidden states in the place of logits
    }


HUB_GLM = Dialect(
    name="the hub's GLM",
    model_type="glm",
    outer={
        "word_embedding": "word_embeddings",
        "position_embedding": "transformer.position_embeddings",
        "span_position_embedding": "transformer.block_position_embeddings",
        "final_norm": "transformer.final_layernorm",
    },
    layer="transformer.layers.{}.",
    inner={
        "attention_norm": ("input_layernorm",),
        "attention.query_key_value": ("attention.query_key_value",),
        "attention.output": ("attention.dense",),
        "ffn_norm": ("post_attention_layernorm",),
        "ffn.up": ("mlp.dense_h_to_4h",),
        "ffn.down": ("mlp.dense_4h_to_h",),
    },
    sizes={
        **SAME,
        "max_positions": "max_sequence_length",
        "vocab_rows": "vocab_size",
        "dropout": "output_dropout_prob",
        "attention_dropout": "attention_dropout_prob",
    },
    components=components,
    written_as="hub-glm",
    values=values,
    fixed={"relative_encoding": (False,), "block_position_encoding": (True,)},
    lead="glm.",
    heads={"dense": "pool", "out_proj": "classes"},
)
