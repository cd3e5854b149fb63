"""The learning rate as a function of the updates done so far."""

import math

from glmctl.recipe.schema import ScheduleConfig


def learning_rate(config: ScheduleConfig, peak: float, step: int, total_steps: int) -> float:
    """The rate of the update after `step` others, as the released code computes it.

    The first update of a warm-up has rate 0. Unlike there, the linear decay stops at its floor
    instead of falling below zero, and the constant schedule has no decay at all. The decay ends
    with the run unless the schedule says when.
    """
    warmup = config.warmup_steps or round(config.warmup_ratio * total_steps)
    if warmup and step <= warmup:
        return peak * step / warmup
    num_decay_steps = (config.decay_steps or total_steps) - warmup
    progress = min(1.0, (step - warmup) / num_decay_steps) if num_decay_steps else 1.0
    floor = config.min_ratio
    if config.kind == "linear":
        return peak * (1 - (1 - floor) * progress)
    if config.kind == "cosine":
        return peak * (floor + (1 - floor) * (math.cos(math.pi * progress) + 1) / 2)
    return peak
