"""The grammar of a recipe: its sections, their keys, and what must agree between them.

Given numbers are fields; derived numbers are properties, so that nobody can state both. A key
stands here only when some code reads it.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from glmctl.recipe import checks
from glmctl.recipe.model import ModelConfig, TokenizerConfig
from glmctl.recipe.section import Probability, Section

Certainty = Literal["paper", "code", "derived", "recalled", "claimed"]
OnError = Literal["stop", "skip"]
Stage = Literal["pretrain", "finetune", "eval", "quantize", "record"]
Sharding = Literal["none", "zero1", "zero2", "zero3"]
Target = Literal["attention.query_key_value", "attention.output", "ffn.up", "ffn.down"]


class RecipeConfig(Section):
    """What the experiment is and where its numbers come from."""

    checks = (checks.record_says_what_it_needs,)

    schema_: Literal[1] = Field(default=1, alias="schema")
    """Number of this grammar."""
    stage: Stage = "pretrain"
    """What the recipe is for; a record is listed and planned, and nothing runs it."""
    needs: str | None = None
    """record: what a run would need and does not have, as "its corpus, which is not published"."""
    experiments: tuple[str, ...] = ()
    """Identifiers of the experiments of the literature that this recipe reproduces."""
    source: str
    """Paper, table and row, or the reason why the recipe exists."""
    certainty: Certainty | None = None
    """How sure the numbers are; None for recipes that are our own."""


class PublishedConfig(Section):
    """Numbers of the literature that ours are compared with: one, or a row of a table."""

    checks = (checks.numbers_are_named,)

    metric: str | None = None
    """TASK/METRIC as `glmctl eval` names them, as copa/accuracy; SUITE/average; or a name of its
    own where no command here measures it."""
    value: float | None = None
    """In per cent, but for perplexities and the like."""
    values: dict[str, float] | None = None
    """Instead of the two: several metrics, each with its value."""
    model: str | None = None
    """The model it is of, where the recipe states numbers of several."""
    certainty: Certainty
    """How sure the number is; a recalled one waits for somebody to look it up."""
    source: str
    """Paper and table."""

    @property
    def numbers(self) -> dict[str, float]:
        """By metric."""
        if self.metric is None or self.value is None:
            return self.values or {}
        return {self.metric: self.value}


class ObjectiveConfig(Section):
    """Which tokens are hidden and in what order they come back (paper, sections 2.1 and 2.2)."""

    checks = (checks.objective_can_draw,)

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
    whole_words: bool = False
    """Count lengths, shares and places of spans in words, so that no span cuts one."""
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
    """Count the place inside the span; False: 1 everywhere in Part B, with the same tables."""
    random_position: bool = False
    """Shift the places of a short sample by a random offset."""
    draw_mode: Literal["sample", "batch"] = "sample"
    """sample: every sample draws its own objective; batch: one draw a micro-batch, as released."""

    @property
    def total_weight(self) -> float:
        spans = self.token_weight + self.single_span_weight
        return spans + self.sentence_weight + self.document_weight


class CorpusConfig(Section):
    """One source of documents."""

    checks = (checks.corpus_is_read,)

    name: str
    """Name in logs and metrics."""
    path: str | None = None
    """Token shards, a text, JSONL or Parquet file, a folder of those, or glmctl-demo (built in)."""
    dataset: str | None = None
    """Instead of path: a data set of the hub (fetched when asked) or folder for `datasets`."""
    revision: str | None = None
    """Commit, tag or branch of the data set; left out: its main branch."""
    config: str | None = None
    """Configuration of the data set; left out: its default."""
    split: str | None = None
    """Split of the data set, as train or train[:10%]; left out: train."""
    column: str = "text"
    """Where the text stands: key of JSONL, column of Parquet or of the data set."""
    weight: NonNegativeFloat = 1.0
    """How often an epoch reads each document; 2.5: in turn two and three times."""


class DataConfig(Section):
    """What is read."""

    sequence_length: PositiveInt = 512
    """Source tokens in a row, before corruption."""
    pack: bool = True
    """Several documents in a row, isolated from each other; False: one document a row."""
    corpus: tuple[CorpusConfig, ...] = Field(min_length=1)
    """The sources."""
    on_error: OnError = "stop"
    """What a row without a text does, as broken JSON: stop with its place, or be left out."""
    probe: str | None = None
    """Held text for the infilling probe, never trained on: a path, or glmctl-demo-held-out; of
    fine-tuning the file of rows to evaluate on."""
    held_out_share: Probability = 0.2
    """Of the rows of fine-tuning, to evaluate on; read when there is no probe."""
    battery: str = "glmctl-demo-held-out"
    """Text of no task, on which a model is measured before and after a fine-tuning."""


class TrainConfig(Section):
    """Length, batch and precision of the run."""

    checks = (checks.one_duration,)

    steps: PositiveInt | None = None
    """Length of the run in optimizer steps; exactly one of steps, tokens and epochs is given."""
    tokens: PositiveInt | None = None
    """Length in source tokens, special ones included, rounded up to whole steps."""
    epochs: PositiveFloat | None = None
    """Length in passes over the corpora; the last step is as small as what is left."""
    initial_model: str | None = None
    """Model folder, run or checkpoint whose weights the run starts from; left out: random ones."""
    global_batch_size: PositiveInt
    """Rows a step, over all GPUs."""
    micro_batch_size: PositiveInt | Literal["auto"]
    """Rows one model replica holds at once; auto: the most that fit, chosen once and logged."""
    precision: Literal["fp64", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the model; bf16 and fp16 (with loss scaling) keep float32 weights."""
    seed: NonNegativeInt = 1234
    """Of the initial weights, the data order, the corruption and the dropout."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this L2 norm."""
    deterministic: bool = False
    """Refuse kernels whose result depends on timing (GPU only; a CPU run is always exact)."""
    activation_checkpointing: bool = False
    """Keep the input of each layer only and compute the rest again in backward: memory for time."""
    compile: bool = False
    """Compile the feed-forward parts with torch.compile; worth its half minute on a GPU only."""
    log_every: PositiveInt = 10
    """Steps between two printed lines; metrics.jsonl has every step."""
    probe_every: PositiveInt | None = None
    """Steps between two infilling probes on data.probe; left out: none. Between two evaluations of
    fine-tuning; left out: an epoch."""
    patience: PositiveInt | None = None
    """Evaluations in a row without a better score that end a fine-tuning; left out: none do."""
    max_forgetting: PositiveFloat | None = None
    """Largest relative rise of perplexity on data.battery that a fine-tuning may bring."""
    save_every: PositiveInt = 1000
    """Steps between two checkpoints; the last step is always saved."""
    keep: PositiveInt = 2
    """Newest checkpoints that stay."""

    @property
    def rows_at_once(self) -> int:
        """The micro batch; before the machine has chosen one, a single row."""
        return 1 if self.micro_batch_size == "auto" else self.micro_batch_size


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
    warmup_ratio: Probability = 0.0
    """The same as a share of train.steps, where warmup_steps is 0."""
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
    sharding: Sharding | None = None
    """What is split over the replicas."""
    tensor_parallel_size: PositiveInt | None = None
    """GPUs over which each layer is split."""
    pipeline_parallel_size: PositiveInt | None = None
    """GPUs over which the layers are dealt out."""
    stage_layers: tuple[PositiveInt, ...] | None = None
    """Layers of each of those GPUs."""
    micro_batch_size: PositiveInt | None = None
    """Rows one replica holds in this layout; the global batch stays."""
    note: str | None = None
    """What is assumed about the layout."""


