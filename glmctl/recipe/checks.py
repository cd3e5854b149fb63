"""What must agree inside a section and between sections; each check gives one line or None.

Every check stands alone, so that one mistake in a recipe does not hide another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glmctl.recipe.schema import (
        CorpusConfig,
        DecodeConfig,
        ModelConfig,
        ObjectiveConfig,
        Recipe,
        TopologyConfig,
        TrainConfig,
    )


def heads_divide_the_width(model: ModelConfig) -> str | None:
    heads, width = model.num_attention_heads, model.hidden_size
    if width % heads == 0 or model.head_size is not None:
        return None
    return (
        f"hidden_size: {width} is not a multiple of num_attention_heads {heads}; "
        f"try {one_of(near_divisors(width, heads))} heads"
    )


def query_groups_are_whole(model: ModelConfig) -> str | None:
    heads, groups = model.num_attention_heads, model.num_kv_heads
    if groups is None or heads % groups == 0:
        return None
    return (
        f"num_kv_heads: {groups} does not divide num_attention_heads {heads}; "
        f"try {one_of(near_divisors(heads, groups))}"
    )


def components_are_read(model: ModelConfig) -> str | None:
    """A key that belongs to a component is given with that component."""
    is_rotary, is_deep = model.position.startswith("rotary"), model.norm_placement == "deep"
    if model.rotary is not None and not is_rotary:
        return f"rotary: is not read with position {model.position!r}; leave it out"
    if is_deep and model.residual_scale is None:
        return "residual_scale: norm_placement 'deep' needs it; the paper takes sqrt(2 layers)"
    if not is_deep and (model.residual_scale is not None or model.residual_from != "input"):
        return (
            f"norm_placement: {model.norm_placement!r} reads no residual_scale or residual_from; "
            "use 'deep', or leave them out"
        )
    if model.position == "relative_xl" and (
        model.num_prefix_tokens or model.kv_heads != model.num_attention_heads
    ):
        return (
            "position: 'relative_xl' scores every pair by its distance, so it takes no "
            "num_kv_heads and no num_prefix_tokens; leave them out"
        )
    return None


def pairs_can_turn(model: ModelConfig) -> str | None:
    """Each place turns whole pairs of dimensions."""
    if not model.position.startswith("rotary"):
        return None
    fraction = 1.0 if model.rotary is None else model.rotary.fraction
    turned, unit = int(model.head_width * fraction), 4 if model.position == "rotary_2d" else 2
    if turned and turned % unit == 0:
        return None
    return (
        f"rotary: {fraction:g} of a head of {model.head_width} is {turned} dimensions, and "
        f"{model.position!r} turns them {unit} at a time; change head_size or fraction"
    )


def one_duration(train: TrainConfig) -> str | None:
    lengths = {"steps": train.steps, "tokens": train.tokens, "epochs": train.epochs}
    given = [f"{name} = {value}" for name, value in lengths.items() if value is not None]
    if len(given) == 1:
        return None
    found = " and ".join(given) if given else "none is given"
    return f"steps, tokens, epochs: {found}; exactly one of them says how long the run is"


def some_objective_has_weight(objective: ObjectiveConfig) -> str | None:
    if objective.total_weight:
        return None
    return "token_weight: all four weights are 0; give one of them a positive value"


def words_are_drawn_by_sample(objective: ObjectiveConfig) -> str | None:
    if not objective.whole_words or objective.draw_mode == "sample":
        return None
    return "whole_words: true, but draw_mode 'batch' draws tokens as released; use 'sample'"


def one_source(corpus: CorpusConfig) -> str | None:
    if corpus.path is not None and corpus.dataset is not None:
        return (
            f"path: {corpus.path!r} and dataset {corpus.dataset!r} are two sources; leave one out, "
            "or make two corpora of them"
        )
    if corpus.path is None and corpus.dataset is None:
        return "path: missing; state it (a file or a folder), or dataset (a name of the hub)"
    named = {"revision": corpus.revision, "config": corpus.config, "split": corpus.split}
    for key, value in named.items():
        if corpus.dataset is None and value is not None:
            return f"{key}: {value!r} belongs to a dataset, and path is given; leave it out"
    return None


def corpus_has_weight(corpus: CorpusConfig) -> str | None:
    if corpus.weight:
        return None
    return (
        f"weight: 0 would never read {corpus.name!r}; take the corpus out of the list, or give it "
        "a positive weight"
    )


def narrowing_needs_a_draw(decode: DecodeConfig) -> str | None:
    if decode.temperature > 0 or (decode.top_k is None and decode.top_p is None):
        return None
    name, value = ("top_p", decode.top_p) if decode.top_k is None else ("top_k", decode.top_k)
    return (
        f"{name}: {value} narrows a draw, and temperature 0 draws nothing; "
        "set temperature above 0, or leave it out"
    )


def beams_draw_nothing(decode: DecodeConfig) -> str | None:
    if decode.num_beams == 1 or decode.temperature == 0:
        return None
    return (
        f"temperature: {decode.temperature:g} draws, and {decode.num_beams} beams take the best; "
        "set num_beams to 1, or temperature to 0"
    )


def ranking_needs_beams(decode: DecodeConfig) -> str | None:
    if decode.n_best > decode.num_beams:
        return (
            f"n_best: {decode.n_best} fills need as many beams, and num_beams is "
            f"{decode.num_beams}; raise it"
        )
    if decode.length_penalty and decode.num_beams == 1:
        return (
            f"length_penalty: {decode.length_penalty:g} ranks beams, and num_beams is 1; "
            "raise it, or leave length_penalty out"
        )
    return None


def length_has_room(decode: DecodeConfig) -> str | None:
    if decode.min_new_tokens <= decode.max_new_tokens:
        return None
    return (
        f"min_new_tokens: {decode.min_new_tokens} is more than max_new_tokens "
        f"{decode.max_new_tokens}; lower it or raise the other"
    )


def replicas_are_whole(topology: TopologyConfig) -> str | None:
    size, world = topology.replica_size, topology.world_size
    if world % size == 0:
        return None
    tensor, pipeline = topology.tensor_parallel_size, topology.pipeline_parallel_size
    return (
        f"tensor_parallel_size: {tensor} x pipeline_parallel_size {pipeline} = {size} GPUs hold "
        f"one replica, and {topology.nodes} x {topology.gpus_per_node} = {world} GPUs do not hold "
        f"whole ones; {one_of(near_divisors(world, size))} a replica do"
    )


def model_divides_over_a_replica(recipe: Recipe) -> str | None:
    model, topology = recipe.model, recipe.topology
    stages = 1 if topology.stage_layers is not None else topology.pipeline_parallel_size
    for part, count, key, degree in (
        ("num_attention_heads", model.num_attention_heads, "tensor", topology.tensor_parallel_size),
        ("num_kv_heads", model.kv_heads, "tensor", topology.tensor_parallel_size),
        ("num_layers", model.num_layers, "pipeline", stages),
    ):
        if count % degree:
            return (
                f"topology.{key}_parallel_size: {degree} does not divide model.{part} {count}; "
                f"try {one_of(near_divisors(count, degree))}"
            )
    return None


def stages_hold_the_layers(recipe: Recipe) -> str | None:
    stages, size = recipe.topology.stage_layers, recipe.topology.pipeline_parallel_size
    layers = recipe.model.num_layers
    if stages is None or (len(stages), sum(stages)) == (size, layers):
        return None
    return (
        f"topology.stage_layers: {len(stages)} stages of {sum(stages)} layers in all, but "
        f"pipeline_parallel_size is {size} and model.num_layers {layers}; make them agree"
    )


def batch_divides(recipe: Recipe) -> str | None:
    if replicas_are_whole(recipe.topology):
        return None  # that is the mistake
    rows, replicas = recipe.train.global_batch_size, recipe.topology.data_parallel_size
    micro = recipe.train.rows_at_once
    if rows % (micro * replicas) == 0:
        return None
    who = "GPUs" if recipe.topology.replica_size == 1 else "replicas"
    problem = f"train.global_batch_size: {rows} is not a multiple of micro_batch_size {micro}"
    if rows % replicas:
        remedy = f"{one_of(near_divisors(rows, replicas))} {who} divide it"
    else:
        remedy = f"try micro_batch_size {one_of(near_divisors(rows // replicas, micro))}"
    return f"{problem} x {replicas} {who} = {micro * replicas}; {remedy}"


def sequence_fits_the_model(recipe: Recipe) -> str | None:
    length, places = recipe.data.sequence_length, recipe.model.max_positions
    if length <= places:
        return None
    return (
        f"data.sequence_length: {length} is more than model.max_positions {places}; "
        "lower it or raise the other"
    )


def warmup_ends_before_the_decay(recipe: Recipe) -> str | None:
    """A run that is cut short with train.steps may end inside its warm-up."""
    warmup, end = recipe.schedule.warmup_steps, recipe.schedule.decay_steps
    if end is None or warmup <= end:
        return None
    return (
        f"schedule.warmup_steps: {warmup} is more than schedule.decay_steps {end}, "
        "which include it; lower it"
    )


def probe_has_text(recipe: Recipe) -> str | None:
    if recipe.train.probe_every is None or recipe.data.probe is not None:
        return None
    if recipe.task is not None:  # fine-tuning holds rows out
        return None
    return (
        f"train.probe_every: {recipe.train.probe_every} needs data.probe, the text to probe on; "
        "set it, or leave probe_every out"
    )


def noise_has_a_token(recipe: Recipe) -> str | None:
    noise = {
        "block_mask_probability": recipe.objective.block_mask_probability,
        "context_mask_ratio": recipe.objective.context_mask_ratio,
    }
    used = [f"{name} {value}" for name, value in noise.items() if value]
    if recipe.tokenizer.noise_token or not used:
        return None
    return (
        f"tokenizer.noise_token: false, but objective.{' and '.join(used)} puts [dBLOCK] into "
        "the input; set it to true"
    )


def sentinels_have_tokens(recipe: Recipe) -> str | None:
    if not recipe.objective.sentinel or recipe.tokenizer.num_sentinels:
        return None
    return (
        "objective.sentinel: true needs tokenizer.num_sentinels; "
        "set it to the most spans that a sample can have"
    )


def position_fits_the_objective(recipe: Recipe) -> str | None:
    position, kind = recipe.model.position, recipe.objective.kind
    if kind == "mlm" and position != "learned_1d":
        remedy = "'learned_1d'"
    elif kind == "blank_infilling" and position == "learned_1d":
        remedy = "'learned_2d'"
    else:
        return None
    return f"model.position: {position!r} does not fit objective.kind {kind!r}; use {remedy}"


def stage_has_its_section(recipe: Recipe) -> str | None:
    stage = recipe.recipe.stage
    sections = {
        "quantize": ("quantize", recipe.quantize, "the model to quantize"),
        "finetune": ("task", recipe.task, "what to train for"),
    }
    for owner, (name, section, what) in sections.items():
        if stage == owner and section is None:
            return f"{name}: missing; stage {stage!r} needs it, with {what}"
        if stage != owner and section is not None:
            return (
                f"recipe.stage: {stage!r} does not read the section [{name}]; set it to "
                f"{owner!r}, or leave the section out"
            )
    return None


def record_says_what_it_needs(recipe: Recipe) -> str | None:
    stage, needs = recipe.recipe.stage, recipe.recipe.needs
    if stage == "record" and needs is None:
        return "recipe.needs: missing; a record says what a run would need, or state another stage"
    if stage != "record" and needs is not None:
        return f"recipe.needs: is not read with stage {stage!r}; leave it out"
    return None


def near_divisors(number: int, wish: int) -> list[int]:
    """The divisors of a number on either side of the one that was wished for."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    below = [divisor for divisor in divisors if divisor < wish][-1:]
    return below + [divisor for divisor in divisors if divisor > wish][:1]


def one_of(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
