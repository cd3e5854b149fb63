"""Every component of the family against the same model written the plain way."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.model.block import gelu_tanh
from glmctl.core.model.cache import KeyValueCache
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.shapes import parameter_shapes

SIZES = {
    "num_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "max_positions": 24,
    "vocab_rows": 96, "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
NO_BIAS = {"linear_bias": False, "tie_embeddings": False}
FAMILY = {
    "chatglm": {
        "position": "rotary_2d", "norm_placement": "deep", "residual_scale": 2.5,
        "residual_from": "normalised", "rotary": {"half_precision_frequencies": True},
    },
    "chatglm2": {
        "position": "rotary", "norm": "rms", "ffn": "swiglu", "attention": "causal",
        "num_kv_heads": 2, "head_size": 12, "ffn_hidden_size": 40,
        "rotary": {"fraction": 0.5, "interleaved": True, "ratio": 7.0}, **NO_BIAS,
    },
    "glm4-0414": {
        "position": "rotary", "norm": "rms", "ffn": "swiglu", "attention": "causal",
        "norm_placement": "sandwich", "num_kv_heads": 1, "qkv_bias": False, "norm_eps": 1e-3,
        "rotary": {"fraction": 0.5, "interleaved": True, "scaling": 4.0}, **NO_BIAS,
    },
    "glm-130b": {
        "position": "rotary", "ffn": "geglu", "norm_placement": "deep", "residual_scale": 2.0,
        "residual_from": "input", "ffn_hidden_size": 24,
    },
    "hub-glm": {"ffn": "gelu_erf"},
    "bert": {"position": "learned_1d", "attention": "bidirectional"},
    "p-tuned": {"num_prefix_tokens": 3, "num_kv_heads": 2, "position": "rotary_2d"},
    "p-tuned-causal": {"num_prefix_tokens": 3, "position": "rotary", "attention": "causal"},
}  # fmt: skip
SEGMENTS = Segments((9, 9, 6), (5, 5, 6))
IDS = torch.randint(0, 96, (24,), generator=torch.Generator().manual_seed(3))
PLACES = torch.tensor(
    [
        [0, 1, 2, 3, 4, 2, 2, 2, 2] * 2 + [*range(6)],
        [0, 0, 0, 0, 0, 1, 2, 3, 4] * 2 + [0] * 6,
    ]
)


@pytest.fixture(params=FAMILY)
def model(request: pytest.FixtureRequest) -> GLM:
    model = GLM(ModelConfig.model_validate({**SIZES, **FAMILY[request.param]})).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.3 * noise + (parameter.dim() == 1))
    return model.eval()


def rotated(x: Tensor, places: Tensor, width: int, config: ModelConfig) -> Tensor:
    """The first `width` dimensions of [S, N, D], turned pair by pair by the place of each row."""
    settings = config.rotary
    half, out = width // 2, x.clone()
    for pair in range(half):
        base = 10_000.0 if settings is None else settings.base * settings.ratio
        angle = torch.tensor(base, dtype=torch.float32) ** -(2 * pair / width)
        if settings is not None and settings.half_precision_frequencies:
            angle = angle.half().float()
        turn = places / (1.0 if settings is None else settings.scaling) * angle
        is_interleaved = settings is not None and settings.interleaved
        i, j = (2 * pair, 2 * pair + 1) if is_interleaved else (pair, pair + half)
        cos, sin = turn.cos()[:, None], turn.sin()[:, None]
        out[..., i] = x[..., i] * cos - x[..., j] * sin
        out[..., j] = x[..., j] * cos + x[..., i] * sin
    return out


def placed(x: Tensor, places: Tensor, config: ModelConfig) -> Tensor:
    if config.position == "rotary_2d":
        first, second = x.chunk(2, 2)
        width = first.shape[2]
        return torch.cat(
            [
                rotated(part, row, width, config)
                for part, row in zip((first, second), places, strict=True)
            ],
            2,
        )
    if config.position == "rotary":
        fraction = 1.0 if config.rotary is None else config.rotary.fraction
        return rotated(x, places[0], int(x.shape[2] * fraction), config)
    return x


def normed(x: Tensor, layer: torch.nn.Module, config: ModelConfig) -> Tensor:
    centre = x.mean(-1, keepdim=True) if config.norm == "layer" else 0.0
    spread = ((x - centre) ** 2).mean(-1, keepdim=True) + config.norm_eps
    scaled = (x - centre) / spread.sqrt() * layer.weight
    return scaled + layer.bias if config.norm == "layer" else scaled


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    product = x @ layer.weight.T
    return product if layer.bias is None else product + layer.bias


def attended(x: Tensor, places: Tensor, seen: Tensor, layer, config: ModelConfig) -> Tensor:
    heads, groups = config.num_attention_heads, config.num_kv_heads or config.num_attention_heads
    joined = linear(x, layer.query_key_value)
    head = joined.shape[1] // (heads + 2 * groups)
    q, k, v = joined.view(len(x), -1, head).split([heads, groups, groups], 1)
    q, k = placed(q, places, config), placed(k, places, config)
    if config.num_prefix_tokens:
        k = torch.cat([layer.prefix[0].transpose(0, 1), k])
        v = torch.cat([layer.prefix[1].transpose(0, 1), v])
        seen = F.pad(seen, (config.num_prefix_tokens, 0), value=True)
    mixed = []
    for number in range(heads):
        group = number // (heads // groups)
        scores = q[:, number] @ k[:, group].T / head**0.5
        mixed.append(scores.masked_fill(~seen, float("-inf")).softmax(1) @ v[:, group])
    return linear(torch.cat(mixed, 1), layer.output)


def fed(x: Tensor, layer, config: ModelConfig) -> Tensor:
    up = linear(x, layer.up)
    erf = lambda y: y * (1 + torch.erf(y / 2**0.5)) / 2  # noqa: E731
    if config.ffn == "swiglu":
        gate, value = up.chunk(2, 1)
        return linear(gate * gate.sigmoid() * value, layer.down)
    if config.ffn == "geglu":
        gate, value = up.chunk(2, 1)
        return linear(erf(gate) * value, layer.down)
    if config.ffn == "gelu_erf":
        return linear(erf(up), layer.down)
    inner = 0.7978845608028654 * (up + 0.044715 * up**3)
    return linear(0.5 * up * (1 + inner.tanh()), layer.down)


def reference(model: GLM, ids: Tensor, places: Tensor, part_a: int) -> Tensor:
    """One sample, [S, V]."""
    config = model.config
    x = model.word_embedding.weight[ids]
    if config.position.startswith("learned"):
        x = x + model.position_embedding.weight[places[0]]
    if config.position == "learned_2d":
        x = x + model.span_position_embedding.weight[places[1]]
    query, key = torch.arange(len(ids))[:, None], torch.arange(len(ids))[None]
    visible = {
        "prefix": (key <= query) | (key < part_a),
        "causal": key <= query,
        "bidirectional": key >= 0,
    }
    seen = visible[config.attention].expand(len(ids), len(ids))
    for block in model.blocks:
        for norm, branch in (("attention_norm", "attention"), ("ffn_norm", "ffn")):
            inner = normed(x, block.get_submodule(norm), config)
            if branch == "attention":
                out = attended(inner, places, seen, block.attention, config)
            else:
                out = fed(inner, block.ffn, config)
            if config.norm_placement == "sandwich":
                out = normed(out, block.get_submodule(f"{branch}_out_norm"), config)
            stream = inner if config.residual_from == "normalised" else x
            x = stream * (config.residual_scale or 1.0) + out
    table = model.word_embedding if config.tie_embeddings else model.output_embedding
    return normed(x, model.final_norm, config) @ table.weight.T


def references(model: GLM) -> Tensor:
    return torch.cat(
        [
            reference(model, IDS[first : first + n], PLACES[:, first : first + n], a)
            for first, n, a in zip(
                SEGMENTS.starts, SEGMENTS.lengths, SEGMENTS.part_a_lengths, strict=True
            )
        ]
    )


def test_logits_equal_the_plain_model(model: GLM):
    with torch.inference_mode():
        ours = model.logits(model.hidden(IDS, PLACES, SEGMENTS))
        torch.testing.assert_close(ours, references(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("wanted", [[0, 4, 5, 8, 13, 23], [*range(9)]])
def test_wanted_rows_equal_the_plain_model(model: GLM, wanted: list[int]):
    with torch.inference_mode():
        ours = model.logits(model.hidden(IDS, PLACES, SEGMENTS, torch.tensor(wanted)))
        torch.testing.assert_close(ours, references(model)[wanted], rtol=0, atol=1e-6)


def test_gradients_equal_those_of_the_plain_model(model: GLM):
    wanted = torch.tensor([5, 6, 8, 14, 17])
    targets = torch.tensor([7, 8, 9, 90, 0])
    total, _ = model.loss(IDS, PLACES, SEGMENTS, wanted, targets)
    total.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    F.cross_entropy(references(model)[wanted], targets, reduction="sum").backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("is_ragged", [False, True])
def test_steps_on_a_cache_equal_the_plain_model(model: GLM, is_ragged: bool):
    if model.config.attention == "bidirectional":
        pytest.skip("every token sees the next one, so none can be computed before it")
    ends = (6, 15) if is_ragged else (5, 14)
    starts = (0, 9)
    rows = torch.cat([torch.arange(first, end) for first, end in zip(starts, ends, strict=True)])
    lengths = tuple(end - first for first, end in zip(starts, ends, strict=True))
    cache = KeyValueCache(model.config, 2, 6, torch.float64, IDS.device)
    part_a = (5, 5) if is_ragged else lengths
    with torch.inference_mode():
        model.hidden(IDS[rows], PLACES[:, rows], Segments(lengths, part_a), None, cache)
        expected = references(model)
        for offset in range(3):
            at = torch.tensor([end + offset for end in ends])
            ours = model.logits(model.step(IDS[at], PLACES[:, at], cache))
            torch.testing.assert_close(ours, expected[at], rtol=0, atol=1e-6)


def test_the_parameters_are_those_that_the_plan_counts(model: GLM):
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == parameter_shapes(model.config)


def test_the_last_row_of_a_long_causal_text_takes_no_square_of_memory():
    config = ModelConfig.model_validate({**SIZES, **FAMILY["chatglm2"], "num_layers": 1})
    model = GLM(config).eval()
    length = 20_000  # whose square is 1.6 GB
    sights = []
    model.blocks[0].attention.register_forward_pre_hook(lambda _, args: sights.append(args[1]))
    places = torch.stack([torch.arange(length), torch.zeros(length, dtype=torch.int64)])
    ids = torch.zeros(length, dtype=torch.int64)
    with torch.inference_mode():
        model.hidden(ids, places, Segments((length,), (0,)), torch.tensor([length - 1]))
    assert "table" not in vars(sights[0])


def test_gelu_without_gradients_is_torch_s():
    x = torch.linspace(-12, 12, 4001)
    with torch.inference_mode():
        assert (gelu_tanh(x) - F.gelu(x, approximate="tanh")).abs().max() < 1e-6
        assert gelu_tanh(torch.tensor([-1e4, 1e4])).tolist() == [0, 1e4]
