"""The grammar of a recipe: its sections, their keys, and what must agree between them.

Given numbers are fields; derived numbers are properties, so that nobody can state both. A key
stands here only when some code reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from glmctl.recipe import checks

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Certainty = Literal["paper", "code", "derived", "recalled", "claimed"]


class Section(BaseModel):
    """Base of every section: unknown keys are refused and values cannot change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
    checks: ClassVar[tuple[Callable[[Any], str | None], ...]] = ()
    """What must agree once every value has the right type."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = [problem for check in self.checks if (problem := check(self))]
        if problems:
            raise ValueError("\n".join(problems))
        return self


class RecipeConfig(Section):
    """What the experiment is and where its numbers come from."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    """Number of this grammar."""
    stage: Literal["pretrain"] = "pretrain"
    """What the recipe is for."""
    experiments: tuple[str, ...] = ()
    """Identifiers of the experiments of the literature that this recipe reproduces."""
    source: str
    """Paper, table and row, or the reason why the recipe exists."""
    certainty: Certainty | None = None
    """How sure the numbers are; None for recipes that are our own."""


class ModelConfig(Section):
    """Sizes and components of the GLM."""

    checks = (checks.heads_divide_the_width,)

    num_layers: PositiveInt
    """Transformer layers."""
    hidden_size: PositiveInt
    """Width H of the residual stream; the feed-forward part is 4 H wide."""
    num_attention_heads: PositiveInt
    """Attention heads N; each is H / N wide."""
    max_positions: PositiveInt
    """P: both learned position tables have P + 1 rows (learned_1d: one table of P rows)."""
    vocab_rows: PositiveInt | None = None
    """Rows of the word embedding; left out: the tokenizer's size rounded up to 128."""
    position: Literal["learned_2d", "learned_1d", "relative_xl"] = "learned_2d"
    """learned_2d: place in Part A and place in the span; learned_1d: one place, as BERT."""
    norm_eps: PositiveFloat = 1e-5
    """Added to the variance in every layer norm."""
    init_std: PositiveFloat = 0.02
    """Of the initial weights; a narrow model learns sooner with about 1 / sqrt(hidden_size)."""
    dropout: Probability = 0.1
    """Of the embedding sum and of each residual branch."""
    attention_dropout: Probability = 0.1
    """Of the attention probabilities."""

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def ffn_hidden_size(self) -> int:
        return 4 * self.hidden_size


class TokenizerConfig(Section):
    """A vocabulary and the layout of the special tokens over it."""

    kind: Literal["wordpiece", "byte_bpe", "sentencepiece"] = "sentencepiece"
    """The algorithm of the vocabulary."""
    path: str = "glmctl-default"
    """A built-in name, a file, a folder, or hf:NAME (fetched when asked)."""
    special: Literal[
        "glmctl", "glm-english", "glm-english-task", "glm-chinese", "glm-chinese-10b"
    ] = "glmctl"
    """Which special tokens there are and which ids they have."""
    noise_token: bool = False
    """Add [dBLOCK], which block_mask_probability and context_mask_ratio put into the input."""
    num_sentinels: NonNegativeInt = 0
    """Pairs [MASKi], <|startofpiecei|> for objective.sentinel, the last ids of all."""
    lowercase: bool = True
    """WordPiece only: lower the case and strip accents, as bert-base-uncased does."""


class ObjectiveConfig(Section):
    """Which tokens are hidden and in what order they come back (paper, sections 2.1 and 2.2)."""

    checks = (checks.some_objective_has_weight,)

    kind: Literal["blank_infilling", "mlm"] = "blank_infilling"
    """mlm: every hidden token becomes [MASK] in place and is predicted there, as BERT."""
    token_weight: NonNegativeFloat = 1.0
    """Share of samples with short spans; the weights are normalised."""
    sentence_weight: NonNegativeFloat = 0.0
    """Share of samples whose spans are whole sentences."""
    document_weight: NonNegativeFloat = 0.0
    """Share of samples with one long span."""
    single_span_weight: NonNegativeFloat = 0.0
    """Share of samples with exactly one short span."""
    mask_ratio: Probability = 0.15
    """Share of the source tokens that move to Part B (token and sentence spans)."""
    mean_span_length: PositiveFloat = 3.0
    """Lambda of the Poisson law of span lengths."""
    max_span_length: PositiveInt = 39
    """Lengths 1 to this one are drawn, with the Poisson weights."""
    span_order: Literal["shuffled", "text"] = "shuffled"
    """Order of the spans in Part B."""
    document_min_ratio: Probability = 0.5
    """Shortest long span, as a share of the sample; its length is uniform from there up."""
    document_suffix_probability: Probability = 0.5
    """Chance that the long span is the end of the sample (then without an end token)."""
    block_mask_probability: Probability = 0.0
    """Chance that a token fed in Part B is replaced by [dBLOCK] (token spans only)."""
    context_mask_ratio: Probability = 0.0
    """Share of the sample replaced by [dBLOCK] in Part A near a span (token spans only)."""
    short_sequence_probability: Probability = 0.0
    """Chance that samples are cut into shorter ones first."""
    sentinel: bool = False
    """Give each span its own mask and start token, and one place outside the text to all."""
    second_position: bool = True
    """Count the place inside the span; False: 1 everywhere in Part B."""
    random_position: bool = False
    """Shift the places of a short sample by a random offset."""
    draw_mode: Literal["sample", "batch"] = "sample"
    """sample: every sample draws its own objective; batch: one draw a micro-batch, as released."""

    @property
    def total_weight(self) -> float:
        return (
            self.token_weight
            + self.sentence_weight
            + self.document_weight
            + self.single_span_weight
        )