class TopologyConfig(Section):
    """The GPUs of the experiment and how the model lies over them; no result depends on it."""

    checks = (checks.replicas_are_whole,)

    nodes: PositiveInt = 1
    """Machines."""
    gpus_per_node: PositiveInt = 1
    """GPUs, or CPU processes, of one machine."""
    gpu: str = "any"
    """What the experiment ran on; feeds the estimates, nothing else."""
    sharding: Sharding = "none"
    """Split over the replicas: zero1 the optimizer's state, zero2 gradients too, zero3 weights."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs over which each layer is split."""
    pipeline_parallel_size: PositiveInt = 1
    """GPUs over which the layers are dealt out."""
    stage_layers: tuple[PositiveInt, ...] | None = None
    """Layers of each of those GPUs; left out: as many on each."""
    note: str | None = None
    """What is assumed about the layout."""
    profiles: dict[str, TopologyProfile] = Field(default_factory=dict)
    """Other layouts, chosen with --topology."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.gpus_per_node

    @property
    def replica_size(self) -> int:
        """GPUs that hold the model together."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def data_parallel_size(self) -> int:
        """Model replicas."""
        return self.world_size // self.replica_size


class WandbConfig(Section):
    """A run on Weights & Biases; the package wandb is the user's own."""

    project: str
    """Where the run appears."""
    entity: str | None = None
    """User or team; left out: wandb's default."""
    mode: Literal["online", "offline"] = "online"
    """offline keeps everything in the run folder, for `wandb sync`; GLMCTL_OFFLINE asks for it."""


