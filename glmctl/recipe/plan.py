"""What a recipe costs: parameters, batches, operations, memory and hours, by arithmetic alone.

Counts of parameters, rows and steps are exact. What depends on random spans or on kernels is an
expectation or an estimate, and says so in the plan itself. Operations are those that somebody
needs: attended pairs, the rows of the last layer that carry a loss, and their logits.

Letters: L source tokens of a sample, A and B tokens of its two parts, H hidden, V vocabulary rows.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, prod
from typing import get_args

from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import ObjectiveConfig, Recipe, Sharding
from glmctl.recipe.shapes import parameter_shapes

LOGITS_AT_ONCE = 1 << 24
"""Logits that the loss holds at a time; the same number as in the model's head."""
SENTENCE_TOKENS = 25
"""Mean length of a sentence, for the expectation of sentence spans."""
MFU = 0.4
"""Share of the peak that a well-fed GPU reaches."""
GIB = 2**30
SHARDINGS = get_args(Sharding)  # each splits one part more than the one before
WORD_BYTES = {"fp64": 8, "fp32": 4, "bf16": 4, "fp16": 4}
PRODUCT_BYTES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}
GPUS = {
    "V100-32GB": (32 * GIB, {8: 7.8e12, 4: 15.7e12, 2: 125e12}),
    "A100-40GB": (40 * GIB, {8: 9.7e12, 4: 19.5e12, 2: 312e12}),
    "A100-80GB": (80 * GIB, {8: 9.7e12, 4: 19.5e12, 2: 312e12}),
    "H100-80GB": (80 * GIB, {8: 34e12, 4: 67e12, 2: 989e12}),
}
"""What a maker states: memory, and operations a second by the bytes of what is multiplied."""


@dataclass(frozen=True)
class Parameters:
    """Parameters by part; the output layer is 0 where the word embedding serves as one."""

    word_embedding: int
    position_embeddings: int
    layers: int
    final_norm: int
    output_layer: int
    total: int
    missing: str | None = None


@dataclass(frozen=True)
class Layout:
    """Who computes what in one step."""

    nodes: int
    gpus: int
    gpu: str
    replicas: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    sharding: str
    rows_per_step: int
    rows_per_micro_step: int
    micro_steps: int
    note: str | None


@dataclass(frozen=True)
class Work:
    """What the run reads, hides and computes, all GPUs together."""

    steps: int | None
    """None: the corpora decide, the length is in epochs."""
    source_tokens_per_step: int
    source_tokens: int | None
    hidden_tokens_share: float
    step_flops: float
    run_flops: float | None
    duration_hours: float | None
    """On the GPU that the recipe names; None: not known."""
    estimate: str


@dataclass(frozen=True)
class Memory:
    """Bytes on the GPU that holds most; the ends of a pipeline hold the embeddings too."""

    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    total_bytes: int
    gpu_has_bytes: int | None
    estimate: str


@dataclass(frozen=True)
class Plan:
    """All of it, in the order in which one asks."""

    parameters: Parameters
    layout: Layout
    work: Work
    memory_per_gpu: Memory


@dataclass(frozen=True)
class Sample:
    """Expected tokens of a corrupted sample; ``share`` of all samples look like it."""

    share: float
    part_a: float
    part_b: float
    hidden: float
    wanted: float


def make_plan(recipe: Recipe) -> Plan:
    """Work out what a recipe asks of its GPUs.

    Args:
        recipe: with ``model.vocab_rows`` stated or filled in; without it the word embedding and
            the logits count as nothing.
    """
    samples = [*expected_samples(recipe.objective, recipe.data.sequence_length)]
    return Plan(
        parameters=count_parameters(recipe.model),
        layout=lay_out(recipe),
        work=count_work(recipe, samples),
        memory_per_gpu=estimate_memory(recipe, samples),
    )


def count_parameters(model: ModelConfig) -> Parameters:
    """Exact counts, as the released checkpoints have them."""
    parts: Counter[str] = Counter()
    for name, shape in parameter_shapes(model).items():
        parts[name.split(".")[0]] += prod(shape)
    missing = None
    if model.vocab_rows is None:
        missing = "the word embedding: its rows are left to a tokenizer that is not here"
    return Parameters(
        word_embedding=parts["word_embedding"],
        position_embeddings=(
            parts["position_embedding"] + parts["span_position_embedding"] + parts["relative"]
        ),
        layers=parts["blocks"],
        final_norm=parts["final_norm"],
        output_layer=parts["output_embedding"],
        total=parts.total(),
        missing=missing,
    )


