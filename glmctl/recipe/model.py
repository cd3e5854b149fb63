"""The sections of a recipe that say what a model is: its sizes, components and tokenizer."""

from math import log
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from glmctl.recipe import checks
from glmctl.recipe.section import Probability, Section

Position = Literal["learned_2d", "learned_1d", "relative_xl", "rotary", "rotary_2d"]
Kind = Literal["wordpiece", "byte_bpe", "sentencepiece", "tiktoken", "tokenizer_json"]
Layout = Literal[
    "glmctl", "glm-english", "glm-english-task", "glm-chinese", "glm-chinese-10b",
    "chatglm", "chatglm2", "chatglm3", "glm-4", "glm-4-0414",
]  # fmt: skip


class YarnConfig(Section):
    """Longer texts by YaRN: slow pairs turn as if places were closer, fast ones as they did."""

    factor: PositiveFloat
    """How many times longer the texts are."""
    original_positions: PositiveInt
    """Places of the texts that the model learned from."""
    beta_fast: PositiveFloat = 32.0
    """Pairs that turn this often, or more, over those texts stay as they are."""
    beta_slow: PositiveFloat = 1.0
    """Pairs that turn this often, or less, are slowed down by the whole factor."""
    attention_factor: PositiveFloat | None = None
    """Queries and keys grow by it; left out: 0.1 ln(factor) + 1."""

    @property
    def growth(self) -> float:
        return self.attention_factor or 0.1 * log(max(self.factor, 1.0)) + 1.0


class RotaryConfig(Section):
    """How rotary positions turn the queries and keys of a head."""

    base: PositiveFloat = 10_000.0
    """The slowest pair turns by about 1 / base a place."""
    ratio: PositiveFloat = 1.0
    """The base is multiplied by it (rope_ratio of ChatGLM3 and GLM-4), for longer texts."""
    scaling: PositiveFloat = 1.0
    """Places are divided by it (rope_ratio of ChatGLM2-32K), for longer texts."""
    yarn: YarnConfig | None = None
    """For longer texts, as GLM-4-0414; left out: not used."""
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of each head that turns; the rest stays as it is."""
    interleaved: bool = False
    """Neighbouring dimensions make a pair; False: one of the first half, one of the second."""
    half_precision_frequencies: bool = False
    """Round the frequencies to float16, as ChatGLM-6B does."""


class ModelConfig(Section):
    """Sizes and components of the GLM."""

    checks = (
        checks.heads_divide_the_width,
        checks.query_groups_are_whole,
        checks.components_are_read,
        checks.pairs_can_turn,
    )

    num_layers: PositiveInt
    """Transformer layers."""
    hidden_size: PositiveInt
    """Width H of the residual stream."""
    num_attention_heads: PositiveInt
    """Attention heads N."""
    num_kv_heads: PositiveInt | None = None
    """Heads of keys and values, shared by groups of queries; left out: as many as heads."""
    head_size: PositiveInt | None = None
    """Width D of each head; left out: H / N."""
    ffn_hidden_size: PositiveInt | None = None
    """Width of the feed-forward part; left out: 4 H."""
    max_positions: PositiveInt
    """P: both learned position tables have P + 1 rows (learned_1d: one table of P rows)."""
    vocab_rows: PositiveInt | None = None
    """Rows of the word embedding; left out: the tokenizer's size rounded up to 128."""
    position: Position = "learned_2d"
    """learned_2d: place in Part A and place in the span; learned_1d: one place, as BERT; rotary:
    one place turns each head; rotary_2d: each place turns one half of it."""
    rotary: RotaryConfig | None = None
    """Of rotary positions; left out: the defaults."""
    norm: Literal["layer", "rms"] = "layer"
    """rms: without mean and bias."""
    norm_eps: PositiveFloat = 1e-5
    """Added to the variance in every norm."""
    norm_placement: Literal["pre", "deep", "sandwich"] = "pre"
    """pre: before each branch; sandwich: after it too; deep: before, with a scaled residual."""
    residual_scale: PositiveFloat | None = None
    """deep: the stream is multiplied by it before a branch is added."""
    residual_from: Literal["input", "normalised"] = "input"
    """deep: what the branch is added to; normalised: its own input, so the norm is of the sum."""
    ffn: Literal["gelu_tanh", "gelu_erf", "geglu", "swiglu"] = "gelu_tanh"
    """Activation of the feed-forward part; geglu (exact GELU) and swiglu gate it."""
    attention: Literal["prefix", "causal", "bidirectional"] = "prefix"
    """prefix: Part A sees all of itself; causal: every token its past; bidirectional: all."""
    qkv_bias: bool = True
    """Queries, keys and values have a bias."""
    linear_bias: bool = True
    """The other linears have one."""
    tie_embeddings: bool = True
    """The word embedding is the output layer too."""
    num_prefix_tokens: NonNegativeInt = 0
    """Learned keys and values in front of every layer's, seen by all tokens (P-tuning v2)."""
    init_std: PositiveFloat = 0.02
    """Of the initial weights; a narrow model learns sooner with about 1 / sqrt(hidden_size)."""
    position_init: Literal["normal", "sinusoidal"] = "normal"
    """How the learned position tables begin; a small model finds neighbours sooner from waves."""
    dropout: Probability = 0.1
    """Of the embedding sum and of each residual branch."""
    attention_dropout: Probability = 0.1
    """Of the attention probabilities."""

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_size or self.hidden_size // self.num_attention_heads

    @property
    def ffn_width(self) -> int:
        return self.ffn_hidden_size or 4 * self.hidden_size

    @property
    def is_gated(self) -> bool:
        """The feed-forward part has a second product, which gates the first."""
        return self.ffn in ("geglu", "swiglu")


class LayoutConfig(Section):
    """How the code of a released model reads ids that come without positions, and positions."""

    sop: NonNegativeInt | None = None
    """Id that opens the answer; what stands before it is Part A (ChatGLM-6B, with the next two)."""
    mask: NonNegativeInt | None = None
    """Its place is that of the answer, when there is no gmask."""
    gmask: NonNegativeInt | None = None
    """Its place is that of the answer."""
    splits_at_jumps: bool = False
    """A place that is not the next one begins another sample (GLM-4 in transformers)."""


class TokenizerConfig(Section):
    """A vocabulary and the layout of the special tokens over it."""

    kind: Kind = "sentencepiece"
    """The algorithm of the vocabulary; the last two are the files of GLM-4."""
    path: str = "glmctl-default"
    """A built-in name, a file, a folder, or hf:NAME (fetched when asked)."""
    special: Layout = "glmctl"
    """Which special tokens there are and which ids they have."""
    noise_token: bool = False
    """Add [dBLOCK], which block_mask_probability and context_mask_ratio put into the input."""
    num_sentinels: NonNegativeInt = 0
    """Pairs [MASKi], <|startofpiecei|> for objective.sentinel, the last ids of all."""
    lowercase: bool = True
    """WordPiece only: lower the case and strip accents, as bert-base-uncased does."""
    num_image_tokens: NonNegativeInt = 0
    """ChatGLM-6B only: ids before those of the text, 20,000 in its first release."""