class TrackConfig(Section):
    """Where the records of a run go besides metrics.jsonl; no result depends on it."""

    tensorboard: bool = False
    """Write event files into the folder tensorboard of the run (extra: track)."""
    wandb: WandbConfig | None = None
    """Left out: wandb is not used."""


class DecodeConfig(Section):
    """How blanks are filled."""

    checks = (checks.fills_can_be_chosen,)

    num_beams: PositiveInt = 1
    """Ways to fill a blank that are followed at once; the best fill goes on to the next blank."""
    length_penalty: float = 0.0
    """Beams are ranked by log-probability / length to this power; more favours longer fills."""
    n_best: PositiveInt = 1
    """Fills of each blank that are given, of those that the beams have found."""
    no_repeat_ngram: NonNegativeInt = 0
    """No so many tokens in a row stand twice in the fills of a text; 0 allows everything."""
    min_new_tokens: NonNegativeInt = 0
    """Fewest tokens of one blank; before, it does not end."""
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


class QuantizationConfig(Section):
    """How the weights of a model stand in few bits."""

    method: Literal["absmax"] = "absmax"
    """Integers and one scale a row, from its largest weight, as GLM-130B and ChatGLM."""
    bits: Literal[8, 4] = 8
    """Of each weight in a linear of a layer; everything else stays as it is."""


class QuantizeConfig(QuantizationConfig):
    """What is quantized, and how well it must still fill blanks."""

    model: str
    """Model folder, run, checkpoint or built-in name."""
    calibration: str | None = None
    """Text on which it is measured before and after; left out: glmctl-demo-held-out."""
    max_loss: NonNegativeFloat | None = None
    """Largest relative rise of its perplexity, 0.01 for one percent; left out: any."""


class AdapterConfig(Section):
    """Weights that a fine-tuning trains in the place of the model's own, or beside them."""

    checks = (checks.adapter_is_read,)

    kind: Literal["lora", "p_tuning"] = "lora"
    """lora: a product of two narrow matrices is added to each of some linears, which stay as they
    are (extra: lora); p_tuning: learned vectors stand among the words of the pattern."""
    rank: PositiveInt = 8
    """lora: width between the two."""
    alpha: PositiveInt = 16
    """lora: the product is multiplied by alpha / rank."""
    dropout: Probability = 0.0
    """lora: of what goes into the product."""
    targets: tuple[Target, ...] = Field(get_args(Target), min_length=1)
    """lora: the linears of every layer that get one."""
    encoder: Literal["lstm", "mlp", "none"] = "lstm"
    """p_tuning: what makes the vectors of embeddings: an LSTM of two layers and directions before
    two linears, the linears alone, or nothing."""
    num_vectors: NonNegativeInt = 3
    """p_tuning: vectors in the slots of the pattern; in front of it where it has none."""
    num_prefix: NonNegativeInt = 0
    """p_tuning: vectors in front of the pattern beside those."""
    freeze: bool = False
    """p_tuning: train the prompt alone; the model then stays as it is."""
    tuned_layers: NonNegativeInt = 0
    """p_tuning: layers of a frozen model, from the first on, that are trained all the same."""

    @property
    def is_alone(self) -> bool:
        """Whether the weights of the model stay as they are."""
        return self.kind == "lora" or self.freeze


class Recipe(Section):
    """One experiment, whole."""

    checks = (
        checks.batch_divides,
        checks.sequence_fits_the_model,
        checks.warmup_ends_before_the_decay,
        checks.probe_has_text,
        checks.special_tokens_are_there,
        checks.position_fits_the_objective,
        checks.model_divides_over_a_replica,
        checks.stage_has_what_it_reads,
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
    track: TrackConfig = TrackConfig()
    quantize: QuantizeConfig | None = None
    adapter: AdapterConfig | None = None
    task: dict[str, Any] | None = None
    """What a fine-tuning trains for: the table [task] of a file for `glmctl eval`."""
    published: tuple[PublishedConfig, ...] = ()

    @property
    def planned_steps(self) -> int | None:
        """Updates of the run; None when the corpora decide."""
        train = self.train
        if train.tokens is None:
            return train.steps
        return -(-train.tokens // (train.global_batch_size * self.data.sequence_length))

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes a replica makes for one optimizer step."""
        at_once = self.train.rows_at_once * self.topology.data_parallel_size
        return self.train.global_batch_size // at_once