def lay_out(recipe: Recipe) -> Layout:
    topology = recipe.topology
    return Layout(
        gpus=topology.world_size,
        replicas=topology.data_parallel_size,
        rows_per_step=recipe.train.global_batch_size,
        rows_per_micro_step=recipe.train.rows_at_once,
        micro_steps=recipe.micro_steps,
        nodes=topology.nodes,
        gpu=topology.gpu,
        tensor_parallel_size=topology.tensor_parallel_size,
        pipeline_parallel_size=topology.pipeline_parallel_size,
        sharding=topology.sharding,
        note=topology.note,
    )


def expected_samples(objective: ObjectiveConfig, length: int) -> Iterator[Sample]:
    """The kinds of samples an objective makes of a row of one document, with their mean sizes."""
    if objective.kind == "mlm":
        hidden, _ = token_spans(objective, length)
        yield Sample(1.0, length, 0.0, hidden, hidden)
        return
    in_sentences = min(length, objective.mask_ratio * length + SENTENCE_TOKENS / 2)
    kinds = (
        (objective.token_weight, token_spans(objective, length)),
        (objective.sentence_weight, (in_sentences, in_sentences / SENTENCE_TOKENS)),
        (objective.document_weight, ((1 + objective.document_min_ratio) / 2 * length, 1.0)),
        (objective.single_span_weight, (span_moments(objective)[0], 1.0)),
    )
    for weight, (hidden, spans) in kinds:
        if weight:
            share, part_b = weight / objective.total_weight, hidden + spans
            yield Sample(share, length - hidden + spans, part_b, hidden, part_b)


def token_spans(objective: ObjectiveConfig, length: int) -> tuple[float, float]:
    """Hidden tokens and spans: lengths are drawn until their sum reaches the ratio."""
    mean, mean_square = span_moments(objective)
    overshoot = (mean_square / mean - 1) / 2
    hidden = int(objective.mask_ratio * length) + overshoot
    return hidden, hidden / mean


def span_moments(objective: ObjectiveConfig) -> tuple[float, float]:
    """Mean and mean square of a span length, Poisson cut to 1 .. max_span_length."""
    law = objective.mean_span_length
    lengths = range(1, objective.max_span_length + 1)
    weights = [exp(length * log(law) - law - lgamma(length + 1)) for length in lengths]
    total = sum(weights)
    mean = sum(length * weight for length, weight in zip(lengths, weights, strict=True))
    square = sum(length**2 * weight for length, weight in zip(lengths, weights, strict=True))
    return mean / total, square / total


def mean(samples: Sequence[Sample], size: Callable[[Sample], float]) -> float:
    """The expected size of a row."""
    return sum(sample.share * size(sample) for sample in samples)


def count_work(recipe: Recipe, samples: Sequence[Sample]) -> Work:
    """Steps, tokens, operations and hours; the hours at a usual share of the peak."""
    train, topology, steps = recipe.train, recipe.topology, recipe.planned_steps
    length = recipe.data.sequence_length
    tokens = train.global_batch_size * length
    forward = mean(samples, lambda sample: forward_flops(recipe.model, sample))
    step_flops = 3 * forward * train.global_batch_size
    all_tokens, part_b = mean(samples, whole), mean(samples, lambda sample: sample.part_b)
    estimate = (
        f"of {all_tokens:,.0f} tokens a row {part_b:,.0f} are expected in Part B; operations are "
        "those of attended pairs and needed logits, backward is twice forward"
    )
    hours = None
    if topology.gpu in GPUS and steps is not None:
        peak = GPUS[topology.gpu][1][PRODUCT_BYTES[train.precision]]
        passes = 4 / 3 if train.activation_checkpointing else 1  # layers run forward twice
        hours = steps * step_flops * passes / (topology.world_size * peak * MFU) / 3600
        estimate += f"; hours at {MFU:.0%} of {peak / 1e12:,.1f} TFLOP/s a GPU"
    return Work(
        steps=steps,
        source_tokens_per_step=tokens,
        source_tokens=None if steps is None else steps * tokens,
        hidden_tokens_share=mean(samples, lambda sample: sample.hidden) / length,
        step_flops=step_flops,
        run_flops=None if steps is None else steps * step_flops,
        duration_hours=hours,
        estimate=estimate,
    )


def whole(sample: Sample) -> float:
    return sample.part_a + sample.part_b