class CorpusConfig(Section):
    """One source of documents."""

    name: str
    """Name in logs and metrics."""
    path: str
    """Token shards, a text or JSONL file, a folder of those, or the built-in glmctl-demo."""
    weight: PositiveFloat = 1.0
    """How often an epoch reads each document; 2.5: in turn two and three times."""


class DataConfig(Section):
    """What is read."""

    sequence_length: PositiveInt = 512
    """Source tokens in a row, before corruption."""
    pack: bool = True
    """Several documents in a row, isolated from each other; False: one document a row."""
    corpus: tuple[CorpusConfig, ...] = Field(min_length=1)
    """The sources."""
    probe: str | None = None
    """Held text for the infilling probe, never trained on: a path, or glmctl-demo-held-out."""


class TrainConfig(Section):
    """Length, batch and precision of the run."""

    steps: PositiveInt
    """Optimizer steps."""
    global_batch_size: PositiveInt
    """Rows a step, over all GPUs."""
    micro_batch_size: PositiveInt
    """Rows one model replica holds at once."""
    precision: Literal["fp64", "fp32", "bf16"] = "fp32"
    """Arithmetic of the model; bf16 keeps float32 weights and runs the products in bfloat16."""
    seed: NonNegativeInt = 1234
    """Of the initial weights, the data order, the corruption and the dropout."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this L2 norm."""
    deterministic: bool = False
    """Refuse kernels whose result depends on timing (GPU only; a CPU run is always exact)."""
    log_every: PositiveInt = 10
    """Steps between two printed lines; metrics.jsonl has every step."""
    probe_every: PositiveInt | None = None
    """Steps between two infilling probes on data.probe; left out: none."""
    save_every: PositiveInt = 1000
    """Steps between two checkpoints; the last step is always saved."""
    keep: PositiveInt = 2
    """Newest checkpoints that stay."""


class OptimizerConfig(Section):
    """The update rule; norms and biases are never decayed."""

    kind: Literal["adamw", "sgd"] = "adamw"
    """sgd: plain, without momentum; for comparing layouts exactly."""
    peak_lr: PositiveFloat = 1e-4
    """Learning rate at the end of the warm-up."""
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    """Decay rates of AdamW's moments."""
    eps: PositiveFloat = 1e-6
    """Added to the root of AdamW's second moment."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled decay of matrices and embeddings."""


class ScheduleConfig(Section):
    """The learning rate over the steps: linear warm-up from 0, then a decay to a floor."""

    kind: Literal["cosine", "linear", "constant"] = "cosine"
    """Form of the decay."""
    warmup_steps: NonNegativeInt = 0
    """Steps from 0 to the peak."""
    decay_steps: PositiveInt | None = None
    """Step at which the floor is reached, warm-up included; left out: train.steps."""
    min_ratio: Probability = 0.0
    """The floor, as a share of the peak."""


class TopologyProfile(Section):
    """Another layout of the same experiment: only what differs."""

    nodes: PositiveInt | None = None
    """Machines."""
    gpus_per_node: PositiveInt | None = None
    """GPUs, or CPU processes, of one machine."""
    gpu: str | None = None
    """Feeds the estimates, nothing else."""
    micro_batch_size: PositiveInt | None = None
    """Rows one replica holds in this layout; the global batch stays."""
    note: str | None = None
    """What is assumed about the layout."""


class TopologyConfig(Section):
    """The GPUs of the experiment; no result depends on them."""

    nodes: PositiveInt = 1
    """Machines."""
    gpus_per_node: PositiveInt = 1
    """GPUs, or CPU processes, of one machine."""
    gpu: str = "any"
    """What the experiment ran on; feeds the estimates, nothing else."""
    note: str | None = None
    """What is assumed about the layout."""
    profiles: dict[str, TopologyProfile] = {}
    """Other layouts, chosen with --topology."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.gpus_per_node


class DecodeConfig(Section):
    """How blanks are filled."""

    checks = (checks.narrowing_needs_a_draw,)

    max_new_tokens: PositiveInt = 64
    """Most tokens of one blank; the end token is not counted."""
    temperature: NonNegativeFloat = 0.0
    """Logits are divided by it and a token is drawn; 0 takes the best token."""
    top_k: PositiveInt | None = None
    """Draw among this many best tokens; left out: all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Draw among the fewest best tokens that together reach this probability."""
    seed: NonNegativeInt = 1234
    """Of the draws; each line has its own, whatever batch it is in."""


class Recipe(Section):
    """One experiment, whole."""

    checks = (
        checks.batch_divides,
        checks.sequence_fits_the_model,
        checks.warmup_ends_before_the_decay,
        checks.probe_has_text,
        checks.noise_has_a_token,
        checks.sentinels_have_tokens,
        checks.position_fits_the_objective,
    )

    recipe: RecipeConfig
    model: ModelConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    data: DataConfig
    train: TrainConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    topology: TopologyConfig = TopologyConfig()

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes a replica makes for one optimizer step."""
        return self.train.global_batch_size // (
            self.train.micro_batch_size * self.topology.world_size
        )
