"""The parameters of a model and their shapes, by arithmetic alone.

The plan counts them, released checkpoints are checked against them, and the model has them.
"""

from collections.abc import Iterator

from glmctl.recipe.model import ModelConfig

Shape = tuple[int, ...]


def parameter_shapes(model: ModelConfig) -> dict[str, Shape]:
    """Every parameter of the model by its name; `vocab_rows` left out counts as 0 rows."""
    rows, width, places = model.vocab_rows or 0, model.hidden_size, model.max_positions
    shapes: dict[str, Shape] = {"word_embedding.weight": (rows, width)}
    if model.position == "learned_2d":
        shapes["position_embedding.weight"] = (places + 1, width)
        shapes["span_position_embedding.weight"] = (places + 1, width)
    elif model.position == "learned_1d":
        shapes["position_embedding.weight"] = (places, width)
    elif model.position == "relative_xl":
        of_heads = (model.num_attention_heads, model.head_width)
        shapes |= {"relative.content_bias": of_heads, "relative.distance_bias": of_heads}
    layer = dict(layer_shapes(model))
    for number in range(model.num_layers):
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in layer.items()}
    shapes |= dict(norm_shapes(model, "final_norm"))
    if not model.tie_embeddings:
        shapes["output_embedding.weight"] = (rows, width)
    return shapes


def layer_shapes(model: ModelConfig) -> Iterator[tuple[str, Shape]]:
    """The parameters of one layer."""
    width, head, prefix = model.hidden_size, model.head_width, model.num_prefix_tokens
    queries, keys = model.num_attention_heads * head, model.kv_heads * head
    has_bias = model.linear_bias
    if prefix:
        yield "attention.prefix", (2, model.kv_heads, prefix, head)
    joined = queries + 2 * keys
    yield from linear_shapes("attention.query_key_value", joined, width, model.qkv_bias)
    if model.position == "relative_xl":
        yield from linear_shapes("attention.relative", queries, width, has_bias=True)
    yield from linear_shapes("attention.output", width, queries, has_bias)
    inner = model.ffn_width * (2 if model.is_gated else 1)
    yield from linear_shapes("ffn.up", inner, width, has_bias)
    yield from linear_shapes("ffn.down", width, model.ffn_width, has_bias)
    norms = ["attention_norm", "ffn_norm"]
    if model.norm_placement == "sandwich":
        norms += ["attention_out_norm", "ffn_out_norm"]
    for name in norms:
        yield from norm_shapes(model, name)


def linear_shapes(
    name: str, rows: int, columns: int, has_bias: bool
) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (rows, columns)
    if has_bias:
        yield f"{name}.bias", (rows,)


def norm_shapes(model: ModelConfig, name: str) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (model.hidden_size,)
    if model.norm == "layer":
        yield f"{name}.bias", (model.hidden_size,)