def forward_flops(model: ModelConfig, sample: Sample) -> float:
    """Operations of one sample; a multiplication and an addition are two."""
    width, a, b, wanted = model.hidden_size, sample.part_a, sample.part_b, sample.wanted
    heads, keys = (n * model.head_width for n in (model.num_attention_heads, model.kv_heads))
    inner = model.ffn_width * (3 if model.is_gated else 2)
    of_keys, of_rest = 4 * width * keys, 2 * width * (2 * heads + inner)
    is_relative = model.position == "relative_xl"
    per_pair = 6 * heads if is_relative else 4 * heads  # the distance has a score of its own
    if model.attention != "prefix":
        a, b = (0, a + b) if model.attention == "causal" else (a + b, 0)
    pairs_of_b = b * a + b * (b + 1) / 2
    layer = (of_keys + of_rest) * (a + b) + per_pair * (a * a + pairs_of_b)
    last = of_keys * (a + b) + of_rest * wanted
    last += per_pair * (pairs_of_b if b else wanted * a)
    logits = 2 * width * (model.vocab_rows or 0) * wanted
    return (model.num_layers - 1) * layer + (layer if is_relative else last) + logits


def estimate_memory(recipe: Recipe, samples: Sequence[Sample]) -> Memory:
    """Bytes on one GPU; activations are those that backward needs."""
    model, train, topology = recipe.model, recipe.train, recipe.topology
    rows, vocab_rows, word = train.rows_at_once, model.vocab_rows or 0, WORD_BYTES[train.precision]
    wanted = rows * mean(samples, lambda sample: sample.wanted)
    logits = round(min(LOGITS_AT_ONCE, wanted * vocab_rows) * 2 * word)
    of_embedding = vocab_rows * model.hidden_size * word
    per_token = activation_bytes(recipe)
    # A stage at the front starts as many micro batches as there are stages before one comes back.
    in_flight = min(topology.pipeline_parallel_size, recipe.micro_steps)
    layers = fullest_stage(recipe)[0] * in_flight
    kept, remark = layers * per_token, ""
    if train.activation_checkpointing:
        kept = layers * word * model.hidden_size + per_token
        remark = "; kept of one layer at a time, and what enters the others"
    parts = (
        *state_bytes(recipe),
        round(rows * mean(samples, whole) * kept),
        (logits + of_embedding) // topology.tensor_parallel_size,
    )
    return Memory(
        *parts,
        total_bytes=sum(parts),
        gpu_has_bytes=GPUS[topology.gpu][0] if topology.gpu in GPUS else None,
        estimate=(
            f"activations are {per_token / model.hidden_size:.4g} bytes per token, layer and "
            f"hidden unit: what backward needs when no attention score is kept{remark}"
        ),
    )


def state_bytes(recipe: Recipe) -> tuple[int, int, int]:
    """Weights, gradients and optimizer on one GPU, exact but for rows that a degree adds.

    Half precision keeps a copy of the layers for the products. Sharding splits the float32 weights
    with the optimizer that updates them, and zero3 the copy too.
    """
    topology, precision = recipe.topology, recipe.train.precision
    count, word, product = count_parameters(recipe.model), WORD_BYTES[precision], PRODUCT_BYTES
    number, outside = fullest_stage(recipe)
    degree = topology.tensor_parallel_size
    layers = number * count.layers // (recipe.model.num_layers * degree)
    held = layers + outside // degree
    is_mixed = product[precision] < word
    copied = layers if topology.sharding == "none" else held  # sharded, the copy is what all read
    copy = copied * product[precision] if is_mixed else 0
    moments = 2 if recipe.optimizer.kind == "adamw" else 0
    level = SHARDINGS.index(topology.sharding)
    replicas = topology.data_parallel_size
    weights = held * word // (replicas if level == 3 or (level and is_mixed) else 1)
    copy //= replicas if level == 3 else 1
    gradients = held * word // (replicas if level >= 2 else 1)
    return weights + copy, gradients, moments * held * word // (replicas if level else 1)


def fullest_stage(recipe: Recipe) -> tuple[int, int]:
    """The stage of a pipeline with most parameters: its layers, and those parameters of no layer.

    Word embedding and output layer are at the two ends.
    """
    count, topology = count_parameters(recipe.model), recipe.topology
    size, layers = topology.pipeline_parallel_size, recipe.model.num_layers
    outside, ends = count.total - count.layers, (0, size - 1)
    stages = topology.stage_layers or (layers // size,) * size
    held = [(number, outside if at in ends else 0) for at, number in enumerate(stages)]
    return max(held, key=lambda stage: stage[0] * count.layers // layers + stage[1])


def activation_bytes(recipe: Recipe) -> float:
    """Bytes that backward needs of one token in one layer."""
    model, precision = recipe.model, recipe.train.precision
    word, product = WORD_BYTES[precision], PRODUCT_BYTES[precision]
    masks = 2 if model.dropout else 0
    # Two norms; queries, keys, values, their mix and the feed-forward are split over GPUs.
    split = 2 * (model.num_attention_heads + model.kv_heads) * model.head_width
    split += (3 if model.is_gated else 2) * model.ffn_width
    whole = model.hidden_size * (2 * word + 2 * product + masks)
    return whole + split * product / recipe.topology.tensor_parallel_size
