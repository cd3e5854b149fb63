"""What must agree inside a section and between sections; each check gives lines on what does not.

A check that needs a value which is wrong or missing is left out as a whole, so each asks for as
few as it can, and one mistake in a recipe does not hide another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glmctl.recipe import schema
    from glmctl.recipe.model import ModelConfig
    from glmctl.recipe.schema import ObjectiveConfig, Recipe

Lines = Iterator[str]


def heads_divide_the_width(model: ModelConfig) -> Lines:
    heads, width = model.num_attention_heads, model.hidden_size
    if width % heads and model.head_size is None:
        yield (
            f"hidden_size: {width} is not a multiple of num_attention_heads {heads}; "
            f"try {near_divisors(width, heads)} heads"
        )


def query_groups_are_whole(model: ModelConfig) -> Lines:
    heads, groups = model.num_attention_heads, model.num_kv_heads
    if groups is not None:
        yield from divides("num_kv_heads", groups, "num_attention_heads", heads)


def components_are_read(model: ModelConfig) -> Lines:
    """A key that belongs to a component is given with that component."""
    position, is_deep = model.position, model.norm_placement == "deep"
    if model.rotary is not None and not position.startswith("rotary"):
        yield f"rotary: is not read with position {position!r}; leave it out"
    if is_deep and model.residual_scale is None:
        yield "residual_scale: norm_placement 'deep' needs it; the paper takes sqrt(2 layers)"
    if not is_deep and (model.residual_scale is not None or model.residual_from != "input"):
        yield (
            f"norm_placement: {model.norm_placement!r} reads no residual_scale or residual_from; "
            "use 'deep', or leave them out"
        )
    has_groups = model.kv_heads != model.num_attention_heads
    if position == "relative_xl" and (model.num_prefix_tokens or has_groups):
        yield (
            "position: 'relative_xl' scores every pair by its distance, so it takes no "
            "num_kv_heads and no num_prefix_tokens; leave them out"
        )


def pairs_can_turn(model: ModelConfig) -> Lines:
    """Each place turns whole pairs of dimensions."""
    fraction = 1.0 if model.rotary is None else model.rotary.fraction
    turned, unit = int(model.head_width * fraction), 4 if model.position == "rotary_2d" else 2
    if model.position.startswith("rotary") and (not turned or turned % unit):
        yield (
            f"rotary: {fraction:g} of a head of {model.head_width} is {turned} dimensions, and "
            f"{model.position!r} turns them {unit} at a time; change head_size or fraction"
        )


def one_duration(train: schema.TrainConfig) -> Lines:
    lengths = {"steps": train.steps, "tokens": train.tokens, "epochs": train.epochs}
    given = [f"{name} = {value}" for name, value in lengths.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none is given"
        yield f"steps, tokens, epochs: {found}; exactly one of them says how long the run is"


def adapter_is_read(adapter: schema.AdapterConfig) -> Lines:
    is_lora = adapter.kind == "lora"
    for name in sorted(adapter.model_dump(exclude_defaults=True).keys() - {"kind"}):
        if (name in ("rank", "alpha", "dropout", "targets")) != is_lora:
            yield f"{name}: kind {adapter.kind!r} does not read it; leave it out"
    if not is_lora and not adapter.num_vectors + adapter.num_prefix:
        yield "num_vectors: 0, and so is num_prefix; p_tuning needs a vector"
    if adapter.tuned_layers and not adapter.freeze:
        yield "tuned_layers: without freeze all layers are trained; set freeze, or leave it out"


def objective_can_draw(objective: ObjectiveConfig) -> Lines:
    if not objective.total_weight:
        yield "token_weight: all four weights are 0; give one of them a positive value"
    if objective.whole_words and objective.draw_mode != "sample":
        yield "whole_words: true, but draw_mode 'batch' draws tokens as released; use 'sample'"


def corpus_is_read(corpus: schema.CorpusConfig) -> Lines:
    path, dataset = corpus.path, corpus.dataset
    if path is None and dataset is None:
        yield "path: missing; state it (a file or a folder), or dataset (a name of the hub)"
    elif path is not None and dataset is not None:
        yield (
            f"path: {path!r} and dataset {dataset!r} are two sources; leave one out, "
            "or make two corpora of them"
        )
    elif path is not None:
        named = {"revision": corpus.revision, "config": corpus.config, "split": corpus.split}
        for key, value in named.items():
            if value is not None:
                yield f"{key}: {value!r} belongs to a dataset, and path is given; leave it out"
    if not corpus.weight:
        yield (
            f"weight: 0 would never read {corpus.name!r}; take the corpus out of the list, or "
            "give it a positive weight"
        )


def fills_can_be_chosen(decode: schema.DecodeConfig) -> Lines:
    beams, penalty = decode.num_beams, decode.length_penalty
    for name, value in (("top_k", decode.top_k), ("top_p", decode.top_p)):
        if value is not None and decode.temperature == 0:
            yield (
                f"{name}: {value} narrows a draw, and temperature 0 draws nothing; "
                "set temperature above 0, or leave it out"
            )
    if beams > 1 and decode.temperature > 0:
        yield (
            f"temperature: {decode.temperature:g} draws, and {beams} beams take the best; "
            "set num_beams to 1, or temperature to 0"
        )
    if decode.n_best > beams:
        yield (
            f"n_best: {decode.n_best} fills need as many beams, and num_beams is {beams}; raise it"
        )
    if penalty and beams == 1:
        yield (
            f"length_penalty: {penalty:g} ranks beams, and num_beams is 1; "
            "raise it, or leave length_penalty out"
        )
    if decode.min_new_tokens > decode.max_new_tokens:
        yield (
            f"min_new_tokens: {decode.min_new_tokens} is more than max_new_tokens "
            f"{decode.max_new_tokens}; lower it or raise the other"
        )


def replicas_are_whole(topology: schema.TopologyConfig) -> Lines:
    size, world = topology.replica_size, topology.world_size
    tensor, pipeline = topology.tensor_parallel_size, topology.pipeline_parallel_size
    if world % size:
        yield (
            f"tensor_parallel_size: {tensor} x pipeline_parallel_size {pipeline} = {size} GPUs "
            f"hold one replica, and {topology.nodes} x {topology.gpus_per_node} = {world} GPUs do "
            f"not hold whole ones; {near_divisors(world, size)} a replica do"
        )


def model_divides_over_a_replica(recipe: Recipe) -> Lines:
    model, tensor = recipe.model, recipe.topology.tensor_parallel_size
    pipeline, stages = recipe.topology.pipeline_parallel_size, recipe.topology.stage_layers
    for part, count in (
        ("model.num_attention_heads", model.num_attention_heads),
        ("model.num_kv_heads", model.num_kv_heads or 0),
    ):
        yield from divides("topology.tensor_parallel_size", tensor, part, count)
    if stages is None:
        key = "topology.pipeline_parallel_size"
        yield from divides(key, pipeline, "model.num_layers", model.num_layers)
    elif (len(stages), sum(stages)) != (pipeline, model.num_layers):
        yield (
            f"topology.stage_layers: {len(stages)} stages of {sum(stages)} layers in all, but "
            f"pipeline_parallel_size is {pipeline} and model.num_layers {model.num_layers}; make "
            "them agree"
        )


def batch_divides(recipe: Recipe) -> Lines:
    train, topology = recipe.train, recipe.topology
    rows, micro, replicas = train.global_batch_size, train.rows_at_once, topology.data_parallel_size
    is_whole = topology.world_size % topology.replica_size == 0  # else that is the mistake
    if is_whole and rows % (micro * replicas):
        who = "GPUs" if topology.replica_size == 1 else "replicas"
        if rows % replicas:
            remedy = f"{near_divisors(rows, replicas)} {who} divide it"
        else:
            remedy = f"try micro_batch_size {near_divisors(rows // replicas, micro)}"
        yield (
            f"train.global_batch_size: {rows} is not a multiple of micro_batch_size {micro} x "
            f"{replicas} {who} = {micro * replicas}; {remedy}"
        )


def sequence_fits_the_model(recipe: Recipe) -> Lines:
    length, places = recipe.data.sequence_length, recipe.model.max_positions
    if length > places:
        yield (
            f"data.sequence_length: {length} is more than model.max_positions {places}; "
            "lower it or raise the other"
        )


def warmup_ends_before_the_decay(recipe: Recipe) -> Lines:
    """A run that is cut short with train.steps may end inside its warm-up."""
    warmup, end = recipe.schedule.warmup_steps, recipe.schedule.decay_steps
    if end is not None and warmup > end:
        yield (
            f"schedule.warmup_steps: {warmup} is more than schedule.decay_steps {end}, "
            "which include it; lower it"
        )


def probe_has_text(recipe: Recipe) -> Lines:
    every, is_tuning = recipe.train.probe_every, recipe.task is not None  # which holds rows out
    if every is not None and recipe.data.probe is None and not is_tuning:
        yield (
            f"train.probe_every: {every} needs data.probe, the text to probe on; "
            "set it, or leave probe_every out"
        )


def special_tokens_are_there(recipe: Recipe) -> Lines:
    """Those that the objective puts into the input."""
    objective, tokenizer = recipe.objective, recipe.tokenizer
    noise = {
        "block_mask_probability": objective.block_mask_probability,
        "context_mask_ratio": objective.context_mask_ratio,
    }
    used = [f"{name} {value}" for name, value in noise.items() if value]
    if used and not tokenizer.noise_token:
        yield (
            f"tokenizer.noise_token: false, but objective.{' and '.join(used)} puts [dBLOCK] into "
            "the input; set it to true"
        )
    if objective.sentinel and not tokenizer.num_sentinels:
        yield (
            "objective.sentinel: true needs tokenizer.num_sentinels; "
            "set it to the most spans that a sample can have"
        )


def position_fits_the_objective(recipe: Recipe) -> Lines:
    position, kind = recipe.model.position, recipe.objective.kind
    if (position == "learned_1d") != (kind == "mlm"):
        fitting = "learned_1d" if kind == "mlm" else "learned_2d"
        yield f"model.position: {position!r} does not fit objective.kind {kind!r}; use {fitting!r}"


def stage_has_what_it_reads(recipe: Recipe) -> Lines:
    stage = recipe.recipe.stage
    for owner, name, section, what in (
        ("quantize", "quantize", recipe.quantize, "the model to quantize"),
        ("finetune", "task", recipe.task, "what to train for"),
    ):
        if stage == owner and section is None:
            yield f"{name}: missing; stage {stage!r} needs it, with {what}"
        if stage != owner and section is not None:
            yield (
                f"recipe.stage: {stage!r} does not read the section [{name}]; set it to "
                f"{owner!r}, or leave the section out"
            )


def numbers_are_named(published: schema.PublishedConfig) -> Lines:
    if (published.metric is None) != (published.value is None):
        yield "metric, value: one of them is missing; state both"
    elif (published.metric is None) == (published.values is None):
        yield "metric, values: state a metric with its value, or a table of values"


def record_says_what_it_needs(head: schema.RecipeConfig) -> Lines:
    if head.stage == "record" and head.needs is None:
        yield "needs: missing; a record says what a run would need, or state another stage"
    if head.stage != "record" and head.needs is not None:
        yield f"needs: is not read with stage {head.stage!r}; leave it out"


def divides(key: str, divisor: int, name: str, number: int) -> Lines:
    if number % divisor:
        near = near_divisors(number, divisor)
        yield f"{key}: {divisor} does not divide {name} {number}; try {near}"


def near_divisors(number: int, wish: int) -> str:
    """The divisors of a number on either side of the one that was wished for."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    below = [divisor for divisor in divisors if divisor < wish][-1:]
    return " or ".join(map(str, below + [divisor for divisor in divisors if divisor > wish][:1]))
