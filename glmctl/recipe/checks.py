"""What must agree inside a section and between sections; each check gives one line or None.

Every check stands alone, so that one mistake in a recipe does not hide another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glmctl.recipe.schema import DecodeConfig, ModelConfig, ObjectiveConfig, Recipe


def heads_divide_the_width(model: ModelConfig) -> str | None:
    heads, width = model.num_attention_heads, model.hidden_size
    if width % heads == 0:
        return None
    return (
        f"hidden_size: {width} is not a multiple of num_attention_heads {heads}; "
        f"try {one_of(near_divisors(width, heads))} heads"
    )


def some_objective_has_weight(objective: ObjectiveConfig) -> str | None:
    if objective.total_weight:
        return None
    return "token_weight: all four weights are 0; give one of them a positive value"


def narrowing_needs_a_draw(decode: DecodeConfig) -> str | None:
    if decode.temperature > 0 or (decode.top_k is None and decode.top_p is None):
        return None
    name, value = ("top_p", decode.top_p) if decode.top_k is None else ("top_k", decode.top_k)
    return (
        f"{name}: {value} narrows a draw, and temperature 0 draws nothing; "
        "set temperature above 0, or leave it out"
    )


def batch_divides(recipe: Recipe) -> str | None:
    rows, world = recipe.train.global_batch_size, recipe.topology.world_size
    micro = recipe.train.micro_batch_size
    if rows % (micro * world) == 0:
        return None
    problem = f"train.global_batch_size: {rows} is not a multiple of micro_batch_size {micro}"
    if rows % world:
        remedy = f"{one_of(near_divisors(rows, world))} GPUs divide it"
    else:
        remedy = f"try micro_batch_size {one_of(near_divisors(rows // world, micro))}"
    return f"{problem} x {world} GPUs = {micro * world}; {remedy}"


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


def near_divisors(number: int, wish: int) -> list[int]:
    """The divisors of a number on either side of the one that was wished for."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    below = [divisor for divisor in divisors if divisor < wish][-1:]
    return below + [divisor for divisor in divisors if divisor > wish][:1]


def one_of(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
